//! What the tests across nodes and under faults are played out with.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ploy_webhooks::store::{
    Appended, Claim, Created, EndpointPatch, EndpointStore, EventQuery, EventStore, Lanes, Order,
    PageSize, RunQueue, StoreError, Updated,
};
use ploy_webhooks::{
    Clock, Dedup, DedupKey, Endpoint, EndpointConfig, EventId, Fence, LeasedRun, NewEvent, NewRun,
    RunId, Status, SystemClock, Trigger, WorkerName, WorkspaceId,
};
use ploy_webhooks_engines::Postgres;
use ploy_webhooks_postgres::{PostgresSettings, PostgresStore};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::{Semaphore, SemaphorePermit};

pub(crate) const WORKSPACE: WorkspaceId = WorkspaceId::DEFAULT;
/// A window or a lease that no test outlives.
pub(crate) const LONG: Duration = Duration::from_secs(86_400);
/// Far longer than anything takes that is waited for, on a machine that compiles beside.
const A_WHILE: Duration = Duration::from_secs(60);

/// So many tests use the shared server at once: its connections are a hundred.
static TURNS: Semaphore = Semaphore::const_new(3);

/// A database of its own on the server that all tests share.
pub(crate) struct Database {
    pub(crate) url: String,
    _turn: SemaphorePermit<'static>,
}

impl Database {
    pub(crate) async fn new() -> Self {
        let turn = TURNS.acquire().await.expect("it is never closed");
        let url = tokio::task::spawn_blocking(|| Postgres::shared().database());
        Self { url: url.await.expect("a database is made"), _turn: turn }
    }

    pub(crate) fn settings(&self) -> PostgresSettings {
        settings(&self.url)
    }

    /// A node: a store that is opened by itself.
    pub(crate) async fn node(&self) -> Arc<PostgresStore> {
        open(self.settings()).await
    }

    pub(crate) async fn sql(&self) -> PgConnection {
        connect(&self.url).await
    }
}

/// Few connections, since the server is shared; and time enough beside a compiler.
pub(crate) fn settings(url: &str) -> PostgresSettings {
    let mut settings = PostgresSettings::from_url(url).expect("it is a URL");
    settings.readers_max = 4;
    settings.connect_timeout = Duration::from_secs(10);
    settings.append_timeout = Duration::from_secs(20);
    settings
}

pub(crate) async fn open(settings: PostgresSettings) -> Arc<PostgresStore> {
    let store = soon("a store opens", PostgresStore::open(settings)).await;
    Arc::new(store.expect("the store opens"))
}

pub(crate) async fn connect(url: &str) -> PgConnection {
    soon("a connection", PgConnection::connect(url)).await.expect("the server takes connections")
}

/// What comes of it, which takes no more than a while.
pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(A_WHILE, work).await {
        Ok(done) => done,
        Err(_) => panic!("waited for in vain, {A_WHILE:?} long: {what}"),
    }
}

/// Returns when that holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    soon(what, async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

pub(crate) async fn run(connection: &mut PgConnection, statements: &str) {
    let ran = sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(connection);
    soon(statements, ran).await.expect("the statements are right");
}

/// A number that is counted in the tables.
pub(crate) async fn count(connection: &mut PgConnection, query: &'static str) -> i64 {
    soon(query, sqlx::query_scalar(query).fetch_one(connection)).await.expect("a number is counted")
}

pub(crate) fn endpoint() -> Endpoint {
    Endpoint::mint(WORKSPACE, EndpointConfig::default(), SystemClock.now()).0
}

/// A new active endpoint.
pub(crate) async fn make_endpoint(store: &PostgresStore) -> Endpoint {
    let endpoint = endpoint();
    let created = soon("an endpoint is made", store.create(endpoint.clone())).await;
    assert_eq!(created.expect("the store works"), Created::Created);
    endpoint
}

/// Pauses an active endpoint, or the other way round.
pub(crate) async fn toggle(
    store: &PostgresStore,
    endpoint: &Endpoint,
) -> Result<Endpoint, StoreError> {
    let status = match endpoint.config.status {
        Status::Active => Status::Paused,
        _ => Status::Active,
    };
    let config = EndpointConfig { status, ..endpoint.config.clone() };
    let patch = EndpointPatch { config: Some(config), auth: None };
    let Endpoint { workspace, id, revision, .. } = endpoint;
    let updated = store.update(workspace, id, *revision, patch);
    match soon("an endpoint is changed", updated).await? {
        Updated::Updated(changed) => Ok((*changed).clone()),
        other => panic!("the endpoint should have been changed, and the store says {other:?}"),
    }
}

/// An event that the app publishes itself.
pub(crate) fn published(payload: impl Into<Bytes>) -> NewEvent {
    NewEvent::published(EventId::mint(SystemClock.now()), WORKSPACE, payload.into())
}

/// An event that was checked against the endpoint as it is shown.
pub(crate) fn event(endpoint: &Endpoint, payload: impl Into<Bytes>) -> NewEvent {
    let fence = Fence { endpoint: endpoint.id, checked_at: endpoint.revision };
    NewEvent { fence: Some(fence), ..published(payload) }
}

/// The same event, a repeat of any other with that key.
pub(crate) fn keyed(event: NewEvent, key: u64) -> NewEvent {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&key.to_be_bytes());
    NewEvent { dedup: Some(Dedup { key: DedupKey::from_bytes(bytes), window: LONG }), ..event }
}

/// A new run.
pub(crate) fn new_run() -> NewRun {
    NewRun {
        id: RunId::mint(SystemClock.now()),
        trigger: Trigger::ploybook("enrich".parse().expect("it is a name")),
        delay: Duration::ZERO,
    }
}

/// Lanes with room for whatever there is.
pub(crate) fn wide() -> Lanes {
    Lanes::new(NonZeroU16::MAX)
}

/// Claims so many runs at most, as far as there is room.
pub(crate) async fn claim_in(
    store: &PostgresStore,
    lanes: &Lanes,
    max: u16,
    lease: Duration,
) -> Vec<LeasedRun> {
    let worker: WorkerName = "test".parse().expect("it is a name");
    let max = NonZeroU16::new(max).expect("at least one is claimed");
    let claim = Claim { worker: &worker, max, lease, lanes };
    soon("a claim", store.claim(&claim)).await.expect("the claim works")
}

/// Claims so many runs at most, of any lanes.
pub(crate) async fn claim(store: &PostgresStore, max: u16, lease: Duration) -> Vec<LeasedRun> {
    claim_in(store, &wide(), max, lease).await
}

/// What the store says to an event, in bounded time.
pub(crate) async fn append(store: &PostgresStore, event: NewEvent) -> Result<Appended, StoreError> {
    soon("an event is answered", store.append(event)).await
}

/// Appends an event that must be stored, and names it.
pub(crate) async fn store_one(store: &PostgresStore, event: NewEvent) -> EventId {
    let id = event.id;
    match append(store, event).await {
        Ok(Appended::Stored) => id,
        other => panic!("the event should have been stored, and the store says {other:?}"),
    }
}

/// All events of the workspace, the oldest first, in the largest pages.
pub(crate) fn everything() -> EventQuery {
    let mut query = EventQuery::all(WORKSPACE);
    query.order = Order::Ascending;
    query.limit = PageSize::MAX;
    query
}

/// The ids of everything that an ascending query finds, which must ascend: so each is found once.
pub(crate) async fn find(store: &PostgresStore, query: EventQuery) -> Vec<EventId> {
    let mut found = Vec::new();
    let mut next = Some(query);
    while let Some(query) = next {
        let page = soon("a search", store.search(&query)).await.expect("the search works");
        found.extend(page.items.iter().map(|summary| summary.id));
        next = page.next;
    }
    assert!(found.is_sorted_by(|a, b| a < b), "an event is found twice, or out of order");
    found
}

/// The events that the tables hold, whoever may see them, with their payloads.
pub(crate) async fn rows(connection: &mut PgConnection) -> Vec<(EventId, Bytes)> {
    let rows: Vec<(Vec<u8>, Vec<u8>)> =
        sqlx::query_as("SELECT uuid_send(id), payload FROM ploy.events ORDER BY id")
            .fetch_all(connection)
            .await
            .expect("the events can be read");
    let event = |(id, payload): (Vec<u8>, Vec<u8>)| {
        (EventId::from_bytes(id.try_into().expect("sixteen bytes")), payload.into())
    };
    rows.into_iter().map(event).collect()
}
