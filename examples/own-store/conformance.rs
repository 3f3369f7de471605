//! How do I bring a store of my own? Proven: one named test for each promise.

mod store;

use std::sync::Arc;

use ploy_webhooks::Endpoint;
use ploy_webhooks::conformance::EventsFixture;
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
