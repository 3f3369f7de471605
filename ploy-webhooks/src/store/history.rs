//! [`HistoryStore`]: how much has happened in a workspace, and when: what charts are drawn of.

use std::fmt::Debug;
use std::ops::{AddAssign, Range};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::clock::Timestamp;
use crate::id::WorkspaceId;

/// Where nodes hand over how much has happened, in buckets of time.
///
/// Nodes count in memory and hand over a few times a minute, so that no request costs a write. A
/// node that is killed takes along what it had not handed over: these are figures for people, and
/// nothing is decided by them.
#[async_trait]
pub trait HistoryStore: Debug + Send + Sync + 'static {
    /// Adds these up with what the buckets hold (`tallies_add_up`), and lets go of the workspace's
    /// buckets that are older than these by [`HISTORY_KEPT`], at the latest when a new one is begun
    /// (`old_history_is_let_go_of`).
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have counted all, some or none.
    async fn tally(&self, tallies: Vec<HistoryTally>) -> Result<(), StoreError>;

    /// The workspace's buckets that begin in that span, the oldest first. Those in which nothing
    /// has happened are left out.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    async fn history(
        &self,
        workspace: &WorkspaceId,
        span: Range<Timestamp>,
    ) -> Result<Vec<HistoryBucket>, StoreError>;

    /// Lets go of all that is known of the workspace (`history_is_forgotten_with_its_workspace`).
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    async fn forget_history(&self, workspace: &WorkspaceId) -> Result<(), StoreError>;
}

/// How long a bucket is.
pub const HISTORY_STEP: Duration = Duration::from_secs(5 * 60);

/// For how long history is kept: a week can be shown whole.
pub const HISTORY_KEPT: Duration = Duration::from_secs(8 * 86_400);

/// What has happened in a workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "nodes and stores build it from its parts")]
pub struct HistoryCounts {
    /// How many events were accepted.
    pub accepted: u64,
    /// How many requests to its endpoints were refused.
    pub refused: u64,
    /// How many runs have succeeded.
    pub succeeded: u64,
    /// How many runs have failed for good.
    pub failed: u64,
}

/// What a node adds to a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "nodes and stores build it from its parts")]
pub struct HistoryTally {
    /// The tenant.
    pub workspace: WorkspaceId,
    /// When its bucket begins: see [`bucket_of`](Self::bucket_of).
    pub at: Timestamp,
    /// What has happened.
    pub counts: HistoryCounts,
}

/// What has happened from one moment on, for a [`HISTORY_STEP`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "every store builds it from its parts")]
pub struct HistoryBucket {
    /// When it begins.
    pub at: Timestamp,
    /// What has happened.
    pub counts: HistoryCounts,
}

impl HistoryTally {
    /// When the bucket begins in which that moment is.
    #[must_use]
    pub fn bucket_of(moment: Timestamp) -> Timestamp {
        let step = HISTORY_STEP.as_millis() as u64;
        Timestamp::from_millis(moment.as_millis() / step * step)
    }
}

impl HistoryCounts {
    /// Whether nothing has happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Up to the greatest number there is.
impl AddAssign for HistoryCounts {
    fn add_assign(&mut self, more: Self) {
        let Self { accepted, refused, succeeded, failed } = self;
        *accepted = accepted.saturating_add(more.accepted);
        *refused = refused.saturating_add(more.refused);
        *succeeded = succeeded.saturating_add(more.succeeded);
        *failed = failed.saturating_add(more.failed);
    }
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper forwards everything")]
#[async_trait]
impl<S: HistoryStore + ?Sized> HistoryStore for Arc<S> {
    async fn tally(&self, tallies: Vec<HistoryTally>) -> Result<(), StoreError> {
        (**self).tally(tallies).await
    }

    async fn history(
        &self,
        workspace: &WorkspaceId,
        span: Range<Timestamp>,
    ) -> Result<Vec<HistoryBucket>, StoreError> {
        (**self).history(workspace, span).await
    }

    async fn forget_history(&self, workspace: &WorkspaceId) -> Result<(), StoreError> {
        (**self).forget_history(workspace).await
    }
}
