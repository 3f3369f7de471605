//! Events that go from a history that has segments, blocks in memory and a tail.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ploy_webhooks::store::{
    Appended, Created, EndpointStore, EventQuery, EventStore, Expired, Needle, PageSize,
    RetentionStore, Sweep,
};
use ploy_webhooks::{
    Clock, Endpoint, EndpointConfig, EventId, Fence, NewEvent, SystemClock, Timestamp, WorkspaceId,
};
use ploy_webhooks_sqlite::{Durability, SearchIndex, SqliteSettings, SqliteStore};
use rusqlite::Connection;
use tempfile::TempDir;

/// Enough for two segments, closed blocks and an open one.
const OLD: usize = 18_500;
const APPENDERS: usize = 32;
const DAY: Duration = Duration::from_secs(86_400);

fn settings(folder: &TempDir) -> SqliteSettings {
    let mut settings = SqliteSettings::at(folder.path().join("ploy.db"));
    settings.durability = Durability::Process;
    settings
}

async fn open(settings: SqliteSettings) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(settings).await.expect("the store works"))
}

async fn endpoint(store: &SqliteStore) -> Endpoint {
    let config = EndpointConfig::default();
    let (endpoint, _) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
    assert_eq!(store.create(endpoint.clone()).await.expect("the store works"), Created::Created);
    endpoint
}

fn fence(endpoint: &Endpoint) -> Option<Fence> {
    Some(Fence { endpoint: endpoint.id, checked_at: endpoint.revision })
}

fn event(endpoint: &Endpoint, payload: String) -> NewEvent {
    let id = EventId::mint(SystemClock.now());
    NewEvent {
        fence: fence(endpoint),
        ..NewEvent::published(id, WorkspaceId::DEFAULT, Bytes::from(payload))
    }
}

/// The same event, of the year 2001.
fn old(event: NewEvent) -> NewEvent {
    let mut bytes = *event.id.as_bytes();
    let time = Timestamp::from_millis(1_000_000_000_000);
    bytes[..6].copy_from_slice(&time.as_millis().to_be_bytes()[2..]);
    NewEvent { id: EventId::from_bytes(bytes), ..event }
}

async fn append(store: &SqliteStore, event: NewEvent) -> EventId {
    let id = event.id;
    assert!(matches!(store.append(event).await.expect("the store works"), Appended::Stored));
    id
}

/// Old events of the endpoint, a kibibyte each.
async fn fill(store: &Arc<SqliteStore>, endpoint: &Endpoint, count: usize) {
    let text = "lorem ipsum dolor sit amet ".repeat(36);
    let appenders = (0..APPENDERS).map(|appender| {
        let (store, endpoint, text) = (store.clone(), endpoint.clone(), text.clone());
        tokio::spawn(async move {
            for number in (appender..count).step_by(APPENDERS) {
                let payload = format!(r#"{{"number":{number},"text":"{text}"}}"#);
                append(&store, old(event(&endpoint, payload))).await;
            }
        })
    });
    for appender in appenders.collect::<Vec<_>>() {
        appender.await.expect("the store works");
    }
}

/// How many went.
async fn sweep(store: &SqliteStore, endpoint: &Endpoint) -> u64 {
    let sweep = Sweep {
        endpoint: fence(endpoint),
        older_than: Some(DAY),
        ..Sweep::published(WorkspaceId::DEFAULT)
    };
    let (mut rest, mut gone) = (sweep, 0);
    while let Expired::Swept { events, next } = store.expire(&rest).await.expect("the store works")
    {
        gone += events;
        let Some(next) = next else { return gone };
        rest = sweep.from(next);
    }
    panic!("the endpoint has not changed, and the sweep was fenced")
}

/// All that a query finds, the oldest last.
async fn found(store: &SqliteStore, needle: &str) -> Vec<EventId> {
    let mut query = EventQuery::all(WorkspaceId::DEFAULT);
    query.limit = PageSize::MAX;
    query.contains = Some(Needle::new(needle).expect("the store works"));
    let (mut found, mut next) = (Vec::new(), Some(query));
    while let Some(query) = next {
        let page = store.search(&query).await.expect("the store works");
        found.extend(page.items.iter().map(|item| item.id));
        next = page.next;
    }
    found
}

fn count(folder: &TempDir, select: &str) -> i64 {
    let connection = Connection::open(folder.path().join("ploy.db")).expect("the store works");
    connection.query_row(select, [], |row| row.get(0)).expect("the store works")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_goes_takes_its_part_of_the_index_along() {
    let folder = TempDir::new().unwrap();
    let store = open(settings(&folder)).await;
    let (busy, sparse) = (endpoint(&store).await, endpoint(&store).await);
    let mut stays = vec![append(&store, event(&sparse, r#"{"is":"first"}"#.to_owned())).await];
    fill(&store, &busy, OLD / 2).await;
    stays.push(append(&store, event(&sparse, r#"{"is":"amid"}"#.to_owned())).await);
    fill(&store, &busy, OLD / 2).await;
    stays.push(append(&store, event(&busy, r#"{"is":"young"}"#.to_owned())).await);
    let store = {
        store.close().await;
        open(settings(&folder)).await
    };
    assert_eq!(count(&folder, "SELECT count(*) FROM segments"), 2, "left: how many segments");

    assert_eq!(sweep(&store, &busy).await, OLD as u64, "left: how many went");
    assert_eq!(count(&folder, "SELECT count(*) FROM events"), 3, "left: the rows that are left");
    assert_eq!(found(&store, "lorem ipsum").await, []);
    let mut expected = stays.clone();
    expected.sort();
    expected.reverse();
    assert_eq!(found(&store, r#"{"is":""#).await, expected);
    // There is something in the first segment still, and the second says what is indexed.
    let segments = "SELECT count(*) FROM segments";
    assert_eq!(count(&folder, segments), 2, "left: how many segments");
    let bits_of_one = count(&folder, "SELECT count(*) FROM segment_bits") / 2;
    assert_eq!(sweep(&store, &busy).await, 0, "something went twice");

    // The first is emptied by a purge, the second by the next sweep, which makes it an older one.
    assert!(store.delete(&WorkspaceId::DEFAULT, &sparse.id).await.unwrap());
    fill(&store, &busy, OLD).await;
    assert_eq!(sweep(&store, &busy).await, OLD as u64, "left: how many went");
    let purged = async {
        while count(&folder, "SELECT count(*) FROM purges") > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), purged).await.expect("the rows are freed");
    store.close().await;
    let store = open(settings(&folder)).await;
    let (left, bits) = (count(&folder, segments), "SELECT count(*) FROM segment_bits");
    // That of the young event, and the newest.
    assert!(left <= 2, "{left} segments are left, of which two are needed");
    assert_eq!(count(&folder, bits), left * bits_of_one, "left: the slices that are left");
    let newest = append(&store, event(&busy, r#"{"is":"young"}"#.to_owned())).await;
    assert_eq!(found(&store, "young").await, [newest, stays[2]]);
    store.close().await;
}

/// What is in no block is looked at a stretch at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn events_go_without_an_index_too() {
    let folder = TempDir::new().unwrap();
    let mut settings = settings(&folder);
    settings.search_index = SearchIndex::Absent;
    let store = open(settings).await;
    let (busy, other) = (endpoint(&store).await, endpoint(&store).await);
    fill(&store, &busy, 3_000).await;
    fill(&store, &other, 1_000).await;
    fill(&store, &busy, 3_000).await;
    assert_eq!(sweep(&store, &busy).await, 6_000, "left: how many went");
    assert_eq!(found(&store, "lorem").await.len(), 1_000);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_refused_where_a_file_is_and_leaves_nothing_behind() {
    let folder = TempDir::new().unwrap();
    let store = open(settings(&folder)).await;
    let busy = endpoint(&store).await;
    fill(&store, &busy, 100).await;
    let there = folder.path().join("there.db");
    std::fs::write(&there, "something").unwrap();
    let missing = folder.path().join("missing/backup.db");
    for to in [there.clone(), missing] {
        let refused = store.back_up(&to).await.unwrap_err();
        assert_eq!(refused.kind(), ploy_webhooks::store::StoreErrorKind::Refused, "{refused}");
        assert!(refused.to_string().contains(to.to_str().unwrap()), "{refused}");
    }
    assert_eq!(std::fs::read_to_string(&there).unwrap(), "something");
    let backup = folder.path().join("backup.db");
    std::fs::write(folder.path().join("backup.db.partial"), "of one that was broken off").unwrap();
    let bytes = store.back_up(&backup).await.unwrap();
    assert_eq!(bytes, std::fs::metadata(&backup).unwrap().len());
    assert!(!folder.path().join("backup.db.partial").exists());
    store.close().await;

    let copy = open(SqliteSettings::at(&backup)).await;
    assert_eq!(found(&copy, "lorem").await.len(), 100);
    copy.close().await;
}
