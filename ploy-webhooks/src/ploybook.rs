//! A Ploybook: a named definition of what is run, how, and on what terms.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The name of a Ploybook, by which triggers know it: 1 to 200 characters, none of them a control
/// character, without blanks at its ends.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PloybookName(Arc<str>);

/// A text that is not the name of a Ploybook.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "not the name of a Ploybook: expected 1 to 200 characters, no control characters, no blanks \
     at its ends, and neither `.` nor `..`"
)]
pub struct ParsePloybookNameError;

impl PloybookName {
    const CHARS_MAX: usize = 200;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PloybookName {
    type Err = ParsePloybookNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = !text.is_empty()
            && text.trim() == text
            && text.chars().count() <= Self::CHARS_MAX
            && !text.chars().any(char::is_control)
            // As the segment of a path these two are resolved away (RFC 3986 §5.2.4).
            && !matches!(text, "." | "..");
        if is_name { Ok(Self(text.into())) } else { Err(ParsePloybookNameError) }
    }
}

impl TryFrom<String> for PloybookName {
    type Error = ParsePloybookNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PloybookName> for String {
    fn from(name: PloybookName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for PloybookName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PloybookName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// How often a run is tried, and how long apart.
///
/// In JSON `{"attempts_max":4,"first_gap_seconds":5,"gap_max_seconds":3600}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "RetryForm", into = "RetryForm")]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Attempts in all, the first included.
    pub attempts_max: NonZeroU16,
    /// The gap after the first attempt; each later gap is twice the one before.
    pub first_gap: Duration,
    /// No gap is longer.
    pub gap_max: Duration,
}

impl Default for RetryPolicy {
    /// Four attempts, with gaps of 5, 10 and 20 seconds.
    fn default() -> Self {
        Self {
            attempts_max: NonZeroU16::new(4).expect("four is not zero"),
            first_gap: Duration::from_secs(5),
            gap_max: Duration::from_secs(3_600),
        }
    }
}

impl RetryPolicy {
    /// How long to wait after the attempt with that number (the first is 1): twice as long after
    /// each, and no longer than the longest. Of that, `jitter` decides the second half: from 0
    /// (half of the gap) to 1 (all of it), so that what failed together is not tried again
    /// together.
    #[must_use]
    pub fn gap_after(&self, attempt: u32, jitter: f64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let gap = self.first_gap.saturating_mul(1 << doublings).min(self.gap_max);
        gap.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
    }
}

/// A retry policy's form in JSON.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RetryForm {
    attempts_max: NonZeroU16,
    first_gap_seconds: u32,
    gap_max_seconds: u32,
}

impl Default for RetryForm {
    fn default() -> Self {
        RetryPolicy::default().into()
    }
}

impl From<RetryForm> for RetryPolicy {
    fn from(form: RetryForm) -> Self {
        Self {
            attempts_max: form.attempts_max,
            first_gap: Duration::from_secs(form.first_gap_seconds.into()),
            gap_max: Duration::from_secs(form.gap_max_seconds.into()),
        }
    }
}

impl From<RetryPolicy> for RetryForm {
    fn from(policy: RetryPolicy) -> Self {
        let seconds = |gap: Duration| u32::try_from(gap.as_secs()).unwrap_or(u32::MAX);
        Self {
            attempts_max: policy.attempts_max,
            first_gap_seconds: seconds(policy.first_gap),
            gap_max_seconds: seconds(policy.gap_max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for text in ["page", "Generate ABM page for prospect", "a/b → 'c'", "é"] {
            assert!(text.parse::<PloybookName>().is_ok(), "{text}");
        }
        for text in ["", " a", "a ", "a\nb", ".", "..", &"é".repeat(201)] {
            assert_eq!(text.parse::<PloybookName>(), Err(ParsePloybookNameError), "{text}");
        }
    }

    #[test]
    fn gaps_double_up_to_the_longest() {
        let policy = RetryPolicy { gap_max: Duration::from_secs(30), ..RetryPolicy::default() };
        let whole: Vec<_> = (1..=5).map(|n| policy.gap_after(n, 1.0).as_secs()).collect();
        assert_eq!(whole, [5, 10, 20, 30, 30]);
        assert_eq!(policy.gap_after(2, 0.0), Duration::from_secs(5));
        assert_eq!(policy.gap_after(u32::MAX, 7.0), Duration::from_secs(30));
    }
}
