//! A run: one execution that an event owes.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::event::Event;
use crate::id::{EventId, RunId};

/// What is run: a Ploybook, by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// The name of the Ploybook.
    pub ploybook: String,
}

/// How often a run is tried, and how long apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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

/// A run that an event is about to owe.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "whoever appends an event builds it from its parts")]
pub struct NewRun {
    /// Its name, for good: what a runner is idempotent with.
    pub id: RunId,
    /// What it runs.
    pub trigger: Trigger,
    /// How it is retried.
    pub retry: RetryPolicy,
    /// How long it waits before its first attempt, by the store's clock.
    pub delay: Duration,
}

/// A run on record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Run {
    /// Its name.
    pub id: RunId,
    /// The event that owes it.
    pub event: EventId,
    /// What it runs.
    pub trigger: Trigger,
    /// Where it stands.
    pub state: RunState,
    /// When it was made.
    pub created_at: Timestamp,
    /// What was tried so far, in order.
    pub attempts: Vec<Attempt>,
}

impl Run {
    /// A run that waits for its first attempt.
    #[must_use]
    pub const fn queued(
        id: RunId,
        event: EventId,
        trigger: Trigger,
        created_at: Timestamp,
    ) -> Self {
        Self { id, event, trigger, state: RunState::Queued, created_at, attempts: Vec::new() }
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum RunState {
    /// Waits for its first attempt.
    Queued,
    /// An attempt is under way, or was when its worker was lost.
    Running,
    /// Waits for its next attempt.
    Retrying,
    /// Done.
    Succeeded,
    /// Given up.
    Failed,
}

impl RunState {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Queued, Self::Running, Self::Retrying, Self::Succeeded, Self::Failed];

    /// Its name, the same as in JSON: for a store to keep.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }

    /// The state with that name, as a store has kept it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// One try of a run, on record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "every store builds it from its parts")]
pub struct Attempt {
    /// Counts the attempts of the run, beginning with 1.
    pub number: NonZeroU32,
    /// When it was claimed.
    pub started_at: Timestamp,
    /// How it ended and when; `None` while it is under way, and for good where its lease ended
    /// without a word.
    pub end: Option<AttemptEnd>,
}

/// The end of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "every store builds it from its parts")]
pub struct AttemptEnd {
    /// When.
    pub at: Timestamp,
    /// How.
    pub outcome: Outcome,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "callers and stores act on each of these")]
pub enum Outcome {
    /// It is done.
    Succeed {
        /// What it said.
        output: Bytes,
    },
    /// It failed and is to be tried again.
    Retry {
        /// What went wrong.
        error: String,
        /// How long to wait before, by the store's clock.
        after: Duration,
    },
    /// It failed and is given up.
    Fail {
        /// What went wrong.
        error: String,
    },
}

impl Outcome {
    /// Where a run stands after it.
    #[must_use]
    pub const fn state(&self) -> RunState {
        match self {
            Self::Succeed { .. } => RunState::Succeeded,
            Self::Retry { .. } => RunState::Retrying,
            Self::Fail { .. } => RunState::Failed,
        }
    }
}

/// The right to carry out one attempt of a run, for a time.
///
/// The attempt is the fencing token: when a run is claimed again, what the earlier lease says
/// counts no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "every store builds it from its parts")]
pub struct Lease {
    /// The run.
    pub run: RunId,
    /// Which attempt of it.
    pub attempt: NonZeroU32,
    /// Where the store keeps the run, in whatever terms it likes; 0 where it needs none.
    pub place: u64,
}

/// A run that was claimed, with all that its attempt needs.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "every store builds it from its parts")]
pub struct LeasedRun {
    /// The right to carry it out.
    pub lease: Lease,
    /// What it runs.
    pub trigger: Trigger,
    /// How it is retried.
    pub retry: RetryPolicy,
    /// The event that owes it.
    pub event: Event,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_one_name() {
        for state in RunState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert_eq!(RunState::from_name(state.as_str()), Some(state));
        }
        assert_eq!(RunState::from_name("lost"), None);
    }
}
