//! The line of runs, where it is SQLite's own business: its tables, its bounds, its commits.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use ploy_webhooks::store::{
    Appended, Created, EndpointStore, EventStore, RunQueue, RunStore, StoreErrorKind, Tenure,
};
use ploy_webhooks::{
    Clock, Endpoint, EndpointConfig, EventId, Fence, LeasedRun, NewEvent, NewRun, Outcome,
    RetryPolicy, RunId, RunState, SystemClock, Trigger, WorkspaceId,
};
use ploy_webhooks_sqlite::{SqliteSettings, SqliteStore};
use rusqlite::{Connection, params};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(86_400);
const SOON: Duration = Duration::from_secs(60);

async fn open(folder: &TempDir) -> SqliteStore {
    let settings = SqliteSettings::at(folder.path().join("ploy.db"));
    SqliteStore::open(settings).await.expect("the store opens")
}

fn connect(folder: &TempDir) -> Connection {
    let other = Connection::open(folder.path().join("ploy.db")).expect("the file opens");
    other.busy_timeout(Duration::from_secs(10)).expect("it takes a time");
    other
}

fn count(connection: &Connection, table: &str) -> i64 {
    let select = format!("SELECT count(*) FROM {table}");
    connection.query_row(&select, [], |row| row.get(0)).expect("the table is there")
}

fn run(delay: Duration) -> NewRun {
    NewRun {
        id: RunId::mint(SystemClock.now()),
        trigger: Trigger { ploybook: "enrich".to_owned() },
        retry: RetryPolicy::default(),
        delay,
    }
}

fn owing(payload: Vec<u8>, delay: Duration) -> NewEvent {
    let id = EventId::mint(SystemClock.now());
    let event = NewEvent::published(id, WorkspaceId::DEFAULT, payload.into());
    NewEvent { owes: vec![run(delay)], ..event }
}

async fn append(store: &SqliteStore, event: NewEvent) -> EventId {
    let id = event.id;
    let appended = store.append(event).await.expect("the store works");
    assert!(matches!(appended, Appended::Stored));
    id
}

async fn claim(store: &SqliteStore, max: u16) -> Vec<LeasedRun> {
    let max = NonZeroU16::new(max).expect("not zero");
    store.claim(max, LONG).await.expect("the store works")
}

async fn endpoint(store: &SqliteStore) -> Endpoint {
    let config = EndpointConfig::default();
    let (endpoint, _) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
    let created = store.create(endpoint.clone()).await.expect("the store works");
    assert_eq!(created, Created::Created);
    endpoint
}

fn of_endpoint(endpoint: &Endpoint, event: NewEvent) -> NewEvent {
    let fence = Fence { endpoint: endpoint.id, checked_at: endpoint.revision };
    NewEvent { fence: Some(fence), ..event }
}

#[tokio::test]
async fn runs_of_a_database_of_version_1_are_claimed() {
    let folder = TempDir::new().unwrap();
    let (event, run) = (EventId::mint(SystemClock.now()), RunId::mint(SystemClock.now()));
    let first = connect(&folder);
    first.execute_batch(include_str!("../migrations/0001_init.sql")).unwrap();
    first.execute_batch("PRAGMA application_id = 0x706c6f79; PRAGMA user_version = 1").unwrap();
    first
        .execute(
            "INSERT INTO events (seq, id, workspace, payload) VALUES (7, ?1, ?2, x'7b7d')",
            params![event.as_bytes(), WorkspaceId::DEFAULT.as_bytes()],
        )
        .unwrap();
    first
        .execute(
            "INSERT INTO runs (event, id, trigger, retry, state, created_at, due_at)
             VALUES (7, ?1, '{\"ploybook\":\"old\"}', ?2, 'queued', 1, 1)",
            params![run.as_bytes(), serde_json::to_string(&RetryPolicy::default()).unwrap()],
        )
        .unwrap();
    drop(first);

    let store = open(&folder).await;
    let claimed = claim(&store, 10).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!((claimed[0].lease.run, claimed[0].event.id), (run, event));
    assert_eq!(&claimed[0].event.payload[..], b"{}");
    let outcome = Outcome::Succeed { output: "done".into() };
    assert_eq!(store.finish(&claimed[0].lease, outcome).await.unwrap(), Tenure::Held);
    let runs = store.runs(&WorkspaceId::DEFAULT, &event).await.unwrap();
    assert_eq!((runs[0].state, runs[0].attempts.len()), (RunState::Succeeded, 1));
}

/// Before the purge has come to them, and with nothing but such runs in the line.
#[tokio::test]
async fn a_claim_takes_runs_of_deleted_endpoints_out_of_the_line() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(open(&folder).await);
    let endpoint = endpoint(&store).await;
    let mut appends = JoinSet::new();
    for _ in 0..5_000 {
        let (store, event) =
            (store.clone(), of_endpoint(&endpoint, owing(b"{}".to_vec(), Duration::ZERO)));
        appends.spawn(async move { append(&store, event).await });
    }
    appends.join_all().await;
    let other = connect(&folder);
    other
        .execute_batch(
            "CREATE TRIGGER in_the_way BEFORE DELETE ON events
             BEGIN SELECT RAISE(ABORT, 'not now'); END",
        )
        .unwrap();
    assert!(store.delete(&WorkspaceId::DEFAULT, &endpoint.id).await.unwrap());

    let stays = append(&store, owing(b"{}".to_vec(), Duration::ZERO)).await;
    let claimed = claim(&store, 10).await;
    let events: Vec<_> = claimed.iter().map(|run| run.event.id).collect();
    assert_eq!(events, [stays], "left: whose runs were claimed");
    assert_eq!(count(&other, "runs"), 1, "left: what is left in the line");
}

#[tokio::test]
async fn a_purge_takes_runs_and_attempts_along() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let endpoint = endpoint(&store).await;
    for _ in 0..10 {
        append(&store, of_endpoint(&endpoint, owing(b"{}".to_vec(), Duration::ZERO))).await;
    }
    append(&store, owing(b"{}".to_vec(), Duration::ZERO)).await;
    assert_eq!(claim(&store, 20).await.len(), 11);
    assert!(store.delete(&WorkspaceId::DEFAULT, &endpoint.id).await.unwrap());
    let other = connect(&folder);
    let purged = async {
        while count(&other, "purges") > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, purged).await.expect("the rows are freed");
    let left = ["events", "runs", "attempts"].map(|table| count(&other, table));
    assert_eq!(left, [1, 1, 1], "left: the rows of events, runs and attempts that are left");
}

#[tokio::test]
async fn a_claim_is_bounded_by_the_bytes_of_its_events() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    for _ in 0..20 {
        append(&store, owing(vec![b'x'; 1 << 20], Duration::ZERO)).await;
    }
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < 20 {
        sizes.push(claim(&store, u16::MAX).await.len());
    }
    assert_eq!(sizes, [8, 8, 4], "left: how many runs each claim gave");
}

#[tokio::test]
async fn attempts_that_end_together_are_answered_each_for_itself() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(open(&folder).await);
    let mut events = Vec::new();
    for _ in 0..200 {
        events.push(append(&store, owing(b"{}".to_vec(), Duration::ZERO)).await);
    }
    let mut finishes = JoinSet::new();
    for (number, leased) in claim(&store, 200).await.into_iter().enumerate() {
        let store = store.clone();
        finishes.spawn(async move {
            let mut lease = leased.lease;
            let is_stale = number % 3 == 0;
            if is_stale {
                lease.attempt = lease.attempt.saturating_add(1);
            }
            let output = format!("{}", leased.event.id).into();
            let tenure = store.finish(&lease, Outcome::Succeed { output }).await.unwrap();
            assert_eq!(tenure == Tenure::Lost, is_stale);
            (leased.event.id, is_stale)
        });
    }
    let done = finishes.join_all().await;
    assert_eq!(done.len(), 200);
    for (event, is_stale) in done {
        let runs = store.runs(&WorkspaceId::DEFAULT, &event).await.unwrap();
        let end = runs[0].attempts[0].end.as_ref().map(|end| end.outcome.clone());
        let output = event.to_string().into();
        assert_eq!(end, (!is_stale).then_some(Outcome::Succeed { output }));
    }
}

#[tokio::test]
async fn waiting_ends_when_a_delay_is_over_and_when_the_store_is_closed() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    append(&store, owing(b"{}".to_vec(), Duration::from_millis(300))).await;
    let mut claimed = Vec::new();
    while claimed.is_empty() {
        timeout(SOON, store.wait(LONG)).await.expect("a delay is over").unwrap();
        claimed = claim(&store, 1).await;
    }
    let close = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        store.close().await;
    };
    let waiting = async { timeout(SOON, store.wait(LONG)).await.expect("the store is closed") };
    let (waited, ()) = tokio::join!(waiting, close);
    assert_eq!(waited.unwrap_err().kind(), StoreErrorKind::Unavailable);
    let finished = store.finish(&claimed[0].lease, Outcome::Fail { error: String::new() }).await;
    assert_eq!(finished.unwrap_err().kind(), StoreErrorKind::Unavailable);
}
