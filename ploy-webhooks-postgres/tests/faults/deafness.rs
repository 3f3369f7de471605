//! Connections that go deaf one by one, as behind a firewall that forgets them: nothing arrives any
//! more, nobody is told, and only new ones work.

use std::time::Duration;

use ploy_webhooks::store::{EventStore, KeyStore, Needle, StoreErrorKind};
use ploy_webhooks_engines::{Postgres, Proxy};
use ploy_webhooks_postgres::{EndpointChange, PostgresSettings};

use crate::scene::{
    Database, WORKSPACE, endpoint, everything, find, make_endpoint, open, published, settings,
    soon, store_one, toggle, until,
};

/// Makes deaf what sends that from now on, and leaves deaf what is.
const NOTHING_IS_SENT_LIKE_THIS: &[u8] = b"\0\0nothing is sent like this\0\0";

fn by_way_of(database: &Database) -> (Proxy, PostgresSettings) {
    let proxy = Proxy::start(Postgres::shared().address());
    let mut settings = settings(&proxy.url(&database.url));
    settings.append_timeout = Duration::from_secs(1);
    settings.call_timeout = Duration::from_secs(1);
    (proxy, settings)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_go_deaf_under_way_are_replaced() {
    let database = Database::new().await;
    let (proxy, settings) = by_way_of(&database);
    let readers = settings.readers_max;
    let store = open(settings).await;
    let known = make_endpoint(&store).await;
    let deafening = endpoint().slug;
    proxy.swallow_answers_to(deafening.as_str().as_bytes());
    // As many as there are, and more.
    for _ in 0..readers + 2 {
        let looked_up = soon("a look-up is given up", store.endpoint(&deafening)).await;
        let error = looked_up.expect_err("its answer is swallowed");
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    }
    until("look-ups go on", async || store.endpoint(&known.slug).await.is_ok()).await;
    toggle(&store, &known).await.expect("changes go on");
    soon("the store closes", store.close()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_give_up_on_deaf_connections_leave_the_store_usable() {
    let database = Database::new().await;
    let (proxy, mut settings) = by_way_of(&database);
    settings.call_timeout = Duration::from_secs(600);
    settings.connect_timeout = Duration::from_secs(2);
    let readers = settings.readers_max;
    let store = open(settings).await;
    let known = make_endpoint(&store).await;
    let deafening = endpoint().slug;
    proxy.swallow_answers_to(deafening.as_str().as_bytes());
    for _ in 0..readers {
        let swallowed = proxy.swallowed();
        tokio::select! {
            _ = store.endpoint(&deafening) => panic!("its answer is swallowed"),
            _ = proxy.swallowed_beyond(swallowed) => {}
        }
    }
    until("look-ups go on", async || store.endpoint(&known.slug).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_has_gone_deaf_is_replaced() {
    let database = Database::new().await;
    let (proxy, mut settings) = by_way_of(&database);
    settings.connect_timeout = Duration::from_secs(2);
    // Its first connection does not even hear that it listens.
    proxy.swallow_answers_to(b"LISTEN");
    let (listening, changing) = (open(settings).await, database.node().await);
    proxy.swallowed_beyond(0).await;
    proxy.swallow_answers_to(NOTHING_IS_SENT_LIKE_THIS);

    let mut changes = listening.endpoint_changes();
    let mut endpoint = make_endpoint(&changing).await;
    let wanted = EndpointChange::Of(endpoint.slug.clone());
    until("it listens", async || {
        endpoint = toggle(&changing, &endpoint).await.expect("it is changed");
        let heard = async { while changes.next().await.as_ref() != Some(&wanted) {} };
        tokio::time::timeout(Duration::from_millis(200), heard).await.is_ok()
    })
    .await;

    // The next one goes deaf amid listening: at the question whether it still hears.
    let swallowed = proxy.swallowed();
    proxy.swallow_answers_to(b"SELECT 1");
    proxy.swallowed_beyond(swallowed).await;
    proxy.swallow_answers_to(NOTHING_IS_SENT_LIKE_THIS);
    until("it listens again", async || {
        endpoint = toggle(&changing, &endpoint).await.expect("it is changed");
        let heard = async { while changes.next().await.as_ref() != Some(&wanted) {} };
        tokio::time::timeout(Duration::from_millis(200), heard).await.is_ok()
    })
    .await;
    soon("the store closes", listening.close()).await;
}

/// The index is built behind the writes; it must not stop for good, nor anything wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_indexer_whose_connection_goes_deaf_goes_on_over_another() {
    let database = Database::new().await;
    let (proxy, mut settings) = by_way_of(&database);
    settings.append_timeout = Duration::from_secs(10);
    settings.writers = std::num::NonZeroUsize::MIN;
    let store = open(settings).await;
    // The segment is written, and its indexer does not hear of it: only it uses transactions.
    proxy.swallow_answers_to(b"COMMIT");
    let text = "a needle and much hay ".repeat(6_000);
    let mut stored = Vec::new();
    while proxy.swallowed() == 0 {
        stored.push(store_one(&store, published(format!(r#"{{"text":"{text}"}}"#))).await);
    }
    proxy.swallow_answers_to(NOTHING_IS_SENT_LIKE_THIS);
    let mut query = everything();
    query.contains = Some(Needle::new("NEEDLE").expect("it is short"));
    assert_eq!(find(&store, query.clone()).await, stored);

    const SEALED: &str = "SELECT count(DISTINCT number) FROM ploy.segments s
        WHERE EXISTS (SELECT FROM ploy.streams t WHERE t.tail_from IS NULL OR t.tail_from > s.max_id)";
    let mut sql = database.sql().await;
    until("the segment is written, and the tail is short", async || {
        // A tail is shortened when there is something to tell.
        stored.push(store_one(&store, published("{}")).await);
        crate::scene::count(&mut sql, SEALED).await > 0
    })
    .await;
    assert_eq!(find(&store, everything()).await, stored);
    soon("the store closes", store.close()).await;
    assert!(store.event(&WORKSPACE, &stored[0]).await.is_err(), "it is closed");
}
