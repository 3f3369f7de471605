//! How fast a command goes through many things.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

/// So many a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate(NonZeroU32);

/// A text that is no rate.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("expected a whole number above zero, as in 50 or 50/s")]
pub(super) struct ParseRateError;

impl FromStr for Rate {
    type Err = ParseRateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_suffix("/s").unwrap_or(text);
        number.parse().map(Self).map_err(|_| ParseRateError)
    }
}

/// Lets one pass at each of its beats.
#[derive(Debug)]
pub(super) struct Pace {
    gap: Duration,
    due: Instant,
}

impl Pace {
    /// How late a beat may be and still not delay the ones after it: timers are that coarse.
    const SLACK: Duration = Duration::from_millis(20);

    pub(super) fn of(Rate(per_second): Rate) -> Self {
        Self { gap: Duration::from_secs(1) / per_second.get(), due: Instant::now() }
    }

    /// Waits for the next beat. After a stall, what was missed is not made up for.
    pub(super) async fn wait(&mut self) {
        let now = Instant::now();
        if self.due > now {
            tokio::time::sleep_until(self.due).await;
        }
        let earliest = now.checked_sub(Self::SLACK).unwrap_or(now);
        self.due = self.due.max(earliest) + self.gap;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        assert_eq!("50".parse::<Rate>(), "50/s".parse());
        for text in ["0", "-1", "1.5", "50/m", "/s", ""] {
            assert_eq!(text.parse::<Rate>(), Err(ParseRateError), "{text}");
        }
    }

    #[tokio::test]
    async fn beats_are_a_gap_apart() {
        let mut pace = Pace::of("100".parse().unwrap());
        let began = Instant::now();
        for _ in 0..6 {
            pace.wait().await;
        }
        assert!(began.elapsed() >= Duration::from_millis(50));
    }
}
