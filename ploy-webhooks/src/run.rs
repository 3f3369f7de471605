//! A run: one execution that an event owes.

use std::num::NonZeroU16;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
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
        Self { id, event, trigger, state: RunState::Queued, created_at }
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum RunState {
    /// Waits for its first attempt.
    Queued,
}
