//! What an endpoint takes at most: its rate, its quota, the size of a body.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

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

#[cfg(test)]
mod tests {
    use super::*;

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
