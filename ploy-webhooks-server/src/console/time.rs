//! Times as people read them: in UTC, and how long ago.

use std::fmt;

use jiff::Timestamp;
use ploy_webhooks::{Clock, SystemClock};
use serde::{Deserialize, Deserializer};

/// A time as the API writes it. `Display` is `2026-01-31 09:00:00`, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(Timestamp);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%Y-%m-%d %H:%M:%S"))
    }
}

impl Moment {
    pub(super) fn now() -> Self {
        let millis = i64::try_from(SystemClock.now().as_millis()).unwrap_or(i64::MAX);
        Self(Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX))
    }

    /// So many seconds before.
    pub(super) fn before(self, seconds: i64) -> Self {
        let earlier = Timestamp::from_second(self.seconds().saturating_sub(seconds));
        Self(earlier.unwrap_or(Timestamp::MIN))
    }

    pub(super) fn seconds(self) -> i64 {
        self.0.as_second()
    }

    /// As RFC 3339 writes it.
    pub(super) fn iso(&self) -> String {
        self.0.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
    }

    /// The hour and the minute.
    pub(super) fn clock(&self) -> String {
        self.0.strftime("%H:%M").to_string()
    }

    /// How long ago it is, or how long it is until then.
    pub(super) fn ago(&self) -> String {
        let seconds = Self::now().seconds() - self.seconds();
        let length = roughly(seconds.unsigned_abs());
        match seconds {
            -4..=4 => "now".to_owned(),
            5.. => format!("{length} ago"),
            _ => format!("in {length}"),
        }
    }

    /// How long after the other it is.
    pub(super) fn since(&self, earlier: &Self) -> String {
        let millis = self.0.as_millisecond() - earlier.0.as_millisecond();
        match millis.max(0) {
            millis @ 0..1_000 => format!("{millis} ms"),
            millis @ 1_000..60_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
            millis => roughly(millis.unsigned_abs() / 1_000),
        }
    }
}

/// A length of time in its largest unit.
pub(super) fn roughly(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_rough_and_times_exact() {
        let at = |text: &str| Moment(text.parse().unwrap());
        let (first, last) = (at("2026-01-31T09:00:00Z"), at("2026-01-31T09:00:01.25Z"));
        assert_eq!(first.to_string(), "2026-01-31 09:00:00");
        assert_eq!(last.iso(), "2026-01-31T09:00:01.250Z");
        assert_eq!(last.since(&first), "1.2 s");
        assert_eq!(Moment::now().before(7_300).ago(), "2 h ago");
        assert_eq!(roughly(90_000), "1 d");
    }
}
