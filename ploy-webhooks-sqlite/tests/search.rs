//! Search over a history that has segments, blocks in memory and a tail, against what is known
//! to be in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ploy_webhooks::store::{
    Appended, Created, EndpointStore, EventQuery, EventStore, Needle, Order, PageSize,
};
use ploy_webhooks::{
    Clock, Endpoint, EndpointConfig, EndpointId, EventId, Fence, NewEvent, Revision, SystemClock,
    WorkspaceId,
};
use ploy_webhooks_sqlite::{Durability, SqliteSettings, SqliteStore};
use tempfile::TempDir;

/// Enough for two segments, closed blocks and an open one.
const EVENTS: usize = 18_500;
const APPENDERS: usize = 32;

struct History {
    folder: TempDir,
    store: Arc<SqliteStore>,
    busy: EndpointId,
    sparse: EndpointId,
    payloads: BTreeMap<EventId, String>,
}

fn settings(folder: &TempDir) -> SqliteSettings {
    let mut settings = SqliteSettings::at(folder.path().join("ploy.db"));
    settings.durability = Durability::Process;
    settings
}

/// One payload in a thousand goes to the sparse endpoint. Some of the words are in every
/// payload, some in few, and one in each alone.
fn payload(number: usize) -> String {
    let rare = if number.is_multiple_of(3_001) { "Zebra@Müller.example" } else { "horse@herd" };
    let filler = "lorem ipsum dolor sit amet consectetur ".repeat(25);
    format!(r#"{{"number":"n{number:07}","who":"{rare}","text":"{filler}"}}"#)
}

async fn endpoint(store: &SqliteStore) -> EndpointId {
    let config = EndpointConfig::default();
    let (endpoint, _) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
    let id = endpoint.id;
    let created = store.create(endpoint).await.expect("the store works");
    assert_eq!(created, Created::Created);
    id
}

/// A history whose commits are not in the order of their ids: each appender mints a few ids
/// before it appends the first of them.
async fn history() -> History {
    let folder = TempDir::new().expect("the store works");
    let store = Arc::new(SqliteStore::open(settings(&folder)).await.expect("the store works"));
    let (busy, sparse) = (endpoint(&store).await, endpoint(&store).await);
    let appenders = (0..APPENDERS).map(|appender| {
        let store = store.clone();
        tokio::spawn(async move {
            let numbers: Vec<_> = (appender..EVENTS).step_by(APPENDERS).collect();
            let mut kept = Vec::new();
            for numbers in numbers.chunks(8) {
                let events = numbers.iter().map(|&number| {
                    let endpoint = if number.is_multiple_of(1_000) { sparse } else { busy };
                    let id = EventId::mint(SystemClock.now());
                    let payload = Bytes::from(payload(number));
                    let mut event = NewEvent::published(id, WorkspaceId::DEFAULT, payload);
                    event.fence = Some(Fence { endpoint, checked_at: Revision::FIRST });
                    event
                });
                for event in events.collect::<Vec<_>>().into_iter().rev() {
                    kept.push((
                        event.id,
                        String::from_utf8(event.payload.to_vec()).expect("the store works"),
                    ));
                    let appended = store.append(event).await.expect("the store works");
                    assert!(matches!(appended, Appended::Stored));
                }
            }
            kept
        })
    });
    let mut payloads = BTreeMap::new();
    for appender in appenders.collect::<Vec<_>>() {
        payloads.extend(appender.await.expect("the store works"));
    }
    History { folder, store, busy, sparse, payloads }
}

/// All that a query finds, page by page.
async fn all(store: &SqliteStore, query: EventQuery) -> Vec<EventId> {
    let mut found = Vec::new();
    let mut next = Some(query);
    while let Some(query) = next {
        let page = store.search(&query).await.expect("the store works");
        found.extend(page.items.iter().map(|item| item.id));
        next = page.next;
    }
    found
}

fn query() -> EventQuery {
    let mut query = EventQuery::all(WorkspaceId::DEFAULT);
    query.limit = PageSize::MAX;
    query
}

fn containing(needle: &str) -> EventQuery {
    let mut query = query();
    query.contains = Some(Needle::new(needle).expect("the store works"));
    query
}

fn descending(ids: impl DoubleEndedIterator<Item = EventId>) -> Vec<EventId> {
    ids.rev().collect()
}

impl History {
    fn ids_where(&self, holds: impl Fn(&str) -> bool) -> Vec<EventId> {
        let holding = self.payloads.iter().filter(|(_, payload)| holds(payload));
        descending(holding.map(|(id, _)| *id))
    }

    async fn check(&self) {
        let store = &self.store;
        assert_eq!(all(store, query()).await, self.ids_where(|_| true));
        let mut ascending = query();
        ascending.order = Order::Ascending;
        assert_eq!(all(store, ascending).await, self.payloads.keys().copied().collect::<Vec<_>>());
        for needle in ["zebra@mülLER", "n0000", "n0009999", "n0018499", "absent-word", "m0"] {
            let folded = needle.to_lowercase();
            let expected = self.ids_where(|payload| payload.to_lowercase().contains(&folded));
            assert_eq!(all(store, containing(needle)).await, expected, "{needle}");
        }
        for id in self.payloads.keys().rev().step_by(997) {
            let event = store
                .event(&WorkspaceId::DEFAULT, id)
                .await
                .expect("the store works")
                .expect("the store works");
            assert_eq!(event.payload, self.payloads[id].as_bytes());
        }
        let mut of_sparse = query();
        of_sparse.endpoint = Some(self.sparse);
        assert_eq!(all(store, of_sparse).await.len(), EVENTS.div_ceil(1_000));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_long_history_is_found_whole_also_after_a_restart_and_a_deletion() {
    let mut history = history().await;
    history.check().await;

    history.store.close().await;
    history.store = Arc::new(SqliteStore::open(settings(&history.folder)).await.unwrap());
    history.check().await;

    // Pages in a time range join as those of the whole do.
    let middle = *history.payloads.keys().nth(EVENTS / 2).unwrap();
    let mut since = query();
    since.from = Some(middle.timestamp());
    let expected = descending(
        history.payloads.keys().copied().filter(|id| id.timestamp() >= middle.timestamp()),
    );
    assert_eq!(all(&history.store, since).await, expected);

    assert!(history.store.delete(&WorkspaceId::DEFAULT, &history.busy).await.unwrap());
    assert_eq!(all(&history.store, query()).await.len(), EVENTS.div_ceil(1_000));
    assert_eq!(all(&history.store, containing("n0009999")).await, []);
}
