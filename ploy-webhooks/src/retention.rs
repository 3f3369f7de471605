//! How long events are kept.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// For how long events are kept, in whole seconds: from [`MIN`](Self::MIN) to
/// [`MAX`](Self::MAX).
///
/// Where none is set, events are kept for ever. What takes them away is
/// [`RetentionStore::expire`](crate::store::RetentionStore::expire).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Retention(u32);

/// A time that is no retention.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "events are kept for 3600 seconds (an hour) to 3153600000 (100 years), or with `null` for ever"
)]
pub struct RetentionError;

impl Retention {
    /// The shortest: an hour. What is kept for less would be gone before somebody has looked why a
    /// run of it failed, and a slip of the hand (minutes for days) would be past mending.
    pub const MIN: Self = Self(3_600);
    /// The longest: 100 years of 365 days.
    pub const MAX: Self = Self(100 * 365 * 86_400);

    /// A retention of so many seconds.
    ///
    /// # Errors
    ///
    /// Where it is shorter than [`MIN`](Self::MIN) or longer than [`MAX`](Self::MAX).
    pub fn from_secs(seconds: u64) -> Result<Self, RetentionError> {
        let retention = u32::try_from(seconds).map(Self).map_err(|_| RetentionError)?;
        (Self::MIN..=Self::MAX).contains(&retention).then_some(retention).ok_or(RetentionError)
    }

    /// What holds for the events of an endpoint: the shorter of its own and its workspace's;
    /// `None` is for ever.
    #[must_use]
    pub fn that_holds(of_workspace: Option<Self>, of_endpoint: Option<Self>) -> Option<Self> {
        of_workspace.into_iter().chain(of_endpoint).min()
    }

    /// As a duration.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }
}

/// In seconds, with the unit.
impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0)
    }
}

impl TryFrom<u64> for Retention {
    type Error = RetentionError;

    fn try_from(seconds: u64) -> Result<Self, Self::Error> {
        Self::from_secs(seconds)
    }
}

impl From<Retention> for u64 {
    fn from(retention: Retention) -> Self {
        retention.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_the_least_and_a_century_the_most() {
        for (seconds, is_one) in [
            (0, false),
            (3_599, false),
            (3_600, true),
            (3_153_600_000, true),
            (3_153_600_001, false),
        ] {
            assert_eq!(Retention::from_secs(seconds).is_ok(), is_one, "{seconds}");
            let read = serde_json::from_str::<Retention>(&seconds.to_string());
            assert_eq!(read.is_ok(), is_one, "{seconds} in JSON");
        }
        assert!(Retention::from_secs(u64::MAX).is_err());
        let day = Retention::from_secs(86_400).unwrap();
        assert_eq!(serde_json::to_string(&day).unwrap(), "86400");
        assert_eq!(day.as_duration(), Duration::from_secs(86_400));
    }

    #[test]
    fn the_shorter_holds() {
        let [hour, day] = [3_600, 86_400].map(|seconds| Retention::from_secs(seconds).ok());
        for (of_workspace, of_endpoint, holds) in [
            (None, None, None),
            (None, hour, hour),
            (day, None, day),
            (day, hour, hour),
            // Of a workspace whose own was shortened afterwards.
            (hour, day, hour),
        ] {
            assert_eq!(Retention::that_holds(of_workspace, of_endpoint), holds);
        }
    }
}
