//! A store that is new and empty, with what it lies on.

use std::any::Any;
use std::sync::Arc;

use ploy_webhooks::store::{EndpointStore, EventStore};
use ploy_webhooks_engines::Postgres;
use ploy_webhooks_postgres::{PostgresSettings, PostgresStore};
use ploy_webhooks_sqlite::{SqliteSettings, SqliteStore};

use super::{Kind, SearchError};
use crate::folder;

/// Whether a search index is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Indexed {
    Yes,
    No,
}

/// A store.
pub(super) struct Opened {
    store: Store,
    /// The folder or the server that it lies on, gone when this is dropped.
    _ground: Box<dyn Any + Send + Sync>,
}

enum Store {
    Sqlite(Arc<SqliteStore>),
    Postgres(Arc<PostgresStore>),
}

impl Opened {
    pub(super) async fn open(kind: Kind, indexed: Indexed) -> Result<Self, SearchError> {
        let (store, ground): (_, Box<dyn Any + Send + Sync>) = match kind {
            Kind::Sqlite => {
                use ploy_webhooks_sqlite::SearchIndex;
                let folder = folder::beside_program()?;
                let mut settings = SqliteSettings::at(folder.path().join("bench.sqlite"));
                settings.search_index = match indexed {
                    Indexed::Yes => SearchIndex::Kept,
                    Indexed::No => SearchIndex::Absent,
                };
                let store = SqliteStore::open(settings).await?;
                (Store::Sqlite(Arc::new(store)), Box::new(folder))
            }
            Kind::Postgres => {
                use ploy_webhooks_postgres::SearchIndex;
                let server = Postgres::start();
                folder::on_disk(server.folder())?;
                let mut settings = PostgresSettings::from_url(server.url())?;
                settings.search_index = match indexed {
                    Indexed::Yes => SearchIndex::Kept,
                    Indexed::No => SearchIndex::Absent,
                };
                let store = PostgresStore::open(settings).await?;
                (Store::Postgres(Arc::new(store)), Box::new(server))
            }
        };
        Ok(Self { store, _ground: ground })
    }

    pub(super) fn events(&self) -> Arc<dyn EventStore> {
        match &self.store {
            Store::Sqlite(store) => store.clone(),
            Store::Postgres(store) => store.clone(),
        }
    }

    pub(super) fn endpoints(&self) -> &dyn EndpointStore {
        match &self.store {
            Store::Sqlite(store) => &**store,
            Store::Postgres(store) => &**store,
        }
    }

    pub(super) async fn close(&self) {
        match &self.store {
            Store::Sqlite(store) => store.close().await,
            Store::Postgres(store) => store.close().await,
        }
    }
}
