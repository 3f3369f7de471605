//! What has happened in each workspace since it was last handed over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use papaya::HashMap;
use ploy_webhooks::ingest::{Received, Refusal};
use ploy_webhooks::store::{HistoryCounts, HistoryTally};
use ploy_webhooks::{Outcome, Timestamp, WorkspaceId};

/// More workspaces than this are not counted at once. They are let go of when they are handed over.
const WORKSPACES_MAX: usize = 1 << 16;

/// The counts of each workspace. Who counts takes no lock.
#[derive(Debug, Default)]
pub(super) struct History(HashMap<WorkspaceId, Arc<Counts>>);

#[derive(Debug, Default)]
pub(super) struct Counts {
    accepted: AtomicU64,
    refused: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
}

impl History {
    /// Counts something in the workspace.
    pub(super) fn of(&self, workspace: WorkspaceId, count: impl FnOnce(&Counts)) {
        let workspaces = self.0.pin();
        if let Some(counts) = workspaces.get(&workspace) {
            count(counts);
        } else if workspaces.len() < WORKSPACES_MAX {
            count(workspaces.get_or_insert_with(workspace, Arc::default));
        }
    }

    /// Everything that was counted, for the bucket of that moment. Where nothing was, the workspace
    /// is let go of: what is counted at that very moment is lost, and nobody decides by it.
    pub(super) fn take(&self, now: Timestamp) -> Vec<HistoryTally> {
        let at = HistoryTally::bucket_of(now);
        let mut tallies = Vec::new();
        let workspaces = self.0.pin();
        for (&workspace, counts) in &workspaces {
            let counts = counts.take();
            if counts.is_empty() {
                workspaces.remove(&workspace);
            } else {
                tallies.push(HistoryTally { workspace, at, counts });
            }
        }
        tallies
    }
}

impl Counts {
    pub(super) fn answered(&self, outcome: &Result<&Received, &Refusal>) {
        let count = match outcome {
            Ok(Received::Event(event)) if !event.duplicate => &self.accepted,
            // It is neither a new event nor a fault.
            Ok(Received::Event(_) | Received::Handshake(_)) => return,
            Err(_) => &self.refused,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, outcome: &Outcome) {
        let count = match outcome {
            Outcome::Succeed { .. } => &self.succeeded,
            Outcome::Fail { .. } => &self.failed,
            Outcome::Retry { .. } => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn take(&self) -> HistoryCounts {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        HistoryCounts {
            accepted: take(&self.accepted),
            refused: take(&self.refused),
            succeeded: take(&self.succeeded),
            failed: take(&self.failed),
        }
    }
}
