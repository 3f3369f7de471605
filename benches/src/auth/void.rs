//! A store of one endpoint that says of every event that it is stored, and keeps none.

use std::sync::Arc;

use async_trait::async_trait;
use ploy_webhooks::store::{
    Appended, EventQuery, EventStore, KeyStore, Page, StoreError, StoreErrorKind,
};
use ploy_webhooks::{Endpoint, Event, EventId, EventSummary, NewEvent, Slug, WorkspaceId};

/// A store of one endpoint that keeps no events.
#[derive(Clone, Debug)]
pub struct Void {
    endpoint: Arc<Endpoint>,
}

impl Void {
    /// One with that endpoint.
    #[must_use]
    pub fn of(endpoint: Endpoint) -> Self {
        Self { endpoint: Arc::new(endpoint) }
    }
}

#[async_trait]
impl KeyStore for Void {
    async fn endpoint(&self, slug: &Slug) -> Result<Option<Arc<Endpoint>>, StoreError> {
        Ok((*slug == self.endpoint.slug).then(|| self.endpoint.clone()))
    }
}

#[async_trait]
impl EventStore for Void {
    async fn append(&self, _: NewEvent) -> Result<Appended, StoreError> {
        Ok(Appended::Stored)
    }

    async fn event(&self, _: &WorkspaceId, _: &EventId) -> Result<Option<Event>, StoreError> {
        Ok(None)
    }

    async fn search(&self, _: &EventQuery) -> Result<Page<EventSummary>, StoreError> {
        Err(StoreError::new(StoreErrorKind::Misuse, "nothing is kept here"))
    }
}
