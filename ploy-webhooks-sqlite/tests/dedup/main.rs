//! Deduplication keys, wherever they lie: among the newest, in a segment, in one made of others;
//! across restarts, crashes and the end of their windows.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ploy_webhooks::store::{Appended, Created, EndpointStore, EventStore, StoreErrorKind};
use ploy_webhooks::{
    Clock, Dedup, DedupKey, Endpoint, EndpointConfig, EventId, Fence, ManualClock, NewEvent,
    SystemClock, WorkspaceId,
};
use ploy_webhooks_sqlite::{Durability, SqliteSettings, SqliteStore};
use rusqlite::Connection;
use tempfile::TempDir;

mod carry;
mod crash;
mod layers;
mod model;

const DAY: Duration = Duration::from_secs(86_400);

/// So few keys make a segment here.
const NEWEST: usize = 8;

/// A store in a folder, with a clock that a test turns.
struct Ground {
    folder: TempDir,
    clock: Arc<ManualClock>,
}

impl Ground {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder is made");
        Self { folder, clock: Arc::new(ManualClock::default()) }
    }

    async fn open(&self) -> SqliteStore {
        let settings = settings(self.folder.path());
        SqliteStore::open_with_clock(settings, self.clock.clone()).await.expect("the store opens")
    }

    async fn reopen(&self, store: SqliteStore) -> SqliteStore {
        store.close().await;
        self.open().await
    }

    fn connection(&self) -> Connection {
        let connection = Connection::open(self.folder.path().join("ploy.db")).expect("it is there");
        connection.busy_timeout(Duration::from_secs(10)).expect("a time-out is set");
        connection
    }

    /// How many there are of what a query counts.
    fn count(&self, query: &str) -> i64 {
        self.connection().query_row(query, [], |row| row.get(0)).expect("the query is right")
    }

    /// Waits until a query counts so many, which the keeper sees to.
    async fn until(&self, query: &str, is_enough: impl Fn(i64) -> bool) {
        let connection = self.connection();
        let mut select = connection.prepare(query).expect("the query is right");
        let reached = async {
            while !is_enough(select.query_row([], |row| row.get(0)).expect("it can be read")) {
                tokio::task::yield_now().await;
            }
        };
        let at_most = Duration::from_secs(30);
        if tokio::time::timeout(at_most, reached).await.is_err() {
            panic!("{query}: it is {} and stays so", self.count(query));
        }
    }
}

fn settings(folder: &Path) -> SqliteSettings {
    let mut settings = SqliteSettings::at(folder.join("ploy.db"));
    settings.durability = Durability::Process;
    settings.dedup_newest = NonZeroUsize::new(NEWEST).expect("it is not zero");
    settings
}

/// An event with that key, published by the app.
fn keyed(key: u32, window: Duration) -> NewEvent {
    let id = EventId::mint(SystemClock.now());
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&key.to_be_bytes());
    let dedup = Some(Dedup { key: DedupKey::from_bytes(bytes), window });
    let payload = Bytes::from_static(b"{}");
    NewEvent { dedup, ..NewEvent::published(id, WorkspaceId::DEFAULT, payload) }
}

/// The same, taken by an endpoint.
fn taken_by(fence: Fence, event: NewEvent) -> NewEvent {
    NewEvent { fence: Some(fence), ..event }
}

async fn endpoint(store: &SqliteStore) -> Fence {
    let config = EndpointConfig::default();
    let (endpoint, _) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
    let fence = Fence { endpoint: endpoint.id, checked_at: endpoint.revision };
    assert_eq!(store.create(endpoint).await.expect("the store works"), Created::Created);
    fence
}

/// Its id where it was stored, and that of the first where it was not. With so few keys in memory
/// the store may have to be asked again.
async fn append(store: &SqliteStore, event: impl Fn() -> NewEvent) -> Result<EventId, EventId> {
    loop {
        let event = event();
        let id = event.id;
        match store.append(event).await {
            Ok(Appended::Stored) => return Ok(id),
            Ok(Appended::Duplicate(first)) => return Err(first),
            Err(error) if error.kind() == StoreErrorKind::Busy => tokio::task::yield_now().await,
            outcome => panic!("an event under the current revision is {outcome:?}"),
        }
    }
}
