//! [`RunStore`] and [`RunQueue`]: what events owe, on record and in line.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{EventStore, StoreError};
use crate::id::{EventId, WorkspaceId};
use crate::run::{Lease, LeasedRun, NewRun, Outcome, Run};

/// A store that keeps the runs which [`EventStore::append`] writes with an event.
#[async_trait]
pub trait RunStore: EventStore {
    /// The runs that the event owes, by id; none where the workspace has no such event.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    async fn runs(&self, workspace: &WorkspaceId, event: &EventId) -> Result<Vec<Run>, StoreError>;
}

/// A [`RunStore`] whose runs can be claimed and carried out, by any number of workers on any
/// number of nodes.
///
/// The store counts attempts and keeps times; which run is tried again, and when, is decided by
/// who claims. Leases and delays are measured by the store's clock, so that the clocks of nodes
/// do not matter.
#[async_trait]
pub trait RunQueue: RunStore {
    /// Claims up to `max` runs that are due, for the time of `lease`, and counts an attempt of
    /// each.
    ///
    /// # To ensure correctness
    ///
    /// - A run is due when its delay is over: that of [`NewRun`], then that of
    ///   [`Outcome::Retry`] (`runs_wait_for_their_delay`).
    /// - Until its lease ends or is finished, a run is claimed by nobody else, whatever claims at
    ///   the same time, on this node or another (`of_simultaneous_claims_each_run_goes_to_one`).
    /// - When a lease ends without a word, the run is due again
    ///   (`a_lease_that_ends_is_claimed_again`).
    /// - Runs of a deleted endpoint are not claimed, and their leases are lost
    ///   (`runs_of_a_deleted_endpoint_are_not_claimed`).
    /// - Leases outlast the process (`leases_survive_a_restart`).
    /// - A run comes with its event, as that was appended (`claimed_runs_come_whole`).
    ///
    /// Fewer than there are may be claimed, and none only where none is due. What has waited
    /// longest comes first, more or less.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have claimed runs, which are due again when their leases end.
    async fn claim(&self, max: NonZeroU16, lease: Duration) -> Result<Vec<LeasedRun>, StoreError>;

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

    /// Waits until there may be something to claim, but no longer than `at_most`: a run that is
    /// appended, added or to be tried again, on this node or another, or whose delay or lease is
    /// over (`waiting_ends_when_a_run_is_owed`). It may end early.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped has done nothing.
    async fn wait(&self, at_most: Duration) -> Result<(), StoreError>;

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
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper forwards everything")]
#[async_trait]
impl<S: RunQueue + ?Sized> RunQueue for Arc<S> {
    async fn claim(&self, max: NonZeroU16, lease: Duration) -> Result<Vec<LeasedRun>, StoreError> {
        (**self).claim(max, lease).await
    }

    async fn extend(&self, lease: &Lease, by: Duration) -> Result<Tenure, StoreError> {
        (**self).extend(lease, by).await
    }

    async fn finish(&self, lease: &Lease, outcome: Outcome) -> Result<Tenure, StoreError> {
        (**self).finish(lease, outcome).await
    }

    async fn wait(&self, at_most: Duration) -> Result<(), StoreError> {
        (**self).wait(at_most).await
    }

    async fn enqueue(
        &self,
        workspace: &WorkspaceId,
        event: &EventId,
        runs: Vec<NewRun>,
    ) -> Result<bool, StoreError> {
        (**self).enqueue(workspace, event, runs).await
    }
}
