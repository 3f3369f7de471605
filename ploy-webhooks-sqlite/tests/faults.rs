//! What the store does when its file, its disk or its neighbours misbehave: it says so, loses
//! nothing, and goes on when the cause has gone.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ploy_webhooks::store::{
    Appended, Created, EndpointStore, EventQuery, EventStore, StoreError, StoreErrorKind,
};
use ploy_webhooks::{
    Clock, Endpoint, EndpointConfig, EndpointId, EventId, Fence, NewEvent, NewRun, Revision, RunId,
    SystemClock, Trigger, WorkspaceId,
};
use ploy_webhooks_sqlite::{SqliteSettings, SqliteStore};
use rusqlite::Connection;
use tempfile::TempDir;

fn settings(folder: &TempDir) -> SqliteSettings {
    let mut settings = SqliteSettings::at(folder.path().join("ploy.db"));
    settings.lock_timeout = Duration::from_millis(50);
    settings
}

async fn open(folder: &TempDir) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(settings(folder)).await
}

fn event(payload: impl Into<Bytes>) -> NewEvent {
    NewEvent::published(EventId::mint(SystemClock.now()), WorkspaceId::DEFAULT, payload.into())
}

/// Appends an event of that payload; its id, or why it was not stored.
async fn append(store: &SqliteStore, payload: impl Into<Bytes>) -> Result<EventId, StoreError> {
    let event = event(payload);
    let id = event.id;
    match store.append(event).await? {
        Appended::Stored => Ok(id),
        other => panic!("an event without a key and a fence is {other:?}"),
    }
}

/// A new endpoint, at its first revision.
async fn endpoint(store: &SqliteStore) -> EndpointId {
    let config = EndpointConfig::default();
    let (endpoint, _) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
    let id = endpoint.id;
    let created = store.create(endpoint).await.expect("the store works");
    assert_eq!(created, Created::Created);
    id
}

async fn is_kept(store: &SqliteStore, id: EventId) -> bool {
    store.event(&WorkspaceId::DEFAULT, &id).await.expect("reading works").is_some()
}

fn kind<T>(outcome: Result<T, StoreError>) -> Option<StoreErrorKind> {
    outcome.err().map(|error| error.kind())
}

#[tokio::test]
async fn a_file_that_another_program_has_locked_is_waited_for_and_then_refused() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await.unwrap();
    let before = append(&store, "{}").await.unwrap();

    let other = Connection::open(folder.path().join("ploy.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(kind(append(&store, "{}").await), Some(StoreErrorKind::Unavailable));
    assert!(is_kept(&store, before).await, "reading goes on");

    other.execute_batch("COMMIT").unwrap();
    let after = append(&store, "{}").await.expect("it goes on without a restart");
    assert!(is_kept(&store, after).await);
}

/// Events of a deleted endpoint leave their places in the tables, but not in the index: a place
/// that came again would be taken for indexed, and its event not be found.
#[tokio::test]
async fn what_comes_after_a_purge_and_a_failure_is_found() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await.unwrap();
    let id = endpoint(&store).await;
    // More than a block of the index holds.
    for _ in 0..1_500 {
        let fence = Some(Fence { endpoint: id, checked_at: Revision::FIRST });
        let appended = store.append(NewEvent { fence, ..event("{}") }).await.unwrap();
        assert!(matches!(appended, Appended::Stored));
    }
    assert!(store.delete(&WorkspaceId::DEFAULT, &id).await.unwrap());
    let other = Connection::open(folder.path().join("ploy.db")).unwrap();
    let count = |table: &str| -> i64 {
        other.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    while count("events") + count("purges") > 0 {
        tokio::task::yield_now().await;
    }

    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(kind(append(&store, "{}").await), Some(StoreErrorKind::Unavailable));
    other.execute_batch("COMMIT").unwrap();
    for _ in 0..50 {
        let id = append(&store, "{}").await.unwrap();
        assert!(is_kept(&store, id).await, "an event that was stored is not found");
    }
}

#[tokio::test]
async fn a_purge_that_failed_is_tried_again() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await.unwrap();
    let id = endpoint(&store).await;
    for _ in 0..10 {
        let fence = Some(Fence { endpoint: id, checked_at: Revision::FIRST });
        let appended = store.append(NewEvent { fence, ..event("{}") }).await.unwrap();
        assert!(matches!(appended, Appended::Stored));
    }
    let other = Connection::open(folder.path().join("ploy.db")).unwrap();
    other.busy_timeout(Duration::from_secs(10)).unwrap();
    other
        .execute_batch(
            "CREATE TRIGGER in_the_way BEFORE DELETE ON events
             BEGIN SELECT RAISE(ABORT, 'not now'); END",
        )
        .unwrap();
    assert!(store.delete(&WorkspaceId::DEFAULT, &id).await.unwrap());
    // Meanwhile the purge is tried.
    for _ in 0..20 {
        append(&store, "{}").await.unwrap();
    }
    other.execute_batch("DROP TRIGGER in_the_way").unwrap();
    let left = "SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM purges)";
    let purged = async {
        while other.query_row(left, [], |row| row.get::<_, i64>(0)).unwrap() > 20 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), purged).await.expect("the rows are freed");
}

#[tokio::test]
async fn a_full_file_refuses_and_goes_on_when_there_is_space() {
    let folder = TempDir::new().unwrap();
    let mut settings = settings(&folder);
    settings.file_bytes_max = Some(2 << 20);
    let store = SqliteStore::open(settings.clone()).await.unwrap();
    let id = endpoint(&store).await;
    let fenced = |payload: Vec<u8>| NewEvent {
        fence: Some(Fence { endpoint: id, checked_at: Revision::FIRST }),
        ..event(payload)
    };

    let mut kept = Vec::new();
    let refused = loop {
        let event = fenced(vec![b'x'; 100_000]);
        kept.push(event.id);
        match store.append(event).await {
            Ok(appended) => assert!(matches!(appended, Appended::Stored)),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), StoreErrorKind::Refused);
    let not_kept = kept.pop().unwrap();
    assert!(kept.len() > 5);
    for id in &kept {
        assert!(is_kept(&store, *id).await);
    }
    assert!(!is_kept(&store, not_kept).await, "what was refused is not there");

    // A deletion takes no more space than there is, and what it frees is used again.
    assert!(store.delete(&WorkspaceId::DEFAULT, &id).await.unwrap());
    while append(&store, vec![b'y'; 100_000]).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_file_that_was_taken_away_is_unavailable_and_comes_back() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ploy.db");
    let store = open(&folder).await.unwrap();
    let before = append(&store, "{}").await.unwrap();
    drop(store);

    fs::rename(&path, folder.path().join("aside")).unwrap();
    fs::create_dir(&path).unwrap();
    let refused = open(&folder).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("cannot open"), "{refused}");

    fs::remove_dir(&path).unwrap();
    fs::rename(folder.path().join("aside"), &path).unwrap();
    let store = open(&folder).await.unwrap();
    assert!(is_kept(&store, before).await);
}

#[tokio::test]
async fn what_is_not_a_store_is_refused_at_the_start() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ploy.db");

    fs::write(&path, "this is no database, however long it may be. ".repeat(100)).unwrap();
    assert_eq!(kind(open(&folder).await), Some(StoreErrorKind::Corrupt));
    fs::remove_file(&path).unwrap();

    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE somebody_elses (x)").unwrap();
    drop(other);
    let refused = open(&folder).await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Refused);
    assert!(refused.to_string().contains("another program"), "{refused}");
    fs::remove_file(&path).unwrap();

    drop(open(&folder).await.unwrap());
    let newer = Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 1_000).unwrap();
    drop(newer);
    let refused = open(&folder).await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Refused);
    assert!(refused.to_string().contains("version 1000"), "{refused}");
}

#[tokio::test]
async fn a_damaged_page_is_said_to_be_corrupt_and_harms_nothing_else() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ploy.db");
    let store = open(&folder).await.unwrap();
    for _ in 0..64 {
        append(&store, vec![b'x'; 4_000]).await.unwrap();
    }
    store.close().await;
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 100_000..].fill(0xff);
    fs::write(&path, bytes).unwrap();

    // Found where it is read: at the start, or by the search that comes upon it.
    let outcome = match open(&folder).await {
        Ok(store) => store.search(&EventQuery::all(WorkspaceId::DEFAULT)).await.map(drop),
        Err(error) => Err(error),
    };
    assert_eq!(kind(outcome), Some(StoreErrorKind::Corrupt));
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_read_is_said_to_be_corrupt() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await.unwrap();
    let id = endpoint(&store).await;
    let other = Connection::open(folder.path().join("ploy.db")).unwrap();
    other.execute_batch("UPDATE endpoints SET config = 'none'").unwrap();
    let read = store.endpoint_by_id(&WorkspaceId::DEFAULT, &id).await;
    assert_eq!(kind(read), Some(StoreErrorKind::Corrupt));
}

#[tokio::test]
async fn a_second_owner_is_refused_until_the_first_has_gone() {
    let folder = TempDir::new().unwrap();
    let first = open(&folder).await.unwrap();
    let refused = open(&folder).await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Refused);
    assert!(refused.to_string().contains("in use by another process"), "{refused}");
    first.close().await;
    open(&folder).await.expect("the first has gone");
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await.unwrap();
    store.close().await;
    assert_eq!(kind(append(&store, "{}").await), Some(StoreErrorKind::Unavailable));
}

#[tokio::test]
async fn too_many_waiting_events_are_refused_at_once() {
    let folder = TempDir::new().unwrap();
    let mut settings = settings(&folder);
    settings.waiting_max = 4;
    settings.lock_timeout = Duration::from_secs(60);
    let store = Arc::new(SqliteStore::open(settings).await.unwrap());
    let other = Connection::open(folder.path().join("ploy.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();

    let mut appends = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let store = store.clone();
        appends.spawn(async move { append(&store, "{}").await });
    }
    let refused = appends.join_next().await.unwrap().unwrap();
    assert_eq!(kind(refused), Some(StoreErrorKind::Busy));
    other.execute_batch("COMMIT").unwrap();
    let mut stored = 0;
    while let Some(outcome) = appends.join_next().await {
        stored += usize::from(outcome.unwrap().is_ok());
    }
    assert!(stored >= 4, "those that waited were written");
}

#[tokio::test]
async fn an_event_whose_run_is_refused_is_not_stored_and_harms_no_other() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await.unwrap();
    let run = NewRun {
        id: RunId::mint(SystemClock.now()),
        trigger: Trigger::ploybook("page".parse().unwrap()),
        delay: Duration::ZERO,
    };
    let twice = NewEvent { owes: vec![run.clone(), run], ..event("{}") };
    let id = twice.id;
    let (refused, stored) = tokio::join!(store.append(twice), append(&store, "{}"));
    assert_eq!(kind(refused), Some(StoreErrorKind::Misuse));
    assert!(!is_kept(&store, id).await);
    assert!(is_kept(&store, stored.unwrap()).await);
}
