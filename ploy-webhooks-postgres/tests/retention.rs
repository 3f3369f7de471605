//! Events that go: their partitions, and what is added to them meanwhile.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ploy_webhooks::store::{
    Appended, Claim, Created, EndpointStore, EventQuery, EventStore, Expired, Lanes, PageSize,
    RetentionStore, RunQueue, RunStore, Sweep, Tenure,
};
use ploy_webhooks::{
    Clock, Endpoint, EndpointConfig, EventId, Fence, NewEvent, NewRun, Outcome, RunId, SystemClock,
    Timestamp, Trigger, WorkspaceId,
};
use ploy_webhooks_engines::Postgres;
use ploy_webhooks_postgres::{PostgresSettings, PostgresStore};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

const DAY: Duration = Duration::from_secs(86_400);
const WORKSPACE: WorkspaceId = WorkspaceId::DEFAULT;
/// Longer than anything takes that is waited for.
const A_WHILE: Duration = Duration::from_secs(60);

async fn database() -> (PostgresSettings, PgConnection) {
    let url = tokio::task::spawn_blocking(|| Postgres::shared().database());
    let url = url.await.expect("a database is made");
    let connection = PgConnection::connect(&url).await.expect("the database is there");
    (PostgresSettings::from_url(&url).expect("a URL"), connection)
}

async fn open(settings: &PostgresSettings) -> Arc<PostgresStore> {
    Arc::new(PostgresStore::open(settings.clone()).await.expect("the store opens"))
}

async fn make_endpoint(store: &PostgresStore) -> Endpoint {
    let config = EndpointConfig::default();
    let (endpoint, _) = Endpoint::mint(WORKSPACE, config, SystemClock.now());
    let created = store.create(endpoint.clone()).await.expect("an endpoint is made");
    assert_eq!(created, Created::Created);
    endpoint
}

/// An event of that time. Its id is not minted: no later one of this process would have an earlier
/// time.
fn event_of(endpoint: &Endpoint, time: Timestamp) -> NewEvent {
    let mut bytes = *EventId::mint(SystemClock.now()).as_bytes();
    bytes[..6].copy_from_slice(&time.as_millis().to_be_bytes()[2..]);
    let payload = Bytes::from_static(br#"{"a":"needle"}"#);
    NewEvent {
        fence: Some(Fence { endpoint: endpoint.id, checked_at: endpoint.revision }),
        ..NewEvent::published(EventId::from_bytes(bytes), WORKSPACE, payload)
    }
}

fn run() -> NewRun {
    NewRun {
        id: RunId::mint(SystemClock.now()),
        trigger: Trigger::ploybook("enrich".parse().expect("it is a name")),
        delay: Duration::ZERO,
    }
}

async fn append(store: &PostgresStore, event: NewEvent) -> EventId {
    let id = event.id;
    let appended = store.append(event).await.expect("the event is taken");
    assert!(matches!(appended, Appended::Stored), "{appended:?}");
    id
}

/// How many went of what the endpoint took before yesterday.
async fn sweep(store: &PostgresStore, endpoint: &Endpoint) -> u64 {
    let fence = Fence { endpoint: endpoint.id, checked_at: endpoint.revision };
    let sweep =
        Sweep { endpoint: Some(fence), older_than: Some(DAY), ..Sweep::published(WORKSPACE) };
    let (mut rest, mut gone) = (sweep, 0);
    while let Expired::Swept { events, next } = store.expire(&rest).await.expect("a sweep") {
        gone += events;
        let Some(next) = next else { return gone };
        rest = sweep.from(next);
    }
    panic!("the endpoint has not changed, and the sweep was fenced")
}

async fn count(connection: &mut PgConnection, what: &'static str) -> i64 {
    sqlx::query_scalar(what).fetch_one(connection).await.expect("a count")
}

async fn await_count(connection: &mut PgConnection, what: &'static str, wanted: i64) {
    let counted = async {
        while count(connection, what).await != wanted {
            // Nothing tells of it; and to ask without a pause would keep it from happening.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(A_WHILE, counted).await.is_err() {
        panic!("after {A_WHILE:?} `{what}` was still not {wanted}");
    }
}

/// A partition of the past, as a store that is some days old has it. There is an event of nobody in it,
/// or it might go before anything comes.
async fn make_partition(connection: &mut PgConnection, name: &str, from: u64) {
    let bound = |millis: u64| {
        let id = EventId::least_at(Timestamp::from_millis(millis));
        id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let (low, high) = (bound(from), bound(from + 86_400_000));
    let made = format!(
        "CREATE TABLE ploy.{name} PARTITION OF ploy.events FOR VALUES FROM ('{low}') TO ('{high}');
         INSERT INTO ploy.events (stream, id, endpoint, payload) VALUES (0, '{low}', -1, '');
         INSERT INTO ploy.partitions VALUES ('{name}', {from}, {from} + 86400000)"
    );
    sqlx::raw_sql(AssertSqlSafe(made)).execute(connection).await.expect("it is made");
}

/// More than makes a segment of the index, and more than one call removes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_of_which_nothing_is_left_goes() {
    let (settings, mut connection) = database().await;
    let store = open(&settings).await;
    let (goes, stays) = (make_endpoint(&store).await, make_endpoint(&store).await);
    let now = SystemClock.now().as_millis();
    let (emptied, kept) = (now - 10 * 86_400_000, now - 8 * 86_400_000);
    make_partition(&mut connection, "events_emptied", emptied).await;
    make_partition(&mut connection, "events_kept", kept).await;
    let at = Timestamp::from_millis;
    for from in [emptied, kept] {
        let appends = (0..2_000).map(|n| append(&store, event_of(&goes, at(from + n))));
        futures_util::future::join_all(appends).await;
    }
    let of_nobody = "DELETE FROM ploy.events WHERE endpoint = -1";
    sqlx::raw_sql(of_nobody).execute(&mut connection).await.expect("they are deleted");
    let mut owing = event_of(&goes, at(emptied + 7));
    owing.owes.push(run());
    append(&store, owing).await;
    let worker = "test".parse().expect("it is a name");
    let lanes = Lanes::new(std::num::NonZeroU16::MAX);
    let max = std::num::NonZeroU16::MIN;
    let claim = Claim { worker: &worker, max, lease: DAY, lanes: &lanes };
    let leased = store.claim(&claim).await.expect("a claim").remove(0);
    let fail = Outcome::Fail { error: "no".to_owned() };
    assert_eq!(store.finish(&leased.lease, fail).await.expect("an end"), Tenure::Held);
    let old = append(&store, event_of(&stays, at(kept + 5))).await;
    let young = append(&store, event_of(&goes, SystemClock.now())).await;

    assert_eq!(sweep(&store, &goes).await, 4_001, "left: how many went");
    // As the server does by itself, when it comes to it.
    for vacuum in ["VACUUM ploy.events_emptied", "VACUUM ploy.events_kept"] {
        sqlx::raw_sql(vacuum).execute(&mut connection).await.expect("it is vacuumed");
    }
    let tables = "SELECT count(*) FROM pg_class WHERE relname IN ('events_emptied', 'events_kept')";
    await_count(&mut connection, tables, 1).await;
    let kept = "SELECT count(*) FROM ploy.partitions WHERE name = 'events_kept'";
    assert_eq!(count(&mut connection, kept).await, 1, "one of which something is left is gone");
    for what in [
        "SELECT count(*) FROM ploy.runs",
        "SELECT count(*) FROM ploy.open_runs",
        "SELECT count(*) FROM ploy.attempts",
    ] {
        assert_eq!(count(&mut connection, what).await, 0, "{what}");
    }
    let mut query = EventQuery::all(WORKSPACE);
    query.limit = PageSize::MAX;
    let found = store.search(&query).await.expect("a search").items;
    assert_eq!(found.iter().map(|item| item.id).collect::<Vec<_>>(), [young, old]);
    // Of a time whose partition is gone, and by a node that knew it.
    let late = append(&store, event_of(&stays, at(emptied + 9))).await;
    assert!(store.event(&WORKSPACE, &late).await.expect("a look-up").is_some());
    store.close().await;
}

/// Either the event is gone before, or it stays with the run.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_run_is_lost_that_is_added_while_its_event_goes() {
    let (settings, _connection) = database().await;
    let (store, other) = (open(&settings).await, open(&settings).await);
    let endpoint = make_endpoint(&store).await;
    let old = Timestamp::from_millis(SystemClock.now().as_millis() - 3 * 86_400_000);
    let (mut stayed, mut went) = (0, 0);
    for _ in 0..60 {
        let mut events = Vec::new();
        for _ in 0..4 {
            events.push(append(&store, event_of(&endpoint, old)).await);
        }
        let added = events.iter().map(|event| store.enqueue(&WORKSPACE, event, vec![run()]));
        let added = futures_util::future::join_all(added);
        let (added, _gone) = tokio::join!(added, sweep(&other, &endpoint));
        for (event, added) in events.iter().zip(added) {
            let is_added = added.expect("adding works");
            let is_there = store.event(&WORKSPACE, event).await.expect("a look-up").is_some();
            let runs = store.runs(&WORKSPACE, event).await.expect("a look-up").len();
            assert_eq!((is_there, runs), (is_added, usize::from(is_added)), "added: {is_added}");
            stayed += usize::from(is_added);
            went += usize::from(!is_added);
        }
    }
    assert!(stayed > 0 && went > 0, "{stayed} stayed, {went} went: nothing met");
    store.close().await;
    other.close().await;
}
