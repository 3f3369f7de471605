//! [`Composing`]: the store as [`publish`](ploy_webhooks::publish) is to see it while an event is made
//! of one row of the outbox.

use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ploy_webhooks::store::{
    Appended, Defined, Definition, DefinitionKind, DefinitionStore, EventQuery, EventStore, Page,
    StoreError,
};
use ploy_webhooks::{
    Event, EventId, EventSummary, NewEvent, Publication, Revision, WorkspaceId, publish,
};
use tokio::sync::OnceCell;

use crate::PostgresStore;

/// The subscriptions of a workspace, which are read once for all rows that are relayed together:
/// after these were, so that a change which had returned by then is followed.
pub(crate) type Subscriptions = OnceCell<Vec<Definition>>;

/// A store that keeps the event, with the id that the row has for it, until what was taken with it
/// can be stored too.
#[derive(Debug)]
pub(crate) struct Composing {
    store: Arc<PostgresStore>,
    event: EventId,
    subscriptions: Arc<Subscriptions>,
    composed: Mutex<Option<NewEvent>>,
}

impl Composing {
    /// Makes an event of what was published, with that id and with all that it owes.
    pub(crate) async fn compose(
        store: Arc<PostgresStore>,
        (event, publication): (EventId, Publication),
        subscriptions: Arc<Subscriptions>,
    ) -> Result<NewEvent, StoreError> {
        let composing = Self { store, event, subscriptions, composed: Mutex::default() };
        // That it was stored is what `append` says below.
        let _ = publish(&composing, publication).await?;
        let composed = composing.composed.into_inner().expect("no holder of the lock panics");
        Ok(composed.expect("what is published is appended"))
    }
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper forwards everything")]
#[async_trait]
impl EventStore for Composing {
    async fn append(&self, event: NewEvent) -> Result<Appended, StoreError> {
        let mut composed = self.composed.lock().expect("no holder of the lock panics");
        *composed = Some(NewEvent { id: self.event, ..event });
        // It is not yet, which `compose` knows.
        Ok(Appended::Stored)
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
impl DefinitionStore for Composing {
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
