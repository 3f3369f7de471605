//! How do I bring a store of my own? Proven: one named test for each promise.

mod store;

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use ploy_webhooks::conformance::EventsFixture;
use ploy_webhooks::store::{Appended, EventStore};
use ploy_webhooks::{Clock, Endpoint, EventId, NewEvent, SystemClock, WorkspaceId};
use store::FileStore;
use tempfile::TempDir;

/// A file in a folder of its own, and the endpoints that the suite asks for.
struct InAFile {
    folder: TempDir,
    endpoints: std::sync::Mutex<Vec<Endpoint>>,
}

impl InAFile {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder is made");
        Self { folder, endpoints: Default::default() }
    }

    fn store(&self) -> Arc<FileStore> {
        let endpoints = self.endpoints.lock().expect("no holder panics").clone();
        let store = FileStore::open(&self.folder.path().join("events"), endpoints);
        Arc::new(store.expect("the file opens"))
    }
}

impl EventsFixture for InAFile {
    type Store = FileStore;

    async fn open_with(&self, endpoints: Vec<Endpoint>) -> Arc<FileStore> {
        *self.endpoints.lock().expect("no holder panics") = endpoints;
        self.store()
    }

    async fn reopen(&self, store: Arc<FileStore>) -> Arc<FileStore> {
        drop(store);
        self.store()
    }
}

ploy_webhooks::conformance!(events_only: InAFile::new());

/// What the suite cannot know of: how this store's file looks when a write has failed halfway.
#[tokio::test]
async fn nothing_is_lost_behind_a_write_that_failed() {
    let fixture = InAFile::new();
    let store = fixture.open_with(Vec::new()).await;
    let path = fixture.folder.path().join("events");
    let mut file = std::fs::File::options().append(true).open(path).unwrap();
    let mut ids = Vec::new();
    for torn in [&b"{\"id\":\"\xc3"[..], b"{}\n{}"] {
        file.write_all(torn).unwrap();
        let id = EventId::mint(SystemClock.now());
        let event = NewEvent::published(id, WorkspaceId::DEFAULT, Bytes::from_static(b"{}"));
        assert!(matches!(store.append(event).await.unwrap(), Appended::Stored));
        ids.push(id);
    }
    file.write_all(b"{\"id\":\"\xc3").unwrap();
    let store = fixture.reopen(store).await;
    for id in &ids {
        assert!(store.event(&WorkspaceId::DEFAULT, id).await.unwrap().is_some());
    }
}
