//! What a saboteur does wrong with runs.

use std::num::NonZeroU16;
use std::time::Duration;

use async_trait::async_trait;
use ploy_webhooks::store::{RunQueue, RunStore, StoreError, Tenure};
use ploy_webhooks::{EventId, Lease, LeasedRun, NewRun, Outcome, Run, WorkspaceId};

use super::Saboteur;

#[async_trait]
impl RunStore for Saboteur {
    async fn runs(&self, workspace: &WorkspaceId, event: &EventId) -> Result<Vec<Run>, StoreError> {
        self.store.runs(workspace, event).await
    }
}

#[async_trait]
impl RunQueue for Saboteur {
    async fn claim(&self, max: NonZeroU16, lease: Duration) -> Result<Vec<LeasedRun>, StoreError> {
        self.store.claim(max, lease).await
    }

    async fn extend(&self, lease: &Lease, by: Duration) -> Result<Tenure, StoreError> {
        self.store.extend(lease, by).await
    }

    async fn finish(&self, lease: &Lease, outcome: Outcome) -> Result<Tenure, StoreError> {
        self.store.finish(lease, outcome).await
    }

    async fn wait(&self, at_most: Duration) -> Result<(), StoreError> {
        self.store.wait(at_most).await
    }

    async fn enqueue(
        &self,
        workspace: &WorkspaceId,
        event: &EventId,
        runs: Vec<NewRun>,
    ) -> Result<bool, StoreError> {
        self.store.enqueue(workspace, event, runs).await
    }
}
