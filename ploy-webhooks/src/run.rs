//! A run: one execution that an event owes.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::event::Event;
use crate::id::{DestinationId, EndpointId, EventId, RunId, WorkspaceId};
use crate::task::Trigger;

/// What shares a bound on how many runs are under way at once: what is delivered to one
/// destination; all else that the events of one endpoint run, or those that the app publishes in
/// one workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "stores keep each of these")]
pub enum Lane {
    /// What an endpoint took.
    Endpoint(EndpointId),
    /// What the app published.
    Workspace(WorkspaceId),
    /// What is delivered there, wherever it came from.
    Destination(DestinationId),
}

/// Who carries out an attempt, for people to recognise: 1 to 64 visible ASCII characters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct WorkerName(Arc<str>);

/// A text that is not the name of a worker.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not the name of a worker: expected 1 to 64 visible ASCII characters")]
pub struct ParseWorkerNameError;

impl WorkerName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WorkerName {
    type Err = ParseWorkerNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name =
            (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_name { Ok(Self(text.into())) } else { Err(ParseWorkerNameError) }
    }
}

impl fmt::Display for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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

impl Run {
    /// How many bytes its attempts have said.
    #[must_use]
    pub fn outcome_bytes(&self) -> u64 {
        let ends = self.attempts.iter().filter_map(|attempt| attempt.end.as_ref());
        ends.map(|end| end.outcome.bytes()).sum()
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
    /// Called off by hand.
    Cancelled,
}

impl RunState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Retrying,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Whether a run in this state is carried out without anybody asking for it, now or later.
    #[must_use]
    pub const fn is_in_line(self) -> bool {
        matches!(self, Self::Queued | Self::Running | Self::Retrying)
    }

    /// Whether a run in this state may be [requeued](crate::store::RunQueue::requeue).
    #[must_use]
    pub const fn may_be_requeued(self) -> bool {
        matches!(self, Self::Retrying | Self::Failed | Self::Cancelled)
    }

    /// Its name, the same as in JSON: for a store to keep.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
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
    /// Who claimed it.
    pub worker: WorkerName,
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
    /// How many bytes it says.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        let bytes = match self {
            Self::Succeed { output } => output.len(),
            Self::Retry { error, .. } | Self::Fail { error } => error.len(),
        };
        bytes as u64
    }

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
    /// Whether the lease before this one ended without a word: its worker may have been lost
    /// through this very run.
    pub is_after_loss: bool,
    /// What it runs.
    pub trigger: Trigger,
    /// The event that owes it.
    pub event: Event,
}

impl LeasedRun {
    /// The lane that it is carried out in.
    #[must_use]
    pub fn lane(&self) -> Lane {
        self.trigger.lane(self.event.lane())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_workers_can_be_written_anywhere() {
        assert!("node-1:4711".parse::<WorkerName>().is_ok());
        for text in ["", "a b", "é", "a\n", &"w".repeat(65)] {
            assert_eq!(text.parse::<WorkerName>(), Err(ParseWorkerNameError), "{text}");
        }
    }

    #[test]
    fn a_state_has_one_name() {
        for state in RunState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert_eq!(RunState::from_name(state.as_str()), Some(state));
        }
        assert_eq!(RunState::from_name("lost"), None);
    }
}
