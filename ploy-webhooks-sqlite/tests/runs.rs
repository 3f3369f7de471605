//! The line of runs, where it is SQLite's own business: its tables, its bounds, its commits.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use ploy_webhooks::store::{
    Altered, Appended, Claim, Created, EndpointStore, EventStore, Lanes, RunQuery, RunQueue,
    RunStore, StoreErrorKind, Tenure,
};
use ploy_webhooks::{
    Attempt, Clock, Endpoint, EndpointConfig, EndpointId, EventId, Fence, Lane, LeasedRun,
    NewEvent, NewRun, Outcome, RunId, RunState, SystemClock, Trigger, WorkspaceId,
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
        trigger: Trigger::ploybook("enrich".parse().expect("a name")),
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
    claim_in(store, max, &roomy()).await
}

/// Room for whatever is due, in every lane.
fn roomy() -> Lanes {
    Lanes::new(NonZeroU16::MAX)
}

async fn claim_in(store: &SqliteStore, max: u16, lanes: &Lanes) -> Vec<LeasedRun> {
    let (worker, max) = ("test".parse().expect("a name"), NonZeroU16::new(max).expect("not zero"));
    let claim = Claim { worker: &worker, max, lease: LONG, lanes };
    store.claim(&claim).await.expect("the store works")
}

/// Appends so many events, 64 at a time.
async fn append_many(
    store: &Arc<SqliteStore>,
    count: usize,
    event: impl Fn(usize) -> NewEvent + Clone + Send + 'static,
) {
    let mut appends = JoinSet::new();
    for first in 0..64 {
        let (store, event) = (store.clone(), event.clone());
        appends.spawn(async move {
            for number in (first..count).step_by(64) {
                append(&store, event(number)).await;
            }
        });
    }
    appends.join_all().await;
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

/// A file as this store made it before runs had lanes: two events of an endpoint and one that the
/// app published, with runs in every state.
fn file_of_version_2(folder: &TempDir, endpoint: EndpointId) -> [EventId; 3] {
    let before = connect(folder);
    before.execute_batch(include_str!("../migrations/0001_init.sql")).unwrap();
    before.execute_batch(include_str!("../migrations/0002_line.sql")).unwrap();
    before.execute_batch("PRAGMA application_id = 0x706c6f79; PRAGMA user_version = 2").unwrap();
    let ids = [(); 3].map(|()| EventId::mint(SystemClock.now()));
    before
        .execute(
            "INSERT INTO endpoints (number, id, workspace, slug, revision, created_at, auth, config)
             VALUES (3, ?1, ?2, 'abcdefghijklmnopqrstuvwxyz', 1, 1, '{}', '{}')",
            params![endpoint.as_bytes(), WorkspaceId::DEFAULT.as_bytes()],
        )
        .unwrap();
    for (seq, id, endpoint) in [(7, ids[0], Some(3)), (8, ids[1], Some(3)), (9, ids[2], None)] {
        let workspace = endpoint.is_none().then(|| WorkspaceId::DEFAULT.as_bytes());
        before
            .execute(
                "INSERT INTO events (seq, id, endpoint, workspace, payload)
                 VALUES (?1, ?2, ?3, ?4, x'7b7d')",
                params![seq, id.as_bytes(), endpoint, workspace],
            )
            .unwrap();
    }
    for (event, run, state, attempt, due_at) in [
        (7, 1, "queued", 0, 1),
        (7, 2, "succeeded", 2, 1),
        (7, 3, "running", 1, i64::from(u32::MAX) << 9),
        (8, 4, "failed", 1, 1),
        (9, 5, "retrying", 1, 1),
    ] {
        before
            .execute(
                "INSERT INTO runs (event, id, trigger, retry, state, created_at, due_at, attempt)
                 VALUES (?1, ?2, '{\"ploybook\":\"old\"}', '{}', ?3, 11, ?4, ?5)",
                params![event, old_run(run).as_bytes(), state, due_at, attempt],
            )
            .unwrap();
        for number in 1..=attempt {
            let ended = (state != "running").then_some(21);
            let outcome = if number == attempt { state } else { "retrying" };
            before
                .execute(
                    "INSERT INTO attempts
                         (event, run, number, started_at, ended_at, outcome, after, said)
                     VALUES (?1, ?2, ?3, 12, ?4, ?5, 0, x'6f6b')",
                    params![event, old_run(run).as_bytes(), number, ended, outcome],
                )
                .unwrap();
        }
    }
    ids
}

fn old_run(number: u8) -> RunId {
    RunId::from_bytes([number; 16])
}

#[tokio::test]
async fn runs_of_a_database_of_version_2_are_carried_over_with_what_came_of_them() {
    let folder = TempDir::new().unwrap();
    let endpoint = EndpointId::mint(SystemClock.now());
    let [first, second, published] = file_of_version_2(&folder, endpoint);

    let store = open(&folder).await;
    let workspace = WorkspaceId::DEFAULT;
    let listed = store.list_runs(&RunQuery::all(workspace)).await.unwrap();
    assert_eq!(listed.next, None);
    let shown: Vec<_> =
        listed.items.iter().map(|run| (run.id, run.event, run.state, run.attempts.len())).collect();
    assert_eq!(
        shown,
        [
            (old_run(5), published, RunState::Retrying, 1),
            (old_run(4), second, RunState::Failed, 1),
            (old_run(3), first, RunState::Running, 1),
            (old_run(2), first, RunState::Succeeded, 2),
            (old_run(1), first, RunState::Queued, 0),
        ],
        "left: what is on record of the runs"
    );
    let attempts: Vec<_> = listed.items.iter().flat_map(|run| &run.attempts).collect();
    assert!(attempts.iter().all(|attempt| attempt.worker.as_str() == "unknown"), "{attempts:?}");
    let succeeded = store.run(&workspace, &old_run(2)).await.unwrap().unwrap();
    let [again, done] = &succeeded.attempts[..] else { panic!("{succeeded:?}") };
    let outcome = |attempt: &Attempt| attempt.end.as_ref().map(|end| end.outcome.clone());
    let retry = Outcome::Retry { error: "ok".to_owned(), after: Duration::ZERO };
    assert_eq!(outcome(again), Some(retry));
    assert_eq!(outcome(done), Some(Outcome::Succeed { output: "ok".into() }));
    assert_eq!(store.runs(&workspace, &first).await.unwrap().len(), 3);

    // In their lanes: one is full, and the other is served.
    let mut lanes = Lanes::new(NonZeroU16::MIN);
    lanes.enter(Lane::Endpoint(endpoint));
    let claimed = claim_in(&store, 10, &lanes).await;
    let shown: Vec<_> = claimed.iter().map(|run| (run.lease.run, run.event.id)).collect();
    assert_eq!(shown, [(old_run(5), published)], "left: what was claimed beside a full lane");
    assert_eq!(claimed[0].lease.attempt.get(), 2, "left: the number of the next attempt");
    let claimed = claim(&store, 10).await;
    let shown: Vec<_> = claimed.iter().map(|run| (run.lease.run, run.event.id)).collect();
    assert_eq!(shown, [(old_run(1), first)], "left: what was claimed then");
    assert_eq!(&claimed[0].event.payload[..], b"{}");
    let outcome = Outcome::Succeed { output: "done".into() };
    assert_eq!(store.finish(&claimed[0].lease, outcome).await.unwrap(), Tenure::Held);
    // And what is added stands beside them.
    assert!(store.enqueue(&workspace, &first, vec![run(Duration::ZERO)]).await.unwrap());
    assert_eq!(store.runs(&workspace, &first).await.unwrap().len(), 4);
}

/// Before the purge has come to them, and with nothing else in the line.
#[tokio::test]
async fn runs_of_a_deleted_endpoint_hold_up_nobody() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(open(&folder).await);
    let endpoint = endpoint(&store).await;
    let of_endpoint = move || of_endpoint(&endpoint, owing(b"{}".to_vec(), Duration::ZERO));
    append_many(&store, 5_000, {
        let of_endpoint = of_endpoint.clone();
        move |_| of_endpoint()
    })
    .await;
    let other = connect(&folder);
    other
        .execute_batch(
            "CREATE TRIGGER in_the_way BEFORE DELETE ON events
             BEGIN SELECT RAISE(ABORT, 'not now'); END",
        )
        .unwrap();
    let id = of_endpoint().fence.unwrap().endpoint;
    assert!(store.delete(&WorkspaceId::DEFAULT, &id).await.unwrap());

    assert!(claim(&store, 10).await.is_empty());
    let waited = timeout(Duration::from_millis(300), store.wait(LONG, &roomy())).await;
    assert!(waited.is_err(), "who waits goes on for runs of a deleted endpoint");
    let stays = append(&store, owing(b"{}".to_vec(), Duration::ZERO)).await;
    let claimed = claim(&store, 10).await;
    let events: Vec<_> = claimed.iter().map(|run| run.event.id).collect();
    assert_eq!(events, [stays], "left: whose runs were claimed");
    let listed = store.list_runs(&RunQuery::all(WorkspaceId::DEFAULT)).await.unwrap();
    assert_eq!(listed.items.len(), 1, "left: how many runs are listed on the first page");
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
        timeout(SOON, store.wait(LONG, &roomy())).await.expect("a delay is over").unwrap();
        claimed = claim(&store, 1).await;
    }
    let close = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        store.close().await;
    };
    let waiting =
        async { timeout(SOON, store.wait(LONG, &roomy())).await.expect("the store is closed") };
    let (waited, ()) = tokio::join!(waiting, close);
    assert_eq!(waited.unwrap_err().kind(), StoreErrorKind::Unavailable);
    let finished = store.finish(&claimed[0].lease, Outcome::Fail { error: String::new() }).await;
    assert_eq!(finished.unwrap_err().kind(), StoreErrorKind::Unavailable);
}
