//! The Postgres store beside an app's own INSERTs, and beside what Postgres can take at all.
//!
//! Each measurement has a schema of its own, which is dropped after it, and begins with a
//! checkpoint, so that none writes back what another left.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use ploy_webhooks::store::{Appended, Created, EndpointStore, EventStore};
use ploy_webhooks::{
    Clock, Endpoint, EndpointConfig, EventId, Fence, NewEvent, SystemClock, WorkspaceId,
};
use ploy_webhooks_engines::Postgres;
use ploy_webhooks_postgres::{PostgresSettings, PostgresStore, SearchIndex};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Executor};

use super::callers::{self, Caller};
use super::report::Figures;
use super::{EnginesError, Limit, Load, Subject, Way};
use crate::cpu::{self, Family};
use crate::folder;
use crate::payload::{Pool, Shape};

mod batches;
mod inserts;

pub use self::inserts::Inserts;

use self::batches::Batches;

/// A server with what is measured on it.
#[derive(Debug)]
pub(crate) struct Bench {
    server: Postgres,
    family: Family,
    version: String,
    source: Arc<Source>,
    schemas: AtomicU64,
}

/// Events without end.
#[derive(Debug)]
pub(crate) struct Source {
    pool: Pool,
    next: AtomicU64,
}

impl Source {
    pub(crate) fn new(payload_bytes: usize) -> Self {
        Self { pool: Pool::new(Shape::Flat, payload_bytes), next: AtomicU64::new(0) }
    }

    fn payload(&self) -> Bytes {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Bytes::from(self.pool.numbered(number).into_bytes())
    }

    /// So many payloads, none of them copied.
    fn payloads(&self, count: usize) -> Vec<&[u8]> {
        let number = self.next.fetch_add(count as u64, Ordering::Relaxed);
        self.pool.from(number).take(count).collect()
    }
}

impl Bench {
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

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// The ways that the fastest is looked for among.
    pub(crate) fn limits() -> Vec<Limit> {
        let ways = [Way::Unnest, Way::Copy];
        let limit = |way, batch| Limit { way, batch, connections: CONNECTIONS };
        ways.iter()
            .flat_map(|way| [128, 256, 512, 1024, 2048].map(|batch| limit(*way, batch)))
            .collect()
    }

    /// As many events under way as there are callers, over no more connections than the limit's.
    pub(crate) fn limit_at(fastest: Limit, callers: usize) -> Limit {
        let connections = fastest.connections.min(callers);
        let batch = (callers / connections).min(fastest.batch);
        // At these sizes COPY loses by its second round trip.
        Limit { way: Way::Unnest, batch, connections }
    }

    /// Measures one subject once.
    pub(crate) async fn measure(
        &self,
        subject: Subject,
        load: Load,
    ) -> Result<Figures, EnginesError> {
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

    async fn inserts(&self, schema: &str, load: Load) -> Result<Figures, EnginesError> {
        let inserts = Inserts::open(&self.options()?, schema).await?;
        let caller = InsertCaller { inserts: Arc::new(inserts), source: self.source.clone() };
        let (inserts, figures) = self.run(vec![caller; load.callers], load).await?;
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
        let (_, figures) = self.run(writers, load).await?;
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
        let (_, mut figures) = self.run(vec![caller; load.callers], load).await?;
        let begin = Instant::now();
        store.close().await;
        figures.close_ms = Some(begin.elapsed().as_secs_f64() * 1e3);
        Ok(figures)
    }

    async fn run<C: Caller>(
        &self,
        callers: Vec<C>,
        load: Load,
    ) -> Result<(Vec<C>, Figures), EnginesError> {
        let (callers, _) = callers::run(callers, load.warm_up).await?;
        let (client, server) = (cpu::used(), self.family.used()?);
        let (callers, measured) = callers::run(callers, load.measured).await?;
        let client = cpu::used() - client;
        let server = self.family.used()?.saturating_sub(server);
        Ok((callers, Figures::new(&measured, client, server)))
    }

    fn options(&self) -> Result<PgConnectOptions, EnginesError> {
        Ok(self.server.url().parse()?)
    }
}

/// More connections than two have been no faster, for as many cores.
const CONNECTIONS: usize = 2;

/// Makes an endpoint, and says what events for it are checked against.
pub(crate) async fn mint(store: &impl EndpointStore) -> Result<Fence, EnginesError> {
    let config = EndpointConfig::default();
    let (endpoint, _) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
    let fence = Fence { endpoint: endpoint.id, checked_at: endpoint.revision };
    match store.create(endpoint).await? {
        Created::Created => Ok(fence),
        Created::Taken => Err(EnginesError::NotStored),
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

/// A request to the store, after its checks.
#[derive(Debug)]
pub(crate) struct StoreCaller<S> {
    pub(crate) store: Arc<S>,
    pub(crate) fence: Fence,
    pub(crate) source: Arc<Source>,
}

impl<S> Clone for StoreCaller<S> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), fence: self.fence, source: self.source.clone() }
    }
}

impl<S: EventStore> Caller for StoreCaller<S> {
    async fn step(&mut self) -> Result<u64, EnginesError> {
        let id = EventId::mint(SystemClock.now());
        let event = NewEvent {
            fence: Some(self.fence),
            ..NewEvent::published(id, WorkspaceId::DEFAULT, self.source.payload())
        };
        match self.store.append(event).await? {
            Appended::Stored => Ok(1),
            _ => Err(EnginesError::NotStored),
        }
    }
}
