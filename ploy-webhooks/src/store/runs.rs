//! [`RunStore`] and [`RunQueue`]: what events owe, on record and in line.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{EventStore, Lanes, Page, PageSize, StoreError};
use crate::id::{DestinationId, EventId, RunId, WorkspaceId};
use crate::run::{Lease, LeasedRun, NewRun, Outcome, Run, RunState, WorkerName};

/// A store that keeps the runs which [`EventStore::append`] writes with an event.
#[async_trait]
pub trait RunStore: EventStore {
    /// The runs that the event owes, by id; none where the workspace has no such event.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    async fn runs(&self, workspace: &WorkspaceId, event: &EventId) -> Result<Vec<Run>, StoreError>;

    /// The run with that id; `None` where the workspace has none, or its endpoint is deleted
    /// (`runs_are_found_by_their_ids`).
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    async fn run(&self, workspace: &WorkspaceId, id: &RunId) -> Result<Option<Run>, StoreError>;

    /// One page of the runs that match, those with the greatest ids first, which are the newest
    /// (`runs_are_listed_by_their_destination`).
    ///
    /// Complete at once, and following [`next`](Page::next) to its end gives every run that
    /// matched throughout, once (`lists_of_runs_join_without_gap_or_repeat`). A page may be
    /// short, or empty, while `next` is there: what it holds and what it looks at is bounded.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    async fn list_runs(&self, query: &RunQuery) -> Result<Page<Run, RunQuery>, StoreError>;
}

/// Which runs are wanted, and how many at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunQuery {
    /// The tenant.
    pub workspace: WorkspaceId,
    /// Only runs in this state.
    pub state: Option<RunState>,
    /// Only runs that deliver to this destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<DestinationId>,
    /// How many runs a page has at most.
    pub limit: PageSize,
    /// Where the page begins: with the first run whose id is less. `None` is the beginning.
    pub below: Option<RunId>,
}

impl RunQuery {
    /// All runs of a workspace, 50 a page.
    #[must_use]
    pub const fn all(workspace: WorkspaceId) -> Self {
        Self { workspace, state: None, destination: None, limit: PageSize::DEFAULT, below: None }
    }

    /// The same query, beginning below that id.
    #[must_use]
    pub fn below(&self, id: RunId) -> Self {
        Self { below: Some(id), ..self.clone() }
    }
}

/// A [`RunStore`] whose runs can be claimed and carried out, by any number of workers on any
/// number of nodes.
///
/// The store counts attempts and keeps times; which run is tried again, and when, is decided by
/// who claims. Leases and delays are measured by the store's clock, so that the clocks of nodes
/// do not matter.
#[async_trait]
pub trait RunQueue: RunStore {
    /// Claims runs that are due, and counts an attempt of each.
    ///
    /// # To ensure correctness
    ///
    /// - A run is due when its delay is over: that of [`NewRun`], then that of
    ///   [`Outcome::Retry`] (`runs_wait_for_their_delay`).
    /// - Until its lease ends or is finished, a run is claimed by nobody else, whatever claims at
    ///   the same time, on this node or another (`of_simultaneous_claims_each_run_goes_to_one`).
    /// - When a lease ends without a word, the run is due again, and [says
    ///   so](LeasedRun::is_after_loss) (`a_lease_that_ends_is_claimed_again`).
    /// - Runs of a deleted endpoint are not claimed, and their leases are lost
    ///   (`runs_of_a_deleted_endpoint_are_not_claimed`).
    /// - Leases outlast the process (`leases_survive_a_restart`).
    /// - A run comes with its event, as that was appended (`claimed_runs_come_whole`).
    ///
    /// - No more runs of a lane are claimed than there is [room](Lanes::room) for, and what is due
    ///   in other lanes is claimed however much waits in a full one
    ///   (`a_busy_lane_does_not_hold_up_the_others`). What is delivered to one destination stands in
    ///   [one lane](crate::Trigger::lane), whatever endpoints it came from
    ///   (`a_destination_has_a_lane_of_its_own`).
    ///
    /// Fewer than there are may be claimed, and none only where none is due in a lane with room.
    /// In a lane, what has waited longest comes first, more or less; lanes take turns.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have claimed runs, which are due again when their leases end.
    async fn claim(&self, claim: &Claim<'_>) -> Result<Vec<LeasedRun>, StoreError>;

    /// Has the lease end `by` from now instead (`extended_leases_hold`).
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    async fn extend(&self, lease: &Lease, by: Duration) -> Result<Tenure, StoreError>;

    /// Puts on record what came of the attempt, to the letter, and ends its lease
    /// (`what_came_of_an_attempt_is_on_record`); of several at the same time one is recorded
    /// (`of_simultaneous_ends_one_is_recorded`). Outputs and errors may hold whatever bytes and
    /// characters there are, NUL too; the time of a retry may be rounded to milliseconds.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`]; with [`Unavailable`](super::StoreErrorKind::Unavailable) it may be
    /// tried again.
    async fn finish(&self, lease: &Lease, outcome: Outcome) -> Result<Tenure, StoreError>;

    /// Waits until there may be something to claim in a lane with room, but no longer than
    /// `at_most`: a run that is appended, added or to be tried again, on this node or another, or
    /// whose delay or lease is over (`waiting_ends_when_a_run_is_owed`). It may end early, but not
    /// for what waits in a full lane (`waiting_passes_over_full_lanes`).
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped has done nothing.
    async fn wait(&self, at_most: Duration, lanes: &Lanes) -> Result<(), StoreError>;

    /// Adds runs to what a stored event owes; `false` where the workspace has no such event, and
    /// then nothing is added (`runs_are_added_to_stored_events`). All are added or none.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`]; [`Misuse`](super::StoreErrorKind::Misuse) where the event owes a run
    /// of one of these ids already.
    async fn enqueue(
        &self,
        workspace: &WorkspaceId,
        event: &EventId,
        runs: Vec<NewRun>,
    ) -> Result<bool, StoreError>;

    /// Has a run tried once more, now: one that failed, was cancelled, or waits for its next
    /// attempt is queued and due at once (`runs_are_tried_again_by_hand`). One that was cancelled
    /// while an attempt was under way is due when the lease of that attempt is over, and not
    /// before: its worker may not have heard of it yet
    /// (`a_cancelled_attempt_keeps_its_run_from_others`). Who waits is woken.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    async fn requeue(&self, workspace: &WorkspaceId, run: &RunId) -> Result<Altered, StoreError>;

    /// Calls a run off that is queued, running or waits for its next attempt: it is not claimed
    /// any more, and a lease on it is lost (`cancelled_runs_are_not_claimed`). When that lease
    /// would have ended is kept, for [`requeue`](Self::requeue).
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    async fn cancel(&self, workspace: &WorkspaceId, run: &RunId) -> Result<Altered, StoreError>;
}

/// Which runs are claimed, by whom, and for how long.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "who claims says all of it")]
pub struct Claim<'a> {
    /// Who claims: goes on record with the attempt.
    pub worker: &'a WorkerName,
    /// How many at most.
    pub max: NonZeroU16,
    /// For how long.
    pub lease: Duration,
    /// How many in which lane.
    pub lanes: &'a Lanes,
}

/// What came of a change of a run by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[expect(clippy::exhaustive_enums, reason = "callers act on each of these")]
pub enum Altered {
    /// It is as was asked for.
    Done,
    /// It is in a state in which that cannot be: this. Nothing is changed.
    Refused(RunState),
    /// The workspace has no such run.
    Missing,
}

/// Whether a lease still held when it was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[expect(clippy::exhaustive_enums, reason = "a lease holds or does not")]
pub enum Tenure {
    /// It held, and what was asked for is done.
    Held,
    /// The run was claimed again, is finished or deleted: nothing was recorded. A lease whose
    /// time is over and whose run nobody has claimed since may still hold.
    Lost,
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper forwards everything")]
#[async_trait]
impl<S: RunStore + ?Sized> RunStore for Arc<S> {
    async fn runs(&self, workspace: &WorkspaceId, event: &EventId) -> Result<Vec<Run>, StoreError> {
        (**self).runs(workspace, event).await
    }

    async fn run(&self, workspace: &WorkspaceId, id: &RunId) -> Result<Option<Run>, StoreError> {
        (**self).run(workspace, id).await
    }

    async fn list_runs(&self, query: &RunQuery) -> Result<Page<Run, RunQuery>, StoreError> {
        (**self).list_runs(query).await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper forwards everything")]
#[async_trait]
impl<S: RunQueue + ?Sized> RunQueue for Arc<S> {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Vec<LeasedRun>, StoreError> {
        (**self).claim(claim).await
    }

    async fn extend(&self, lease: &Lease, by: Duration) -> Result<Tenure, StoreError> {
        (**self).extend(lease, by).await
    }

    async fn finish(&self, lease: &Lease, outcome: Outcome) -> Result<Tenure, StoreError> {
        (**self).finish(lease, outcome).await
    }

    async fn wait(&self, at_most: Duration, lanes: &Lanes) -> Result<(), StoreError> {
        (**self).wait(at_most, lanes).await
    }

    async fn enqueue(
        &self,
        workspace: &WorkspaceId,
        event: &EventId,
        runs: Vec<NewRun>,
    ) -> Result<bool, StoreError> {
        (**self).enqueue(workspace, event, runs).await
    }

    async fn requeue(&self, workspace: &WorkspaceId, run: &RunId) -> Result<Altered, StoreError> {
        (**self).requeue(workspace, run).await
    }

    async fn cancel(&self, workspace: &WorkspaceId, run: &RunId) -> Result<Altered, StoreError> {
        (**self).cancel(workspace, run).await
    }
}
