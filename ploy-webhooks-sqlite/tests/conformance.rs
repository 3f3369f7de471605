//! SQLite keeps every promise.

use std::sync::Arc;

use ploy_webhooks::conformance::Fixture;
use ploy_webhooks_sqlite::{SqliteSettings, SqliteStore};
use tempfile::TempDir;

/// A file in a folder of its own.
struct Sqlite(TempDir);

impl Sqlite {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder is made"))
    }

    async fn store(&self) -> Arc<SqliteStore> {
        let settings = SqliteSettings::at(self.0.path().join("ploy.db"));
        Arc::new(SqliteStore::open(settings).await.expect("the store opens"))
    }
}

impl Fixture for Sqlite {
    type Store = SqliteStore;

    async fn open(&self) -> Arc<SqliteStore> {
        self.store().await
    }

    async fn reopen(&self, store: Arc<SqliteStore>) -> Arc<SqliteStore> {
        store.close().await;
        drop(store);
        self.store().await
    }
}

ploy_webhooks::conformance!(Sqlite::new());
