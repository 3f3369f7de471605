//! A store that fails as often as it is told to, and otherwise is one in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ploy_webhooks::store::{
    Altered, Appended, Claim, EventQuery, EventStore, Lanes, MemoryStore, Page, RunQuery, RunQueue,
    RunStore, StoreError, StoreErrorKind, Tenure,
};
use ploy_webhooks::{
    Event, EventId, EventSummary, Lease, LeasedRun, NewEvent, NewRun, Outcome, Run, RunId,
    WorkspaceId,
};
use tokio::sync::watch;

/// How often which call fails from now on.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) claims: AtomicU32,
    pub(crate) waits: AtomicU32,
    /// Fail at once.
    pub(crate) extends: AtomicU32,
    /// Never answer.
    pub(crate) hanging_extends: AtomicU32,
    pub(crate) finishes: AtomicU32,
    /// Are done, but the answer is lost.
    pub(crate) unanswered_finishes: AtomicU32,
}

#[derive(Debug)]
pub(crate) struct FaultyStore {
    pub(crate) inner: Arc<MemoryStore>,
    pub(crate) faults: Faults,
    /// How many times leases were extended.
    pub(crate) extended: watch::Sender<u32>,
}

impl FaultyStore {
    pub(crate) fn new(inner: Arc<MemoryStore>) -> Arc<Self> {
        Arc::new(Self { inner, faults: Faults::default(), extended: watch::Sender::new(0) })
    }
}

fn strikes(left: &AtomicU32) -> bool {
    left.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

fn may_strike(left: &AtomicU32) -> Result<(), StoreError> {
    if strikes(left) {
        return Err(StoreError::new(StoreErrorKind::Unavailable, "the store is away"));
    }
    Ok(())
}

#[async_trait]
impl EventStore for FaultyStore {
    async fn append(&self, event: NewEvent) -> Result<Appended, StoreError> {
        self.inner.append(event).await
    }

    async fn event(
        &self,
        workspace: &WorkspaceId,
        id: &EventId,
    ) -> Result<Option<Event>, StoreError> {
        self.inner.event(workspace, id).await
    }

    async fn search(&self, query: &EventQuery) -> Result<Page<EventSummary>, StoreError> {
        self.inner.search(query).await
    }
}

#[async_trait]
impl RunStore for FaultyStore {
    async fn runs(&self, workspace: &WorkspaceId, event: &EventId) -> Result<Vec<Run>, StoreError> {
        self.inner.runs(workspace, event).await
    }

    async fn run(&self, workspace: &WorkspaceId, id: &RunId) -> Result<Option<Run>, StoreError> {
        self.inner.run(workspace, id).await
    }

    async fn list_runs(&self, query: &RunQuery) -> Result<Page<Run, RunQuery>, StoreError> {
        self.inner.list_runs(query).await
    }
}

#[async_trait]
impl RunQueue for FaultyStore {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Vec<LeasedRun>, StoreError> {
        may_strike(&self.faults.claims)?;
        self.inner.claim(claim).await
    }

    async fn extend(&self, lease: &Lease, by: Duration) -> Result<Tenure, StoreError> {
        if strikes(&self.faults.hanging_extends) {
            return std::future::pending().await;
        }
        may_strike(&self.faults.extends)?;
        let tenure = self.inner.extend(lease, by).await?;
        self.extended.send_modify(|times| *times += 1);
        Ok(tenure)
    }

    async fn finish(&self, lease: &Lease, outcome: Outcome) -> Result<Tenure, StoreError> {
        may_strike(&self.faults.finishes)?;
        let tenure = self.inner.finish(lease, outcome).await?;
        if strikes(&self.faults.unanswered_finishes) {
            return Err(StoreError::new(StoreErrorKind::Indeterminate, "the answer was lost"));
        }
        Ok(tenure)
    }

    async fn wait(&self, at_most: Duration, lanes: &Lanes) -> Result<(), StoreError> {
        may_strike(&self.faults.waits)?;
        self.inner.wait(at_most, lanes).await
    }

    async fn enqueue(
        &self,
        workspace: &WorkspaceId,
        event: &EventId,
        runs: Vec<NewRun>,
    ) -> Result<bool, StoreError> {
        self.inner.enqueue(workspace, event, runs).await
    }

    async fn requeue(&self, workspace: &WorkspaceId, run: &RunId) -> Result<Altered, StoreError> {
        self.inner.requeue(workspace, run).await
    }

    async fn cancel(&self, workspace: &WorkspaceId, run: &RunId) -> Result<Altered, StoreError> {
        self.inner.cancel(workspace, run).await
    }
}
