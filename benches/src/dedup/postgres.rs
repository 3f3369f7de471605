//! Postgres: a throwaway server.

use std::sync::{Arc, Mutex};

use ploy_webhooks_engines::Postgres;
use ploy_webhooks_postgres::{PostgresSettings, PostgresStore};

use super::{DedupError, Ground, Store};
use crate::folder;

/// The server. Keys come into it through the store, so what lies there is what the store makes.
#[derive(Debug)]
pub(super) struct PostgresGround {
    server: Postgres,
    open: Mutex<Option<Arc<PostgresStore>>>,
}

impl PostgresGround {
    async fn end_store(&self) {
        let open = self.open.lock().expect("no holder of the lock panics").take();
        if let Some(store) = open {
            store.close().await;
        }
    }
}

impl Ground for PostgresGround {
    async fn make() -> Result<Self, DedupError> {
        let server = Postgres::start();
        folder::on_disk(server.folder())?;
        Ok(Self { server, open: Mutex::default() })
    }

    async fn store(&self) -> Result<Arc<dyn Store>, DedupError> {
        self.end_store().await;
        let settings = PostgresSettings::from_url(self.server.url())?;
        let store = Arc::new(PostgresStore::open(settings).await?);
        *self.open.lock().expect("no holder of the lock panics") = Some(store.clone());
        Ok(store)
    }

    async fn describe(&self) -> Result<String, DedupError> {
        Ok("a server of its own".to_owned())
    }

    async fn close(self) {
        self.end_store().await;
    }
}
