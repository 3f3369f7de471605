//! What the tests of this store share: settings with keys of their own, endpoints, events, and a
//! way to ask the server itself.

use std::time::Duration;

use bytes::Bytes;
use ploy_webhooks::store::{
    Appended, Created, EndpointPatch, EndpointStore, EventStore, StoreError, StoreErrorKind,
    Updated,
};
use ploy_webhooks::{
    Clock, Dedup, DedupKey, Endpoint, EndpointConfig, EventId, Fence, NewEvent, NewRun,
    RetryPolicy, RunId, Status, SystemClock, Trigger, WorkspaceId,
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

/// What the server says to a command.
pub(crate) fn ask<T: redis::FromRedisValue>(url: &str, words: &[&str]) -> T {
    let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
    redis::cmd(words[0]).arg(&words[1..]).query(&mut connection).unwrap()
}

/// A new endpoint of a workspace of its own, stored.
pub(crate) async fn endpoint(store: &RedisStore) -> Endpoint {
    let workspace = WorkspaceId::mint(SystemClock.now());
    let (endpoint, _) = Endpoint::mint(workspace, EndpointConfig::default(), SystemClock.now());
    assert_eq!(store.create(endpoint.clone()).await.unwrap(), Created::Created);
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
    match updated.unwrap() {
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
        trigger: Trigger { ploybook: "page".to_owned() },
        retry: RetryPolicy::default(),
        delay: Duration::ZERO,
    }
}

/// Appends an event that is neither fenced nor a repeat.
pub(crate) async fn append(store: &RedisStore, event: NewEvent) -> Result<EventId, StoreError> {
    let id = event.id;
    match store.append(event).await? {
        Appended::Stored => Ok(id),
        other => panic!("the event should be stored and is {other:?}"),
    }
}

pub(crate) async fn is_kept(store: &RedisStore, endpoint: &Endpoint, id: EventId) -> bool {
    store.event(&endpoint.workspace, &id).await.expect("reading works").is_some()
}

pub(crate) fn kind<T>(outcome: Result<T, StoreError>) -> Option<StoreErrorKind> {
    outcome.err().map(|error| error.kind())
}
