//! [`RunStore`]: the record of what events owe.

use std::sync::Arc;

use async_trait::async_trait;

use super::{EventStore, StoreError};
use crate::id::{EventId, WorkspaceId};
use crate::run::Run;

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

#[deny(clippy::missing_trait_methods, reason = "a wrapper forwards everything")]
#[async_trait]
impl<S: RunStore + ?Sized> RunStore for Arc<S> {
    async fn runs(&self, workspace: &WorkspaceId, event: &EventId) -> Result<Vec<Run>, StoreError> {
        (**self).runs(workspace, event).await
    }
}
