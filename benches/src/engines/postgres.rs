//! The Postgres store beside an app's own INSERTs, and beside what Postgres can take at all.
//!
//! Each measurement has a schema of its own, which is dropped after it, and begins with a
//! checkpoint, so that none writes back what another left.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ploy_webhooks_engines::Postgres;
use ploy_webhooks_postgres::{PostgresSettings, PostgresStore, SearchIndex};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Executor};

use super::callers::{self, Caller};
use super::report::Figures;
use super::source::{Source, StoreCaller, mint};
use super::{Bench, EnginesError, Limit, Load, STORE, STORE_WITHOUT_INDEX, Subject, Way};
use crate::cpu::Family;
use crate::folder;

mod batches;
mod inserts;

pub use self::inserts::Inserts;

use self::batches::Batches;

/// A server with what is measured on it.
#[derive(Debug)]
pub(crate) struct PostgresBench {
    server: Postgres,
    family: Family,
    version: String,
    source: Arc<Source>,
    schemas: AtomicU64,
}

/// More connections than two have been no faster, for as many cores.
const CONNECTIONS: usize = 2;

impl PostgresBench {
    /// Starts a server with Postgres's own settings.
    pub(crate) async fn start(payload_bytes: usize) -> Result<Self, EnginesError> {
        let server = Postgres::start();
        folder::on_disk(server.folder())?;
        let mut connection = PgConnection::connect(server.url()).await?;
        let (backend, version): (i32, String) =
            sqlx::query_as("SELECT pg_backend_pid(), current_setting('server_version')")
                .fetch_one(&mut connection)
                .await?;
        let family = Family::of_parent(backend.unsigned_abs())?;
        connection.close().await?;
        let source = Arc::new(Source::new(payload_bytes));
        Ok(Self { server, family, version, source, schemas: AtomicU64::new(0) })
    }

    async fn inserts(&self, schema: &str, load: Load) -> Result<Figures, EnginesError> {
        let inserts = Inserts::open(&self.options()?, schema).await?;
        let caller = InsertCaller { inserts: Arc::new(inserts), source: self.source.clone() };
        let (inserts, figures) =
            callers::measure(vec![caller; load.callers], load, self.family).await?;
        if let Some(caller) = inserts.first() {
            caller.inserts.close().await;
        }
        Ok(figures)
    }

    async fn batches(
        &self,
        schema: &str,
        limit: Limit,
        load: Load,
    ) -> Result<Figures, EnginesError> {
        let options = self.options()?;
        batches::make_table(&options, schema).await?;
        let mut writers = Vec::new();
        for _ in 0..limit.connections {
            let source = self.source.clone();
            writers.push(Batches::open(&options, schema, limit, source).await?);
        }
        let (_, figures) = callers::measure(writers, load, self.family).await?;
        Ok(figures)
    }

    async fn store(
        &self,
        schema: &str,
        search_index: SearchIndex,
        load: Load,
    ) -> Result<Figures, EnginesError> {
        let mut settings = PostgresSettings::from_url(self.server.url())?;
        settings.schema = schema.to_owned();
        settings.search_index = search_index;
        let store = Arc::new(PostgresStore::open(settings).await?);
        let fence = mint(&*store).await?;
        let caller = StoreCaller { store: store.clone(), fence, source: self.source.clone() };
        let (_, mut figures) =
            callers::measure(vec![caller; load.callers], load, self.family).await?;
        let begin = Instant::now();
        store.close().await;
        figures.close_ms = Some(begin.elapsed().as_secs_f64() * 1e3);
        Ok(figures)
    }

    fn options(&self) -> Result<PgConnectOptions, EnginesError> {
        Ok(self.server.url().parse()?)
    }
}

impl Bench for PostgresBench {
    fn version(&self) -> String {
        format!("Postgres {}", self.version)
    }

    fn limits(&self) -> Vec<Limit> {
        let limit = |way, batch| Limit { way, batch, connections: CONNECTIONS };
        [Way::Batch, Way::Copy]
            .into_iter()
            .flat_map(|way| [128, 256, 512, 1024, 2048].map(|batch| limit(way, batch)))
            .collect()
    }

    fn subjects(&self, fastest: Limit, callers: usize) -> Vec<(&'static str, Subject)> {
        // At these sizes COPY loses by its second round trip.
        let limit = Limit { way: Way::Batch, ..fastest.for_callers(callers) };
        vec![
            ("insert", Subject::Single),
            ("batches", Subject::Limit(limit)),
            (STORE, Subject::Store),
            (STORE_WITHOUT_INDEX, Subject::StoreWithoutIndex),
        ]
    }

    async fn measure(&self, subject: Subject, load: Load) -> Result<Figures, EnginesError> {
        let schema = format!("bench_{}", self.schemas.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect(self.server.url()).await?;
        connection.execute("CHECKPOINT").await?;
        let figures = match subject {
            Subject::Single => self.inserts(&schema, load).await?,
            Subject::Limit(limit) => self.batches(&schema, limit, load).await?,
            Subject::Store => self.store(&schema, SearchIndex::Kept, load).await?,
            Subject::StoreWithoutIndex => self.store(&schema, SearchIndex::Absent, load).await?,
        };
        let drop = AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE"));
        connection.execute(drop).await?;
        connection.close().await?;
        Ok(figures)
    }
}

/// A request of an app that inserts by hand.
#[derive(Clone, Debug)]
struct InsertCaller {
    inserts: Arc<Inserts>,
    source: Arc<Source>,
}

impl Caller for InsertCaller {
    async fn step(&mut self) -> Result<u64, EnginesError> {
        self.inserts.insert(&self.source.payload()).await?;
        Ok(1)
    }
}
