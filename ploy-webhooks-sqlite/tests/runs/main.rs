//! The line of runs, where it is SQLite's own business: its tables, its bounds, its commits.

mod destinations;
mod purge;

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use ploy_webhooks::store::{
    Altered, Appended, Claim, Created, EndpointStore, EventStore, Lanes, PageSize, RunQuery,
    RunQueue, RunStore, StoreErrorKind, Tenure,
};
use ploy_webhooks::{
    Clock, Endpoint, EndpointConfig, EventId, Fence, Lane, LeasedRun, NewEvent, NewRun, Outcome,
    Run, RunId, RunState, SystemClock, Trigger, WorkspaceId,
};
use ploy_webhooks_sqlite::{SqliteSettings, SqliteStore};
use rusqlite::Connection;
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

/// More than one commit takes, said while another program holds the lock: one is refused, one is
/// of a caller that has gone.
#[tokio::test]
async fn an_end_that_is_refused_fails_alone() {
    const RUNS: usize = 1_200;
    let folder = TempDir::new().unwrap();
    let store = Arc::new(open(&folder).await);
    append_many(&store, RUNS, |_| owing(b"{}".to_vec(), Duration::ZERO)).await;
    let mut leases: Vec<_> = Vec::new();
    while leases.len() < RUNS {
        leases.extend(claim(&store, u16::MAX).await.into_iter().map(|leased| leased.lease));
    }
    let due_at = |connection: &Connection, id: &RunId| -> i64 {
        let select = "SELECT due_at FROM runs WHERE id = ?1";
        connection.query_row(select, [id.as_bytes()], |row| row.get(0)).unwrap()
    };
    let other = connect(&folder);
    other
        .execute_batch(
            "CREATE TRIGGER refuses BEFORE UPDATE ON attempts WHEN new.said = CAST('700' AS BLOB)
             BEGIN SELECT RAISE(ABORT, 'not this one'); END;
             BEGIN IMMEDIATE",
        )
        .unwrap();
    let gone = leases.pop().unwrap();
    let until = due_at(&other, &gone.run);
    // The writer begins with this, and waits for the lock: so it takes nothing of what is said
    // behind it before that is let go.
    let unknown = RunId::mint(SystemClock.now());
    let cancelling = timeout(Duration::ZERO, store.cancel(&WorkspaceId::DEFAULT, &unknown));
    assert!(cancelling.await.is_err(), "it waits for the lock");
    let mut finishes = JoinSet::new();
    for (number, lease) in leases.into_iter().enumerate() {
        let store = store.clone();
        finishes.spawn(async move {
            let output = number.to_string().into();
            (number, store.finish(&lease, Outcome::Succeed { output }).await)
        });
    }
    tokio::task::yield_now().await;
    // Not waited for.
    let extending = timeout(Duration::ZERO, store.extend(&gone, 2 * LONG));
    assert!(extending.await.is_err(), "it waits for the lock");
    other.execute_batch("COMMIT").unwrap();
    while let Some(finished) = finishes.join_next().await {
        match finished.unwrap() {
            (700, refused) => assert_eq!(refused.unwrap_err().kind(), StoreErrorKind::Misuse),
            (_, finished) => assert_eq!(finished.unwrap(), Tenure::Held),
        }
    }
    assert_eq!(list(&store, Some(RunState::Succeeded)).await.len(), RUNS - 2);
    assert_eq!(due_at(&other, &gone.run), until, "left: the end of the lease of who has gone");
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

/// With nobody to claim them, and across a restart.
#[tokio::test]
async fn runs_are_found_and_listed_before_and_after_they_are_filed() {
    const RUNS: usize = 5_000;
    let folder = TempDir::new().unwrap();
    let store = Arc::new(open(&folder).await);
    append_many(&store, RUNS, |_| owing(b"{}".to_vec(), Duration::ZERO)).await;
    let other = connect(&folder);
    let (owed, filed) = (count(&other, "owed"), count(&other, "runs"));
    assert_eq!(owed + filed, 5_000, "left: the rows of runs");
    assert!((1..2_048).contains(&owed), "{owed} runs are not filed");

    let listed = list(&store, None).await;
    assert_eq!(listed.len(), RUNS, "left: how many are listed");
    assert!(listed.is_sorted_by(|a, b| a.id > b.id), "the greatest ids come first");
    assert_eq!(list(&store, Some(RunState::Queued)).await, listed, "left: those that are queued");
    for run in listed.iter().step_by(499) {
        let found = store.run(&WorkspaceId::DEFAULT, &run.id).await.unwrap();
        assert_eq!(found.as_ref(), Some(run), "left: found by its id");
        assert_eq!(
            store.runs(&WorkspaceId::DEFAULT, &run.event).await.unwrap(),
            std::slice::from_ref(run)
        );
    }
    store.close().await;
    drop(store);

    let store = open(&folder).await;
    assert_eq!(list(&store, None).await, listed, "left: what is listed after a restart");
    let mut claimed = 0;
    loop {
        match claim(&store, u16::MAX).await.len() {
            0 => break,
            more => claimed += more,
        }
    }
    assert_eq!(claimed, RUNS, "left: how many were claimed");
    assert_eq!(count(&other, "owed"), 0, "left: how many are not filed");
    assert_eq!(list(&store, Some(RunState::Running)).await.len(), RUNS);
}

async fn list(store: &SqliteStore, state: Option<RunState>) -> Vec<Run> {
    let mut query = RunQuery::all(WorkspaceId::DEFAULT);
    query.state = state;
    list_all(store, query).await
}

async fn list_all(store: &SqliteStore, mut query: RunQuery) -> Vec<Run> {
    query.limit = PageSize::MAX;
    let (mut listed, mut next) = (Vec::new(), Some(query));
    while let Some(query) = next {
        let page = store.list_runs(&query).await.expect("the store works");
        listed.extend(page.items);
        next = page.next;
    }
    listed
}

#[tokio::test]
async fn a_page_of_runs_is_bounded_by_what_was_said() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    for _ in 0..12 {
        append(&store, owing(b"{}".to_vec(), Duration::ZERO)).await;
    }
    for leased in claim(&store, 12).await {
        let outcome = Outcome::Succeed { output: vec![b'x'; 1 << 20].into() };
        assert_eq!(store.finish(&leased.lease, outcome).await.unwrap(), Tenure::Held);
    }
    let mut sizes = Vec::new();
    let mut next = Some(RunQuery::all(WorkspaceId::DEFAULT));
    while let Some(query) = next {
        let page = store.list_runs(&query).await.unwrap();
        sizes.push(page.items.len());
        next = page.next;
    }
    assert_eq!(sizes, [5, 5, 2], "left: how many runs each page has");
}

/// More lanes than one task of the writer looks at, all of them full but the last.
#[tokio::test]
async fn a_claim_goes_on_past_many_full_lanes() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(open(&folder).await);
    let workspace = |number: usize| WorkspaceId::from_bytes((1 + number as u128).to_be_bytes());
    let in_workspace = move |number| {
        let id = EventId::mint(SystemClock.now());
        let event = NewEvent::published(id, workspace(number), b"{}".to_vec().into());
        NewEvent { owes: vec![run(Duration::ZERO)], ..event }
    };
    append_many(&store, 2_500, in_workspace).await;
    let mut lanes = Lanes::new(NonZeroU16::MIN);
    (0..2_499).for_each(|number| lanes.enter(Lane::Workspace(workspace(number))));
    timeout(SOON, store.wait(LONG, &lanes)).await.expect("one is due").unwrap();
    for expected in [1, 0] {
        let claimed = claim_in(&store, 64, &lanes).await;
        assert_eq!(claimed.len(), expected, "left: how many were claimed");
        assert!(claimed.iter().all(|run| run.event.workspace == workspace(2_499)));
    }
}

#[tokio::test]
async fn lanes_take_turns() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(open(&folder).await);
    let workspaces = [1, 2, 3].map(|byte| WorkspaceId::from_bytes([byte; 16]));
    append_many(&store, 30, move |number| {
        let id = EventId::mint(SystemClock.now());
        let event = NewEvent::published(id, workspaces[number % 3], b"{}".to_vec().into());
        NewEvent { owes: vec![run(Duration::ZERO)], ..event }
    })
    .await;
    let mut served = Vec::new();
    for _ in 0..7 {
        served.extend(claim(&store, 1).await.into_iter().map(|run| run.event.workspace));
    }
    let [a, b, c] = workspaces;
    assert_eq!(served, [a, b, c, a, b, c, a], "left: whose runs were claimed, one by one");
}

#[tokio::test]
async fn a_run_is_not_added_twice() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let event = owing(b"{}".to_vec(), Duration::ZERO);
    let owed = event.owes.clone();
    let event = append(&store, event).await;
    let fresh = run(Duration::ZERO);
    for runs in [owed, vec![fresh.clone(), fresh.clone()]] {
        let refused = store.enqueue(&WorkspaceId::DEFAULT, &event, runs).await.unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Misuse);
    }
    assert_eq!(store.runs(&WorkspaceId::DEFAULT, &event).await.unwrap().len(), 1);
    assert!(store.enqueue(&WorkspaceId::DEFAULT, &event, vec![fresh]).await.unwrap());
    assert_eq!(store.runs(&WorkspaceId::DEFAULT, &event).await.unwrap().len(), 2);
}

/// Called off and requeued twice: what the first attempt's worker holds is held all the same.
#[tokio::test]
async fn a_run_that_is_called_off_twice_waits_for_the_lease_that_it_was_under() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    append(&store, owing(b"{}".to_vec(), Duration::ZERO)).await;
    let run = claim(&store, 1).await[0].lease.run;
    for _ in 0..2 {
        let altered = store.cancel(&WorkspaceId::DEFAULT, &run).await.unwrap();
        assert_eq!(altered, Altered::Done);
        let altered = store.requeue(&WorkspaceId::DEFAULT, &run).await.unwrap();
        assert_eq!(altered, Altered::Done);
        assert!(claim(&store, 1).await.is_empty(), "its lease is not over");
    }
}

/// A hundred of one lane that cannot be read, before one that can; and what is mended goes on.
#[tokio::test]
async fn runs_that_cannot_be_read_fail_and_hold_up_nobody() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let of_event = owing(b"{}".to_vec(), Duration::ZERO);
    let of_event_id = of_event.owes[0].id;
    append(&store, of_event).await;
    let mut of_trigger = owing(b"{}".to_vec(), Duration::ZERO);
    let damaged = Trigger::ploybook("damaged".parse().unwrap());
    of_trigger.owes =
        (0..100).map(|_| NewRun { trigger: damaged.clone(), ..run(Duration::ZERO) }).collect();
    let of_trigger_id = of_trigger.owes[99].id;
    append(&store, of_trigger).await;
    let other = connect(&folder);
    other
        .execute_batch(
            "UPDATE events SET source = x'00' WHERE seq = 1;
             UPDATE triggers SET text = '{' WHERE text LIKE '%damaged%'",
        )
        .unwrap();
    let stays = append(&store, owing(b"{}".to_vec(), Duration::ZERO)).await;

    let claimed = claim(&store, 1).await;
    assert_eq!(claimed.len(), 1, "left: how many were claimed behind what cannot be read");
    assert_eq!(claimed[0].event.id, stays);
    assert!(claim(&store, 1).await.is_empty());
    let failed: i64 = other
        .query_row("SELECT count(*) FROM runs WHERE state = 'failed'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(failed, 101, "left: how many failed");
    let record = store.run(&WorkspaceId::DEFAULT, &of_event_id).await.unwrap().unwrap();
    assert_eq!(record.state, RunState::Failed);
    let end = record.attempts[0].end.as_ref().map(|end| end.outcome.clone());
    let Some(Outcome::Fail { error }) = end else { panic!("{record:?}") };
    assert!(error.contains("table events, row 1: column source"), "{error}");

    other
        .execute_batch(r#"UPDATE triggers SET text = '{"ploybook":"damaged"}' WHERE text = '{'"#)
        .unwrap();
    let altered = store.requeue(&WorkspaceId::DEFAULT, &of_trigger_id).await.unwrap();
    assert_eq!(altered, Altered::Done);
    let claimed = claim(&store, 10).await;
    assert_eq!(claimed.len(), 1, "left: how many were claimed that were mended");
    assert_eq!((claimed[0].lease.attempt.get(), &claimed[0].trigger), (2, &damaged));
    let record = store.run(&WorkspaceId::DEFAULT, &of_trigger_id).await.unwrap().unwrap();
    let end = record.attempts[0].end.as_ref().map(|end| end.outcome.clone());
    let Some(Outcome::Fail { error }) = end else { panic!("{record:?}") };
    assert!(error.contains("table triggers, row 2: column text"), "{error}");
}
