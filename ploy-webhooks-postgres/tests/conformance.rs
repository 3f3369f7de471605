//! Postgres keeps every promise.

use std::sync::Arc;

use ploy_webhooks::conformance::Fixture;
use ploy_webhooks_engines::Postgres;
use ploy_webhooks_postgres::{PostgresSettings, PostgresStore};

/// A database of its own on a server that all tests share.
struct Database(PostgresSettings);

impl Database {
    async fn new() -> Self {
        let url = tokio::task::spawn_blocking(|| Postgres::shared().database());
        let url = url.await.expect("a database is made");
        let mut settings = PostgresSettings::from_url(&url).expect("a URL");
        // The server is shared, and so are its connections.
        settings.readers_max = 4;
        Self(settings)
    }

    async fn store(&self) -> Arc<PostgresStore> {
        Arc::new(PostgresStore::open(self.0.clone()).await.expect("the store opens"))
    }
}

impl Fixture for Database {
    type Store = PostgresStore;

    async fn open(&self) -> Arc<PostgresStore> {
        self.store().await
    }

    async fn reopen(&self, store: Arc<PostgresStore>) -> Arc<PostgresStore> {
        store.close().await;
        drop(store);
        self.store().await
    }
}

ploy_webhooks::conformance!(Database::new().await);

/// Where each deduplication key fills a generation.
mod generations {
    use super::Database;

    async fn tiny() -> Database {
        let mut database = Database::new().await;
        database.0.key_generation_bytes = 1;
        database
    }

    ploy_webhooks::conformance!(tiny().await);
}
