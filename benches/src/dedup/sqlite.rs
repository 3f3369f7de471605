//! SQLite: a file in a folder of its own.

use std::sync::Arc;
use std::sync::Mutex;

use ploy_webhooks_sqlite::{SqliteSettings, SqliteStore};
use tempfile::TempDir;

use super::{DedupError, Ground, Store};
use crate::folder;

/// The file. Keys come into it through the store, so what lies there is what the store makes.
#[derive(Debug)]
pub(super) struct SqliteGround {
    folder: TempDir,
    open: Mutex<Option<Arc<SqliteStore>>>,
}

impl SqliteGround {
    async fn end_store(&self) {
        let open = self.open.lock().expect("no holder of the lock panics").take();
        if let Some(store) = open {
            store.close().await;
        }
    }
}

impl Ground for SqliteGround {
    async fn make() -> Result<Self, DedupError> {
        Ok(Self { folder: folder::beside_program()?, open: Mutex::default() })
    }

    async fn store(&self) -> Result<Arc<dyn Store>, DedupError> {
        self.end_store().await;
        let settings = SqliteSettings::at(self.folder.path().join("bench.db"));
        let store = Arc::new(SqliteStore::open(settings).await?);
        *self.open.lock().expect("no holder of the lock panics") = Some(store.clone());
        Ok(store)
    }

    async fn describe(&self) -> Result<String, DedupError> {
        let bytes = self.folder.path().join("bench.db").metadata()?.len();
        Ok(format!("a file of {} MiB", bytes >> 20))
    }

    async fn close(self) {
        self.end_store().await;
    }
}
