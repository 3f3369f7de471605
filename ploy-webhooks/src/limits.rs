//! What an endpoint takes at most: its rate, its quota, the size of a body; and for how long it is
//! kept.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::retention::Retention;

/// Bounds that an endpoint sets for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// How often it may be sent to; `None` is unbounded.
    pub rate: Option<Rate>,
    /// How many events it takes in all; `None` is unbounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// The largest body in bytes; `None`, or anything above the process's own bound, is that
    /// bound.
    pub body_bytes: Option<u64>,
    /// For how long its events are kept, where that is shorter than its workspace's; `None` is as
    /// long as the workspace keeps them.
    #[serde(rename = "retention_seconds", skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

/// A rate: so many a second in the long run, so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Events a second in the long run.
    pub per_second: NonZeroU32,
    /// Events at once; `None` is as many as a second gives.
    #[serde(default)]
    pub burst: Option<NonZeroU32>,
}

impl Rate {
    /// Events at once.
    #[must_use]
    pub fn at_once(&self) -> NonZeroU32 {
        self.burst.unwrap_or(self.per_second)
    }
}

/// A quota: so many events that are stored, in the life of an endpoint or in each period. Repeats
/// and what is refused take nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "whoever appends an event builds it from its parts")]
pub struct Quota {
    /// How many events.
    pub events: NonZeroU64,
    /// In how many seconds; `None` is the life of the endpoint. Periods follow each other without
    /// a gap since 1970-01-01T00:00:00Z, so that one of 86,400 is a day in UTC.
    #[serde(default)]
    pub period_seconds: Option<NonZeroU32>,
}

impl Quota {
    /// The number of the period that this moment is in; 0 where there is but one.
    #[must_use]
    pub fn period_at(&self, now: Timestamp) -> u64 {
        self.period_seconds
            .map_or(0, |seconds| now.as_millis() / (u64::from(seconds.get()) * 1_000))
    }

    /// How long after this moment the next period begins; `None` where there is none.
    #[must_use]
    pub fn resets_in(&self, now: Timestamp) -> Option<Duration> {
        let period = u64::from(self.period_seconds?.get()) * 1_000;
        Some(Duration::from_millis(period - now.as_millis() % period))
    }
}

/// What is used of a quota: for stores that count by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a store builds it from what it has kept")]
pub struct QuotaCount {
    /// The period of the quota that it was counted under.
    pub period_seconds: Option<NonZeroU32>,
    /// The number of the period that it was counted in.
    pub period: u64,
    /// How many events were stored in it.
    pub events: u64,
}

impl QuotaCount {
    /// How many events were stored in the period that is now; none, where the quota has another
    /// period. A clock that is set back a little gives no period twice.
    #[must_use]
    pub fn used(&self, quota: Quota, now: Timestamp) -> u64 {
        let period = quota.period_at(now);
        let is_now = self.period == period || self.period == period + 1;
        let is_the_same = self.period_seconds == quota.period_seconds && is_now;
        if is_the_same { self.events } else { 0 }
    }

    /// The count after one more event, beside what was counted before.
    #[must_use]
    pub fn one_more(before: Option<Self>, quota: Quota, now: Timestamp) -> Self {
        let mut count =
            Self { period_seconds: quota.period_seconds, period: quota.period_at(now), events: 1 };
        if let Some(before) = before.filter(|before| before.used(quota, now) > 0) {
            count.period = before.period;
            count.events += before.events;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_gives_no_period_twice() {
        let quota = Quota { events: NonZeroU64::MIN, period_seconds: NonZeroU32::new(60) };
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1_000);
        let first = QuotaCount::one_more(None, quota, at(60));
        assert_eq!(
            (first.period, first.used(quota, at(119)), first.used(quota, at(120))),
            (1, 1, 0)
        );
        let back = QuotaCount::one_more(Some(first), quota, at(59));
        assert_eq!((back.period, back.events, back.used(quota, at(60))), (1, 2, 2));
        let life = Quota { period_seconds: None, ..quota };
        assert_eq!(back.used(life, at(60)), 0, "of another period");
        let far = QuotaCount { period: 9, ..back };
        assert_eq!(
            far.used(quota, at(60)),
            0,
            "a clock that was far ahead does not block for long"
        );
    }

    #[test]
    fn periods_follow_each_other() {
        let quota = |period_seconds| Quota { events: NonZeroU64::MIN, period_seconds };
        let minute = quota(NonZeroU32::new(60));
        for (millis, period, left) in [(0, 0, 60_000), (59_999, 0, 1), (60_000, 1, 60_000)] {
            let now = Timestamp::from_millis(millis);
            assert_eq!(minute.period_at(now), period);
            assert_eq!(minute.resets_in(now), Some(Duration::from_millis(left)));
        }
        let life = quota(None);
        assert_eq!((life.period_at(Timestamp::MAX), life.resets_in(Timestamp::MAX)), (0, None));
    }
}
