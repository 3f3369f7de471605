//! What the tests of this store share: settings with keys of their own, endpoints, events, and a
//! way to ask the server itself.

use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use ploy_webhooks::store::{
    Appended, Claim, Created, EndpointPatch, EndpointStore, EventStore, Lanes, Observation,
    Observed, RunQueue, StoreError, Updated,
};
use ploy_webhooks::{
    Action, Clock, Dedup, DedupKey, DestinationId, Endpoint, EndpointConfig, EventId, Fence,
    LeasedRun, NewEvent, NewRun, RunId, Status, SystemClock, Task, Trigger, WorkspaceId,
};
use ploy_webhooks_redis::{RedisSettings, RedisStore};

/// Longer than anything takes on a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Settings with keys of their own, and time-outs that only a dead server reaches.
pub(crate) fn settings(urls: impl IntoIterator<Item = impl Into<String>>) -> RedisSettings {
    let mut settings = RedisSettings::at_nodes(urls);
    settings.prefix = format!("test-{:016x}", fastrand::u64(..));
    settings.response_timeout = PATIENCE;
    settings.connection_timeout = PATIENCE;
    settings
}

pub(crate) async fn open(settings: &RedisSettings) -> RedisStore {
    RedisStore::open(settings.clone()).await.expect("the store opens")
}

pub(crate) fn connect(url: &str) -> redis::Connection {
    let client = redis::Client::open(url).expect("it is a URL");
    client.get_connection().expect("the server takes connections")
}

/// What the server says to a command.
pub(crate) fn ask<T: redis::FromRedisValue>(url: &str, words: &[&str]) -> T {
    let mut connection = connect(url);
    redis::cmd(words[0])
        .arg(&words[1..])
        .query(&mut connection)
        .expect("the server does as it is told")
}

/// Waits for something, but not for ever.
pub(crate) async fn until<T>(what: &str, it: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(PATIENCE, it).await;
    outcome.unwrap_or_else(|_| panic!("{what} never came"))
}

pub(crate) fn workspace() -> WorkspaceId {
    WorkspaceId::mint(SystemClock.now())
}

/// A new endpoint of that workspace, stored.
pub(crate) async fn endpoint_of(store: &RedisStore, workspace: WorkspaceId) -> Endpoint {
    let (endpoint, _) = Endpoint::mint(workspace, EndpointConfig::default(), SystemClock.now());
    let created = store.create(endpoint.clone()).await.expect("creating works");
    assert_eq!(created, Created::Created);
    endpoint
}

pub(crate) async fn set_status(
    store: &RedisStore,
    endpoint: &Endpoint,
    status: Status,
) -> Endpoint {
    let config = Some(EndpointConfig { status, ..endpoint.config.clone() });
    let patch = EndpointPatch { config, auth: None };
    let updated = store.update(&endpoint.workspace, &endpoint.id, endpoint.revision, patch).await;
    match updated.expect("changing works") {
        Updated::Updated(endpoint) => (*endpoint).clone(),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn event(endpoint: &Endpoint, payload: impl Into<Bytes>) -> NewEvent {
    let id = EventId::mint(SystemClock.now());
    NewEvent {
        fence: Some(Fence { endpoint: endpoint.id, checked_at: endpoint.revision }),
        ..NewEvent::published(id, endpoint.workspace, payload.into())
    }
}

pub(crate) fn keyed(event: NewEvent, key: u8) -> NewEvent {
    let key = DedupKey::from_bytes([key; 32]);
    NewEvent { dedup: Some(Dedup { key, window: Duration::from_secs(86_400) }), ..event }
}

pub(crate) fn run() -> NewRun {
    NewRun {
        id: RunId::mint(SystemClock.now()),
        trigger: Trigger::ploybook("page".parse().expect("it is a name")),
        delay: Duration::ZERO,
    }
}

/// A run that delivers there.
pub(crate) fn delivery(destination: DestinationId) -> NewRun {
    let action = Action::Destination(destination);
    let task = Task { action, subscription: None, draft: false };
    NewRun { trigger: Trigger::Task(task), ..run() }
}

pub(crate) fn destination() -> DestinationId {
    DestinationId::mint(SystemClock.now())
}

/// A request that the endpoint has refused so often.
pub(crate) fn refused(endpoint: &Endpoint, code: &str, count: u64) -> Observation {
    Observation {
        workspace: endpoint.workspace,
        endpoint: endpoint.id,
        what: Observed::Refusal(code.to_owned().into()),
        count,
        last_at: SystemClock.now(),
    }
}

/// Lanes with more room than anybody needs.
pub(crate) fn roomy() -> Lanes {
    Lanes::new(NonZeroU16::MAX)
}

/// Claims as many as that, whatever waits in which lane.
pub(crate) async fn claim(store: &RedisStore, max: u16, lease: Duration) -> Vec<LeasedRun> {
    claim_in(store, max, lease, &roomy()).await
}

/// Claims as many as that, where there is room.
pub(crate) async fn claim_in(
    store: &RedisStore,
    max: u16,
    lease: Duration,
    lanes: &Lanes,
) -> Vec<LeasedRun> {
    let worker = "node-1:4711".parse().expect("it is a name");
    let max = NonZeroU16::new(max).expect("a claim of some");
    let claim = Claim { worker: &worker, max, lease, lanes };
    store.claim(&claim).await.expect("claiming works")
}

/// Appends an event that is neither fenced nor a repeat.
pub(crate) async fn append(store: &RedisStore, event: NewEvent) -> Result<EventId, StoreError> {
    let id = event.id;
    match store.append(event).await? {
        Appended::Stored => Ok(id),
        other => panic!("the event should be stored and is {other:?}"),
    }
}
