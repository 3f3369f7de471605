//! The events, and who gives them to a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use ploy_webhooks::store::{Appended, Created, EndpointStore, EventStore};
use ploy_webhooks::{
    Clock, Endpoint, EndpointConfig, EventId, Fence, NewEvent, SystemClock, WorkspaceId,
};

use super::EnginesError;
use super::callers::Caller;
use crate::payload::{Pool, Shape};

/// Payloads without end.
#[derive(Debug)]
pub(crate) struct Source {
    pool: Pool,
    next: AtomicU64,
}

impl Source {
    pub(crate) fn new(payload_bytes: usize) -> Self {
        Self { pool: Pool::new(Shape::Flat, payload_bytes), next: AtomicU64::new(0) }
    }

    /// The next, with a number of its own.
    pub(crate) fn payload(&self) -> Bytes {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Bytes::from(self.pool.numbered(number).into_bytes())
    }

    /// So many, none of them copied.
    pub(crate) fn payloads(&self, count: usize) -> Vec<&[u8]> {
        let number = self.next.fetch_add(count as u64, Ordering::Relaxed);
        self.pool.from(number).take(count).collect()
    }
}

/// Makes an endpoint, and says what events for it are checked against.
pub(crate) async fn mint(store: &impl EndpointStore) -> Result<Fence, EnginesError> {
    let config = EndpointConfig::default();
    let (endpoint, _) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
    let fence = Fence { endpoint: endpoint.id, checked_at: endpoint.revision };
    match store.create(endpoint).await? {
        Created::Created => Ok(fence),
        Created::Taken => Err(EnginesError::NotStored),
    }
}

/// A request to a store, after its checks.
#[derive(Debug)]
pub(crate) struct StoreCaller<S> {
    pub(crate) store: Arc<S>,
    pub(crate) fence: Fence,
    pub(crate) source: Arc<Source>,
}

impl<S> Clone for StoreCaller<S> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), fence: self.fence, source: self.source.clone() }
    }
}

impl<S: EventStore> Caller for StoreCaller<S> {
    async fn step(&mut self) -> Result<u64, EnginesError> {
        let id = EventId::mint(SystemClock.now());
        let event = NewEvent {
            fence: Some(self.fence),
            ..NewEvent::published(id, WorkspaceId::DEFAULT, self.source.payload())
        };
        match self.store.append(event).await? {
            Appended::Stored => Ok(1),
            _ => Err(EnginesError::NotStored),
        }
    }
}
