//! An intake over a store in memory, for targets to knock at.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Full;
use ploy_webhooks::ingest::{Accepted, Delivery, Refusal, ResponseBody};
use ploy_webhooks::store::{EndpointStore, EventStore, MemoryStore};
use ploy_webhooks::{
    Auth, Clock, Endpoint, EndpointConfig, EndpointId, EventId, Ingest, Secret, SystemClock,
    WorkspaceId,
};
use tokio::runtime::{Builder, Runtime};
use tower::Service;

/// One endpoint, `door`, whose key is [`KEY`].
pub struct Door {
    runtime: Runtime,
    store: Arc<MemoryStore>,
    ingest: Ingest<Arc<MemoryStore>, Arc<MemoryStore>>,
}

/// The key of the endpoint.
pub const KEY: &str = "pwk_key";

thread_local! {
    static DOOR: RefCell<(usize, Door)> = RefCell::new((0, Door::hang()));
}

/// Does something at the door. A new one is hung every so often, so that memory stays bounded.
pub fn at_the_door<T>(knock: impl FnOnce(&Door) -> T) -> T {
    DOOR.with_borrow_mut(|(knocks, door)| {
        *knocks += 1;
        if *knocks % 1_000 == 0 {
            *door = Door::hang();
        }
        knock(door)
    })
}

impl Door {
    /// A new one.
    #[must_use]
    pub fn hang() -> Self {
        let runtime = Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime");
        let (store, now) = (Arc::new(MemoryStore::new()), SystemClock.now());
        let endpoint = Endpoint::new(
            EndpointId::mint(now),
            WorkspaceId::DEFAULT,
            "door".parse().expect("a slug"),
            now,
            Auth::api_key(Secret::from(KEY.to_owned()).digest()),
            EndpointConfig::default(),
        );
        let created = runtime.block_on(store.create(endpoint));
        let _created = created.expect("memory has room");
        Self { runtime, ingest: Ingest::new(Arc::clone(&store), Arc::clone(&store)), store }
    }

    /// Sends a body by the way that is not HTTP.
    pub fn submit(&self, payload: &[u8]) -> Result<Accepted, Refusal> {
        let mut headers = HeaderMap::new();
        let bearer = HeaderValue::try_from(format!("Bearer {KEY}"));
        headers.insert("authorization", bearer.expect("a header value"));
        let received = self.runtime.block_on(self.ingest.submit(Delivery {
            slug: "door",
            headers: &headers,
            source: None,
            payload: Bytes::copy_from_slice(payload),
        }))?;
        Ok(received.event().expect("whoever shows a key asks for nothing"))
    }

    /// Sends `{}` under that head.
    pub fn call(&self, head: Request<()>) -> Response<ResponseBody> {
        let request = head.map(|()| Full::new(Bytes::from_static(b"{}")));
        let answer = self.runtime.block_on(self.ingest.clone().call(request));
        answer.unwrap_or_else(|never| match never {})
    }

    /// What is kept of an event.
    #[must_use]
    pub fn payload(&self, id: EventId) -> Bytes {
        let found = self.runtime.block_on(self.store.event(&WorkspaceId::DEFAULT, &id));
        found.expect("memory answers").expect("it was accepted").payload
    }
}
