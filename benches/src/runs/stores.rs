//! The stores, each on a server or a file of its own.

use std::sync::Arc;

use ploy_webhooks::SystemClock;
use ploy_webhooks::store::MemoryStore;
use ploy_webhooks_engines::{Postgres, Redis};
use ploy_webhooks_postgres::{PostgresSettings, PostgresStore};
use ploy_webhooks_redis::{RedisSettings, RedisStore};
use ploy_webhooks_sqlite::{SqliteSettings, SqliteStore};
use tempfile::TempDir;

use super::{Kind, RunsError, Store};
use crate::folder;

/// More than is stored in memory in the time of a measurement.
const MEMORY_BYTES_MAX: u64 = 16 << 30;

/// A store that holds nothing, and what it stands on.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Store>,
    ground: Ground,
}

enum Ground {
    Memory,
    Sqlite(Arc<SqliteStore>, #[expect(dead_code, reason = "it is deleted when dropped")] TempDir),
    Postgres(Arc<PostgresStore>, Postgres),
    Redis(Arc<RedisStore>, Redis),
}

impl Opened {
    pub(crate) async fn open(kind: Kind) -> Result<Self, RunsError> {
        Ok(match kind {
            Kind::Memory => {
                let store = MemoryStore::with_parts(MEMORY_BYTES_MAX, Arc::new(SystemClock));
                Self { store: Arc::new(store), ground: Ground::Memory }
            }
            Kind::Sqlite => {
                let folder = folder::beside_program()?;
                let settings = SqliteSettings::at(folder.path().join("bench.db"));
                let store = Arc::new(SqliteStore::open(settings).await?);
                Self { store: store.clone(), ground: Ground::Sqlite(store, folder) }
            }
            Kind::Postgres => {
                let server = Postgres::start();
                folder::on_disk(server.folder())?;
                let store = open_postgres(&server).await?;
                Self { store: store.clone(), ground: Ground::Postgres(store, server) }
            }
            Kind::Redis => {
                let server = Redis::start();
                folder::on_disk(server.folder())?;
                let store = open_redis(&server).await?;
                Self { store: store.clone(), ground: Ground::Redis(store, server) }
            }
        })
    }

    /// Another node on the same store, where there may be several.
    pub(crate) async fn another_node(&self) -> Result<Option<Arc<dyn Store>>, RunsError> {
        Ok(match &self.ground {
            Ground::Memory | Ground::Sqlite(..) => None,
            Ground::Postgres(_, server) => Some(open_postgres(server).await?),
            Ground::Redis(_, server) => Some(open_redis(server).await?),
        })
    }

    pub(crate) async fn close(self) {
        match self.ground {
            Ground::Memory => {}
            Ground::Sqlite(store, _) => store.close().await,
            Ground::Postgres(store, _) => store.close().await,
            Ground::Redis(store, _) => store.close().await,
        }
    }
}

async fn open_postgres(server: &Postgres) -> Result<Arc<PostgresStore>, RunsError> {
    let settings = PostgresSettings::from_url(server.url())?;
    Ok(Arc::new(PostgresStore::open(settings).await?))
}

async fn open_redis(server: &Redis) -> Result<Arc<RedisStore>, RunsError> {
    let settings = RedisSettings::from_url(server.url())?;
    Ok(Arc::new(RedisStore::open(settings).await?))
}
