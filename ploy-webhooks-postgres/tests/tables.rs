//! How the store uses its tables: partitions by time, plans by index, space that is freed.

use std::num::{NonZeroU16, NonZeroU64};
use std::time::Duration;

use bytes::Bytes;
use ploy_webhooks::store::{
    ActivityStore, Appended, Claim, Created, EndpointStore, EventQuery, EventStore, Lanes, Needle,
    Observation, Observed, Order, RunQueue, RunStore, Tenure,
};
use ploy_webhooks::{
    Clock, Dedup, DedupKey, Endpoint, EndpointConfig, EventId, Fence, NewEvent, NewRun, Outcome,
    Quota, Revision, RunId, SystemClock, Timestamp, Trigger, WorkspaceId,
};
use ploy_webhooks_engines::Postgres;
use ploy_webhooks_postgres::{PostgresSettings, PostgresStore};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

const DAY: Duration = Duration::from_secs(86_400);
const WORKSPACE: WorkspaceId = WorkspaceId::DEFAULT;
/// Longer than anything takes that is waited for.
const A_WHILE: Duration = Duration::from_secs(60);

/// A database of its own, and a way to look into it.
async fn database() -> (PostgresSettings, PgConnection) {
    let url = tokio::task::spawn_blocking(|| Postgres::shared().database());
    let url = url.await.expect("a database is made");
    let connection = PgConnection::connect(&url).await.expect("the database is there");
    (PostgresSettings::from_url(&url).expect("a URL"), connection)
}

async fn open(settings: &PostgresSettings) -> PostgresStore {
    PostgresStore::open(settings.clone()).await.expect("the store opens")
}

fn event_now() -> NewEvent {
    let id = EventId::mint(SystemClock.now());
    NewEvent::published(id, WORKSPACE, Bytes::from_static(br#"{"a":"needle"}"#))
}

/// An event of another time. Its id is not minted: no later one of this process would have an
/// earlier time.
fn event_of(time: Timestamp, number: u8) -> NewEvent {
    let mut bytes = *EventId::least_at(time).as_bytes();
    bytes[15] = number;
    NewEvent { id: EventId::from_bytes(bytes), ..event_now() }
}

async fn append(store: &PostgresStore, event: NewEvent) -> EventId {
    let id = event.id;
    let appended = store.append(event).await.expect("the event is taken");
    assert!(matches!(appended, Appended::Stored), "{appended:?}");
    id
}

async fn make_endpoint(store: &PostgresStore) -> Endpoint {
    let now = SystemClock.now();
    let (endpoint, _) = Endpoint::mint(WORKSPACE, EndpointConfig::default(), now);
    let created = store.create(endpoint.clone()).await.expect("an endpoint is made");
    assert_eq!(created, Created::Created);
    endpoint
}

/// Every event that the query finds.
async fn all(store: &PostgresStore, query: EventQuery) -> Vec<EventId> {
    let mut found = Vec::new();
    let mut next = Some(query);
    while let Some(query) = next {
        let page = store.search(&query).await.expect("a search");
        found.extend(page.items.iter().map(|item| item.id));
        next = page.next;
    }
    found
}

async fn count(connection: &mut PgConnection, what: &'static str) -> i64 {
    sqlx::query_scalar(what).fetch_one(connection).await.expect("a count")
}

/// Waits until the count is that.
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_lie_in_partitions_that_are_made_ahead() {
    let (settings, mut connection) = database().await;
    let store = open(&settings).await;
    let now = SystemClock.now();
    let id = append(&store, event_now()).await;
    // Far off in either direction, and tomorrow.
    let past = append(&store, event_of(Timestamp::from_millis(7), 1)).await;
    let tomorrow = append(&store, event_of(now.after(DAY), 2)).await;
    let distant = append(&store, event_of(now.after(DAY * 4_000), 3)).await;

    const ELSEWHEN: &str = "SELECT count(*) FROM ploy.events_elsewhen";
    assert_eq!(count(&mut connection, ELSEWHEN).await, 2, "only what is far off is elsewhen");
    const AHEAD: &str = "SELECT count(*) FROM ploy.partitions
        WHERE from_ms > extract(epoch FROM now()) * 1000";
    assert!(count(&mut connection, AHEAD).await >= 2);
    assert_eq!(all(&store, EventQuery::all(WORKSPACE)).await, [distant, tomorrow, id, past]);
    for id in [id, past, tomorrow, distant] {
        let found = store.event(&WORKSPACE, &id).await.expect("a look-up");
        assert_eq!(found.map(|event| event.id), Some(id));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_older_than_the_retention_goes_with_its_partition() {
    let (mut settings, mut connection) = database().await;
    let store = open(&settings).await;
    let now = SystemClock.now();
    let young = append(&store, event_now()).await;
    // A partition of the past, as a store that is some days old has it.
    let old_from = now.as_millis() - 10 * 86_400_000;
    let bound = |millis: u64| {
        let id = EventId::least_at(Timestamp::from_millis(millis));
        id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let (low, high) = (bound(old_from), bound(old_from + 86_400_000));
    let made = format!(
        "CREATE TABLE ploy.events_old PARTITION OF ploy.events FOR VALUES FROM ('{low}') TO ('{high}');
         INSERT INTO ploy.partitions VALUES ('events_old', {old_from}, {old_from} + 86400000)"
    );
    sqlx::raw_sql(AssertSqlSafe(made)).execute(&mut connection).await.expect("it is made");
    let mut old = event_of(Timestamp::from_millis(old_from), 9);
    old.owes.push(NewRun {
        id: RunId::mint(now),
        trigger: Trigger::ploybook("enrich".parse().expect("it is a name")),
        delay: Duration::ZERO,
    });
    let old = append(&store, old).await;
    let older = append(&store, event_of(Timestamp::from_millis(9), 9)).await;
    assert_eq!(all(&store, EventQuery::all(WORKSPACE)).await, [young, old, older]);
    assert_eq!(store.runs(&WORKSPACE, &old).await.expect("runs").len(), 1);
    store.close().await;

    settings.retention = Some(5 * DAY);
    let store = open(&settings).await;
    const OLD: &str = "SELECT count(*) FROM pg_class WHERE relname = 'events_old'";
    await_count(&mut connection, OLD, 0).await;
    assert_eq!(all(&store, EventQuery::all(WORKSPACE)).await, [young]);
    assert_eq!(count(&mut connection, "SELECT count(*) FROM ploy.runs").await, 0);
    assert_eq!(count(&mut connection, "SELECT count(*) FROM ploy.open_runs").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_space_of_a_deleted_endpoint_is_freed() {
    let (settings, mut connection) = database().await;
    let store = open(&settings).await;
    let (stays, goes) = (make_endpoint(&store).await, make_endpoint(&store).await);
    for endpoint in [&stays, &goes] {
        for _ in 0..50 {
            let mut event = event_now();
            event.fence = Some(Fence { endpoint: endpoint.id, checked_at: Revision::FIRST });
            event.quota = Some(Quota { events: NonZeroU64::MAX, period_seconds: None });
            event.owes.push(NewRun {
                id: RunId::mint(SystemClock.now()),
                trigger: Trigger::ploybook("enrich".parse().expect("it is a name")),
                delay: Duration::ZERO,
            });
            append(&store, event).await;
        }
    }
    for endpoint in [&stays, &goes] {
        let observation = Observation {
            workspace: WORKSPACE,
            endpoint: endpoint.id,
            what: Observed::Refusal("unauthorized".into()),
            count: 50,
            last_at: SystemClock.now(),
        };
        store.observe(vec![observation]).await.expect("it is kept");
    }
    // Some have attempts.
    let worker = "test".parse().expect("it is a name");
    let lanes = Lanes::new(NonZeroU16::MAX);
    let max = NonZeroU16::new(64).expect("it is not zero");
    let claim = Claim { worker: &worker, max, lease: DAY, lanes: &lanes };
    for leased in store.claim(&claim).await.expect("a claim") {
        let after = Duration::ZERO;
        let outcome = Outcome::Retry { error: "no".to_owned(), after };
        let tenure = store.finish(&leased.lease, outcome).await.expect("an attempt ends");
        assert_eq!(tenure, Tenure::Held);
    }
    assert!(store.delete(&WORKSPACE, &goes.id).await.expect("a deletion"));
    await_count(&mut connection, "SELECT count(*) FROM ploy.purges", 0).await;
    for what in [
        "SELECT count(*) FROM ploy.events",
        "SELECT count(*) FROM ploy.runs",
        "SELECT sum(used)::bigint FROM ploy.quotas",
        "SELECT sum(count)::bigint FROM ploy.observed",
    ] {
        assert_eq!(count(&mut connection, what).await, 50, "{what}");
    }
    const ORPHANS: &str = "SELECT (SELECT count(*) FROM ploy.open_runs o
            WHERE NOT EXISTS (SELECT FROM ploy.runs r WHERE r.id = o.run))
        + (SELECT count(*) FROM ploy.attempts a
            WHERE NOT EXISTS (SELECT FROM ploy.runs r WHERE r.number = a.run))";
    assert_eq!(count(&mut connection, ORPHANS).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_keys_are_forgotten() {
    let (settings, mut connection) = database().await;
    let store = open(&settings).await;
    let mut event = event_now();
    event.dedup =
        Some(Dedup { key: DedupKey::from_bytes([1; 32]), window: Duration::from_millis(1) });
    append(&store, event).await;
    event_of_another_window(&store).await;
    // Batches that are under way may have looked at the clock before: so a key stays for a while.
    let old = "UPDATE ploy.dedup SET expires_at = expires_at - interval '1 hour'";
    sqlx::raw_sql(old).execute(&mut connection).await.expect("keys age");
    store.close().await;
    let _store = open(&settings).await;
    await_count(&mut connection, "SELECT count(*) FROM ploy.dedup", 1).await;
}

async fn event_of_another_window(store: &PostgresStore) {
    let mut event = event_now();
    event.dedup = Some(Dedup { key: DedupKey::from_bytes([2; 32]), window: DAY });
    append(store, event).await;
}

/// Every way to the events is by their index. The server itself says how it went.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_read_by_index() {
    let start = || {
        Postgres::start_with(&[
            ("session_preload_libraries", "auto_explain"),
            ("auto_explain.log_min_duration", "0"),
        ])
    };
    let server = tokio::task::spawn_blocking(start).await.expect("a server");
    let settings = PostgresSettings::from_url(server.url()).expect("a URL");
    let store = open(&settings).await;
    let endpoint = make_endpoint(&store).await;
    // Tables that have something in them, so that the plans are not those of empty ones.
    let appends = (0..4_000).map(|_| {
        let mut event = event_now();
        event.fence = Some(Fence { endpoint: endpoint.id, checked_at: Revision::FIRST });
        append(&store, event)
    });
    let ids = futures_util::future::join_all(appends).await;
    store.close().await;
    let mut connection = PgConnection::connect(server.url()).await.expect("a connection");
    sqlx::raw_sql("ANALYZE").execute(&mut connection).await.expect("statistics");

    let log = server.folder().join("log");
    let read_log = || std::fs::read_to_string(&log).expect("the server keeps a log");
    let before = read_log().len();
    let store = open(&settings).await;
    let searches: [fn(&mut EventQuery); 4] = [
        |_| {},
        |query| query.contains = Some(Needle::new("needle").expect("a needle")),
        |query| query.order = Order::Ascending,
        |query| query.to = Some(SystemClock.now().after(DAY)),
    ];
    for narrow in searches {
        for endpoint in [None, Some(endpoint.id)] {
            let mut query = EventQuery::all(WORKSPACE);
            query.endpoint = endpoint;
            narrow(&mut query);
            let found = store.search(&query).await.expect("a search").items.len();
            assert_eq!(found, query.limit.get());
        }
    }
    let found = store.event(&WORKSPACE, &ids[7]).await.expect("a look-up");
    assert_eq!(found.map(|event| event.id), Some(ids[7]));

    // Those of the future are empty, and a look at nothing is no scan.
    let partition: String = sqlx::query_scalar(
        "SELECT name FROM ploy.partitions
         WHERE from_ms <= extract(epoch FROM now()) * 1000 ORDER BY from_ms DESC LIMIT 1",
    )
    .fetch_one(&mut connection)
    .await
    .expect("there is a partition of the present");
    // An entry a statement: its further lines begin with a tab.
    let log = read_log()[before..].replace("\n\t", "\r");
    let plans: Vec<_> = log
        .lines()
        .filter(|entry| entry.contains("FROM events") || entry.contains("JOIN events"))
        .filter(|entry| entry.contains("plan:"))
        .collect();
    assert!(plans.len() >= 9, "{} of the statements were seen:\n{log}", plans.len());
    for plan in plans {
        let plan = plan.replace('\r', "\n");
        let scan = format!("Seq Scan on {partition}");
        assert!(!plan.contains(&scan), "this reads all of the events:\n{plan}");
        let index = format!("{partition}_stream_id_idx");
        assert!(plan.contains(&index), "this does not use the index of the events:\n{plan}");
    }
}
