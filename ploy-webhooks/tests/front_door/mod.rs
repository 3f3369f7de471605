//! An intake with one endpoint, through its public interface.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use ploy_webhooks::ingest::{Accepted, Delivery, Refusal};
use ploy_webhooks::store::{EndpointStore, EventQuery, EventStore, MemoryStore};
use ploy_webhooks::{
    Clock, Endpoint, EndpointConfig, EventId, Ingest, Slug, SystemClock, WorkspaceId,
};
use std::sync::Arc;

/// One endpoint and its key.
#[derive(Debug)]
pub(crate) struct FrontDoor {
    store: Arc<MemoryStore>,
    ingest: Ingest<Arc<MemoryStore>, Arc<MemoryStore>>,
    slug: Slug,
    headers: HeaderMap,
}

impl FrontDoor {
    pub(crate) async fn open() -> Self {
        let store = Arc::new(MemoryStore::new());
        let config = EndpointConfig::default();
        let (endpoint, key) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
        let slug = endpoint.slug.clone();
        let _created = store.create(endpoint).await.expect("memory has room");
        let bearer = HeaderValue::try_from(format!("Bearer {}", key.expose()));
        let mut headers = HeaderMap::new();
        headers.insert("authorization", bearer.expect("a key is a header value"));
        Self { ingest: Ingest::new(Arc::clone(&store), Arc::clone(&store)), store, slug, headers }
    }

    pub(crate) async fn submit(&self, body: &[u8]) -> Result<Accepted, Refusal> {
        let delivery = Delivery {
            slug: self.slug.as_str(),
            headers: &self.headers,
            source: None,
            payload: Bytes::copy_from_slice(body),
        };
        let received = self.ingest.submit(delivery).await?;
        Ok(received.event().expect("nobody asks for a handshake here"))
    }

    pub(crate) async fn payload(&self, id: EventId) -> Bytes {
        let found = self.store.event(&WorkspaceId::DEFAULT, &id).await;
        let found = found.expect("memory answers");
        found.expect("an accepted event is there").payload
    }

    pub(crate) async fn count(&self) -> usize {
        let found = self.store.search(&EventQuery::all(WorkspaceId::DEFAULT)).await;
        found.expect("memory answers").items.len()
    }
}
