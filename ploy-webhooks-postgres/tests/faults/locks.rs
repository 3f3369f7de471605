//! Neighbours in the database that hold what the store needs.

use std::pin::pin;
use std::time::Duration;

use ploy_webhooks::EventId;
use ploy_webhooks::store::{Appended, EndpointStore, EventStore, StoreErrorKind};
use ploy_webhooks_engines::{Postgres, Proxy};

use super::load::Load;
use crate::scene::{
    Database, WORKSPACE, append, count, event, make_endpoint, open, published, rows, run, settings,
    store_one, toggle, until,
};

/// Appends fail while that is held, and what they would have stored is not there.
async fn while_held(statement: &str) {
    let database = Database::new().await;
    let mut settings = database.settings();
    settings.append_timeout = Duration::from_secs(1);
    let store = open(settings).await;
    let endpoint = make_endpoint(&store).await;
    let before = store_one(&store, event(&endpoint, "{}")).await;

    let mut other = database.sql().await;
    run(&mut other, &format!("BEGIN; {statement}")).await;
    for _ in 0..2 {
        let appends = (0..8).map(|_| append(&store, event(&endpoint, "{}")));
        for outcome in futures_util::future::join_all(appends).await {
            let error = outcome.expect_err("the lock is held");
            assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
        }
    }
    run(&mut other, "COMMIT").await;
    let after = store_one(&store, event(&endpoint, "{}")).await;
    let there: Vec<EventId> = rows(&mut other).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(there, [before, after], "what was refused is not there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_are_refused_while_another_session_locks_the_events() {
    while_held("LOCK TABLE ploy.events IN ACCESS EXCLUSIVE MODE").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_are_refused_while_another_session_locks_the_endpoints() {
    while_held("LOCK TABLE ploy.endpoints IN ACCESS EXCLUSIVE MODE").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_are_refused_while_another_session_holds_the_streams() {
    while_held("SELECT FROM ploy.streams FOR UPDATE; LOCK TABLE ploy.events IN SHARE MODE").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_goes_on_when_a_lock_is_released() {
    let database = Database::new().await;
    let mut settings = database.settings();
    settings.append_timeout = Duration::from_secs(1);
    let store = open(settings).await;
    let mut other = database.sql().await;
    let load = Load::begin(&store);
    for _ in 0..2 {
        load.await_stored(200).await;
        run(&mut other, "BEGIN; LOCK TABLE ploy.events IN ACCESS EXCLUSIVE MODE").await;
        load.await_errors(32).await;
        run(&mut other, "COMMIT").await;
    }
    load.await_stored(200).await;
    load.end(&mut other).await;
}

/// A node that is cut off amid a change holds everybody's appends up no longer than a batch may
/// take, whatever it would wait itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_whose_node_is_cut_off_does_not_hold_appends_up_for_good() {
    let database = Database::new().await;
    let proxy = Proxy::start(Postgres::shared().address());
    let mut cut_off = settings(&proxy.url(&database.url));
    cut_off.append_timeout = Duration::from_secs(2);
    cut_off.call_timeout = Duration::from_secs(600);
    let (cut_off, appending) = (open(cut_off).await, database.node().await);
    let endpoint = make_endpoint(&cut_off).await;
    store_one(&appending, event(&endpoint, "{}")).await;

    // The lock is taken, and the node does not hear of it: so is its first number sent.
    proxy.swallow_answers_to(b"\0\0\0\x04ploy\0\0\0\x04");
    let mut change = pin!(toggle(&cut_off, &endpoint));
    tokio::select! {
        changed = &mut change => panic!("it hears nothing, and says {changed:?}"),
        _ = proxy.swallowed_beyond(0) => {}
    }
    const LOCKED: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted
        AND classid = 1886154617 AND mode = 'ExclusiveLock'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(count(&mut database.sql().await, LOCKED).await, 1, "the lock is taken");
    until("appends go on", async || match append(&appending, event(&endpoint, "{}")).await {
        Ok(Appended::Stored) => true,
        Ok(other) => panic!("the change was not made, and an event is {other:?}"),
        Err(error) => {
            assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
            false
        }
    })
    .await;
    let stands = appending.endpoint_by_id(&WORKSPACE, &endpoint.id).await.expect("a look-up");
    assert_eq!(stands.expect("it is there").revision, endpoint.revision);
    // The node itself goes on as well.
    proxy.restore();
    let error = change.await.expect_err("its connection is closed");
    assert_eq!(error.kind(), StoreErrorKind::Indeterminate, "{error}");
    toggle(&cut_off, &endpoint).await.expect("the network is back");
    let id = store_one(&cut_off, published("{}")).await;
    assert!(appending.event(&WORKSPACE, &id).await.expect("a look-up").is_some());
}
