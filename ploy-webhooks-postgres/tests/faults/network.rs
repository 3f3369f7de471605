//! A network that loses answers, breaks off, dawdles.

use std::num::NonZeroUsize;
use std::time::Duration;

use ploy_webhooks::NewEvent;
use ploy_webhooks::store::{Appended, EventStore, KeyStore, StoreErrorKind};
use ploy_webhooks_engines::{Postgres, Proxy};
use ploy_webhooks_postgres::{PostgresSettings, PostgresStore};

use super::load::Load;
use crate::scene::{
    Database, LONG, WORKSPACE, append, claim, event, everything, find, keyed, make_endpoint,
    new_run, open, published, rows, settings, soon, store_one, toggle, until,
};

/// A database by way of a proxy.
fn by_way_of(database: &Database) -> (Proxy, PostgresSettings) {
    let proxy = Proxy::start(Postgres::shared().address());
    let settings = settings(&proxy.url(&database.url));
    (proxy, settings)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_in_doubt_and_its_repeat_is_recognised() {
    let database = Database::new().await;
    let (proxy, mut settings) = by_way_of(&database);
    settings.append_timeout = Duration::from_secs(1);
    settings.writers = NonZeroUsize::MIN;
    let store = open(settings).await;
    store_one(&store, keyed(published("{}"), 0)).await;

    for key in 1..4 {
        let swallowed = proxy.swallowed();
        proxy.swallow_later_answers();
        let first = keyed(published(format!(r#"{{"key":{key}}}"#)), key);
        let error = append(&store, first.clone()).await.expect_err("the answer is swallowed");
        assert_eq!(error.kind(), StoreErrorKind::Indeterminate, "{error}");
        proxy.swallowed_beyond(swallowed).await;
        proxy.restore();

        let repeat = keyed(published(first.payload.clone()), key);
        let id = repeat.id;
        let told = match append(&store, repeat).await.expect("the network is back") {
            Appended::Stored => id,
            Appended::Duplicate(of) => {
                assert_eq!(of, first.id);
                of
            }
            Appended::Fenced(_) => panic!("an event without a fence is fenced"),
            Appended::OverQuota { .. } => panic!("no event has a quota"),
        };
        let rows = rows(&mut database.sql().await).await;
        let of_payload: Vec<_> = rows.iter().filter(|row| row.1 == first.payload).collect();
        assert_eq!(of_payload, [&(told, first.payload.clone())], "it is stored once");
        let kept = store.event(&WORKSPACE, &told).await.expect("a look-up");
        assert_eq!(kept.expect("it is found").payload, first.payload);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_breaks_off_again_and_again_loses_nothing() {
    let database = Database::new().await;
    let (proxy, settings) = by_way_of(&database);
    let store = open(settings).await;
    let load = Load::begin(&store);
    for _ in 0..10 {
        load.await_stored(100).await;
        proxy.cut();
        load.await_errors(32).await;
        proxy.restore();
    }
    load.await_stored(100).await;
    load.end(&mut database.sql().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_swallows_answers_again_and_again_loses_nothing() {
    let database = Database::new().await;
    let (proxy, mut settings) = by_way_of(&database);
    settings.append_timeout = Duration::from_secs(1);
    settings.connect_timeout = Duration::from_secs(2);
    let store = open(settings).await;
    let load = Load::begin(&store);
    for _ in 0..3 {
        load.await_stored(100).await;
        proxy.swallow_answers();
        load.await_errors(16).await;
        proxy.restore();
    }
    load.await_stored(100).await;
    load.end(&mut database.sql().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_network_is_slow_and_works() {
    let database = Database::new().await;
    let (proxy, settings) = by_way_of(&database);
    proxy.delay(Duration::from_millis(50));
    let store = open(settings).await;
    let endpoint = make_endpoint(&store).await;
    let mut expected = Vec::new();
    let events: Vec<_> = (0..100)
        .map(|key| {
            let event = keyed(event(&endpoint, "{}"), key);
            NewEvent { owes: vec![new_run()], ..event }
        })
        .collect();
    let appends = events.iter().map(|event| append(&store, event.clone()));
    for outcome in futures_util::future::join_all(appends).await {
        assert!(matches!(outcome, Ok(Appended::Stored)), "{outcome:?}");
    }
    expected.extend(events.iter().map(|event| event.id));
    expected.sort();
    assert_eq!(find(&store, everything()).await, expected);
    let mut claimed = 0;
    until("all runs are claimed", async || {
        claimed += claim(&store, 200, LONG).await.len();
        claimed == 100
    })
    .await;
    let changed = toggle(&store, &endpoint).await.expect("the endpoint is changed");
    let looked_up = store.endpoint(&endpoint.slug).await.expect("a look-up");
    assert_eq!(looked_up.as_deref(), Some(&changed));
    let late = append(&store, event(&endpoint, "{}")).await;
    assert!(matches!(late, Ok(Appended::Fenced(_))), "{late:?}");
    soon("the store closes", store.close()).await;
}

/// Wherever answers cease while a store opens, it says in bounded time that it cannot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_whose_network_swallows_everything_does_not_open_and_says_so() {
    // To begin with, and by the statements that come one after the other. Those that make the
    // tables are given minutes, since other nodes may be at it.
    let requests: [&[u8]; 5] = [
        b"",
        b"server_version_num",
        b"INSERT INTO partitions",
        b"FROM streams",
        b"INSERT INTO streams",
    ];
    for request in requests {
        let database = Database::new().await;
        let (proxy, patient) = by_way_of(&database);
        let mut settings = patient.clone();
        settings.connect_timeout = Duration::from_secs(1);
        settings.append_timeout = Duration::from_secs(1);
        settings.call_timeout = Duration::from_secs(1);
        proxy.swallow_answers_to(request);
        let what = format!("opening, without answers from {:?} on", str::from_utf8(request));
        let opened = soon(&what, PostgresStore::open(settings)).await;
        let error = opened.expect_err("nothing is answered");
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{what}: {error}");
        proxy.restore();
        let store = open(patient).await;
        store_one(&store, published("{}")).await;
    }
}
