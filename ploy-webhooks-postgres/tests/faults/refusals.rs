//! Servers that do not give what the store promises, and those that take no writes.

use std::time::Duration;

use ploy_webhooks::store::{Appended, EventStore, StoreErrorKind};
use ploy_webhooks::{Clock, EventId, NewEvent, SystemClock};
use ploy_webhooks_engines::Postgres;
use ploy_webhooks_postgres::{Durability, PostgresStore};
use sqlx::PgConnection;

use crate::scene::{
    Database, WORKSPACE, append, connect, count, event, everything, find, make_endpoint, open,
    published, run, settings, soon, store_one, toggle, until,
};

/// The store is refused with that setting's name, unless it is said to be meant.
async fn is_refused_for(url: &str, setting: &str) {
    let opened = soon("opening", PostgresStore::open(settings(url))).await;
    let error = opened.expect_err(setting);
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
    assert!(error.to_string().contains(setting), "{error}");
    let mut meant = settings(url);
    meant.durability = Durability::AsConfigured;
    let store = open(meant).await;
    store_one(&store, published("{}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_flush_is_refused() {
    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        let postgres = Postgres::start_with(&[(setting, "off")]);
        is_refused_for(&postgres.database(), setting).await;
    }
}

/// It is each session's own: what a database or a user is given counts as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_whose_commits_are_not_waited_for_is_refused() {
    let database = Database::new().await;
    alter(&mut database.sql().await, "SET synchronous_commit = off").await;
    is_refused_for(&database.url, "synchronous_commit").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_whose_commits_are_not_waited_for_is_refused() {
    let postgres = Postgres::start();
    let url = postgres.database();
    run(&mut connect(&url).await, "ALTER ROLE postgres SET synchronous_commit = off").await;
    is_refused_for(&url, "synchronous_commit").await;
}

async fn alter(sql: &mut PgConnection, what: &str) {
    let alter = format!(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I {what}', current_database()); END $$"
    );
    run(sql, &alter).await;
}

async fn end_sessions(sql: &mut PgConnection) {
    const END_ALL: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'ploy-webhooks'";
    run(sql, END_ALL).await;
    const LEFT: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND application_name = 'ploy-webhooks' AND query LIKE '%append%'";
    until("the writers' sessions end", async || count(sql, LEFT).await == 0).await;
}

/// Refused, and known to be: after what was under way when the sessions ended.
async fn await_refusals(store: &PostgresStore) -> Vec<EventId> {
    let mut refused = Vec::new();
    until("events are refused", async || {
        let event = published("{}");
        let id = event.id;
        let error = append(store, event).await.expect_err("it takes no writes");
        match error.kind() {
            StoreErrorKind::Indeterminate => {}
            StoreErrorKind::Unavailable => refused.push(id),
            kind => panic!("what takes no writes for now is {kind:?}: {error}"),
        }
        refused.len() >= 4
    })
    .await;
    refused
}

/// Stores an event once the store goes on. A writer that had nothing to write may learn only by
/// this that its session has ended.
async fn go_on(store: &PostgresStore, event: NewEvent) -> EventId {
    let id = event.id;
    until("the store goes on", async || match append(store, event.clone()).await {
        Ok(Appended::Stored) => true,
        Err(error) if error.kind() == StoreErrorKind::Indeterminate => false,
        other => panic!("the event should have been stored, and the store says {other:?}"),
    })
    .await;
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_set_to_read_only_is_unavailable_until_it_is_not() {
    let database = Database::new().await;
    let store = database.node().await;
    let endpoint = make_endpoint(&store).await;
    store_one(&store, event(&endpoint, "{}")).await;
    let mut sql = database.sql().await;
    alter(&mut sql, "SET default_transaction_read_only = on").await;
    end_sessions(&mut sql).await;

    let refused = await_refusals(&store).await;
    until("a change is refused for certain", async || {
        let error = toggle(&store, &endpoint).await.expect_err("it takes no writes");
        match error.kind() {
            StoreErrorKind::Indeterminate => false,
            StoreErrorKind::Unavailable => true,
            kind => panic!("what takes no writes for now is {kind:?}: {error}"),
        }
    })
    .await;
    let opened = soon("opening", PostgresStore::open(database.settings())).await;
    let error = opened.expect_err("it takes no writes");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");

    alter(&mut sql, "RESET default_transaction_read_only").await;
    let after = go_on(&store, event(&endpoint, "{}")).await;
    toggle(&store, &endpoint).await.expect("changes go on");
    assert!(store.event(&WORKSPACE, &after).await.expect("a look-up").is_some());
    for id in refused {
        assert!(store.event(&WORKSPACE, &id).await.expect("a look-up").is_none(), "{id}");
    }
}

/// What a failover looks like to a node: the server comes back as a standby, and is promoted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_unavailable_until_it_is_promoted() {
    let postgres = Postgres::start();
    let url = postgres.database();
    let store = open(settings(&url)).await;
    let before = store_one(&store, published("{}")).await;
    let signal = postgres.folder().join("data/standby.signal");
    let make = format!("COPY (SELECT 1) TO '{}'", signal.display());
    run(&mut connect(&url).await, &make).await;
    postgres.stop();
    postgres.restart();

    let refused = await_refusals(&store).await;
    let opened = soon("opening", PostgresStore::open(settings(&url))).await;
    let error = opened.expect_err("it is a standby");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("standby"), "{error}");
    assert_eq!(find(&store, everything()).await, [before], "what is there can be read");

    run(&mut connect(&url).await, "SELECT pg_promote()").await;
    let after = go_on(&store, published("{}")).await;
    assert_eq!(find(&store, everything()).await, [before, after]);
    assert_eq!(refused.len(), 4);
}

/// An event from a clock that is ahead lies where a partition is still to be made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_from_a_clock_that_is_ahead_does_not_keep_the_store_from_opening() {
    const DAY: Duration = Duration::from_secs(86_400);
    let database = Database::new().await;
    let store = database.node().await;
    let ahead = SystemClock.now().after(20 * DAY);
    let mut early = published("{}");
    // Not minted, since what is minted later would come after it.
    early.id = EventId::least_at(ahead);
    let early = store_one(&store, early).await;
    let now = store_one(&store, published("{}")).await;
    soon("the store closes", store.close()).await;

    // As if the time had come: partitions are made up to there.
    let mut settings = database.settings();
    settings.partition_span = 30 * DAY;
    let store = open(settings).await;
    assert_eq!(find(&store, everything()).await, [now, early]);
    assert_eq!(store.event(&WORKSPACE, &early).await.expect("a look-up").expect("it").id, early);
    let lying = "SELECT count(*) FROM ploy.events_elsewhen";
    assert_eq!(count(&mut database.sql().await, lying).await, 0, "it lies with its time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_not_in_utf8_is_refused() {
    let database = Database::new().await;
    let name = format!("latin_{:016x}", fastrand::u64(..));
    let create = format!("CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    run(&mut database.sql().await, &create).await;
    let (server, _) = database.url.rsplit_once('/').expect("a URL with a database");
    let opened = soon("opening", PostgresStore::open(settings(&format!("{server}/{name}")))).await;
    let error = opened.expect_err("it is refused");
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
    assert!(error.to_string().contains("LATIN1"), "{error}");
}
