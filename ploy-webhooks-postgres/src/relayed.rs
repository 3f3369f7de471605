//! [`Relayed`]: the store as [`publish`](ploy_webhooks::publish) is to see it for one row of the
//! outbox.

use std::num::NonZeroU16;
use std::sync::Arc;

use async_trait::async_trait;
use ploy_webhooks::store::{
    Appended, Defined, Definition, DefinitionKind, DefinitionStore, EventQuery, EventStore, Page,
    StoreError,
};
use ploy_webhooks::{Event, EventId, EventSummary, NewEvent, Revision, WorkspaceId};
use tokio::sync::OnceCell;

use crate::PostgresStore;

/// The subscriptions of a workspace, which are read once for all rows that are relayed together:
/// after these were, so that a change which had returned by then is followed.
pub(crate) type Subscriptions = OnceCell<Vec<Definition>>;

/// A store that stores the event with the id that the row has for it, and deletes the row with it.
#[derive(Debug)]
pub(crate) struct Relayed {
    pub(crate) store: Arc<PostgresStore>,
    pub(crate) row: i64,
    pub(crate) event: EventId,
    pub(crate) subscriptions: Arc<Subscriptions>,
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper forwards everything")]
#[async_trait]
impl EventStore for Relayed {
    async fn append(&self, event: NewEvent) -> Result<Appended, StoreError> {
        self.store.append_from(NewEvent { id: self.event, ..event }, Some(self.row)).await
    }

    async fn event(
        &self,
        workspace: &WorkspaceId,
        id: &EventId,
    ) -> Result<Option<Event>, StoreError> {
        self.store.event(workspace, id).await
    }

    async fn search(&self, query: &EventQuery) -> Result<Page<EventSummary>, StoreError> {
        self.store.search(query).await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper forwards everything")]
#[async_trait]
impl DefinitionStore for Relayed {
    async fn definition(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
    ) -> Result<Option<Definition>, StoreError> {
        self.store.definition(workspace, kind, name).await
    }

    async fn definitions(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        after: Option<&str>,
        limit: NonZeroU16,
    ) -> Result<Vec<Definition>, StoreError> {
        let read = || self.store.definitions(workspace, kind, after, limit);
        match (kind, after) {
            (DefinitionKind::Subscription, None) => {
                self.subscriptions.get_or_try_init(read).await.cloned()
            }
            _ => read().await,
        }
    }

    async fn define(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
        expected: Option<Revision>,
        text: &str,
    ) -> Result<Defined, StoreError> {
        self.store.define(workspace, kind, name, expected, text).await
    }

    async fn undefine(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
    ) -> Result<bool, StoreError> {
        self.store.undefine(workspace, kind, name).await
    }
}
