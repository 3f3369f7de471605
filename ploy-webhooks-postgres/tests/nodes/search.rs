//! Searches on one node of what another one stores.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use ploy_webhooks::store::Needle;
use ploy_webhooks::{Endpoint, EventId};
use ploy_webhooks_postgres::{PostgresSettings, PostgresStore};
use sqlx::PgConnection;
use tokio::task::JoinSet;

use super::vanishing::Vanishing;
use crate::scene::{
    Database, count, event, everything, find, make_endpoint, open, published, soon, store_one,
    until,
};

const TASKS: usize = 4;
const EVENTS_A_TASK: usize = 80;
/// With the number of events, more text than a segment has.
const TEXT_BYTES: usize = 16 << 10;
const SEGMENTS: &str = "SELECT count(*) FROM ploy.segments";
const TAILS: &str = "SELECT count(*) FROM ploy.streams WHERE tail_from IS NOT NULL";

/// One writer, so that all text makes one stream's segments.
fn settings(database: &Database) -> PostgresSettings {
    let mut settings = database.settings();
    settings.writers = NonZeroUsize::MIN;
    settings
}

/// What was stored, by a word that stands in its payload alone.
type Stored = BTreeMap<String, EventId>;

fn payload(word: &str) -> String {
    let text: String = std::iter::repeat_with(fastrand::alphanumeric).take(TEXT_BYTES).collect();
    format!(r#"{{"text":"{text}","word":"{word}"}}"#)
}

/// Stores events in pieces, from several tasks; half of them an endpoint's.
async fn store_many(store: Arc<PostgresStore>, endpoint: Endpoint) -> Stored {
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (store, endpoint) = (store.clone(), endpoint.clone());
        tasks.spawn(async move {
            let mut stored = Stored::new();
            for number in 0..EVENTS_A_TASK {
                let word = format!("<{task}-{number}-{:08x}>", fastrand::u32(..));
                let event = match number % 2 {
                    0 => event(&endpoint, payload(&word)),
                    _ => published(payload(&word)),
                };
                stored.insert(word, store_one(&store, event).await);
            }
            stored
        });
    }
    let mut stored = Stored::new();
    while let Some(some) = soon("events are stored", tasks.join_next()).await {
        stored.extend(some.expect("no append fails"));
    }
    stored
}

/// Everything is found once, by listing and by its word.
async fn assert_finds(store: &PostgresStore, stored: &Stored) {
    let mut ids: Vec<_> = stored.values().copied().collect();
    ids.sort();
    let found = find(store, everything()).await;
    let missing: Vec<_> = ids.iter().filter(|id| found.binary_search(id).is_err()).collect();
    assert!(missing.is_empty(), "not found: {missing:?}");
    assert_eq!(found, ids, "more is found than was stored");
    // Each of them would take long.
    for (word, id) in stored.iter().step_by(41) {
        assert_eq!(find_word(store, word).await, [*id], "{word}");
    }
}

async fn find_word(store: &PostgresStore, word: &str) -> Vec<EventId> {
    let mut query = everything();
    query.contains = Some(Needle::new(word).expect("it is short"));
    find(store, query).await
}

async fn await_segments(sql: &mut PgConnection) {
    until("segments are written", async || count(sql, SEGMENTS).await > 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_has_stored_another_finds_at_once() {
    let database = Database::new().await;
    let (storing, searching) = (open(settings(&database)).await, database.node().await);
    let endpoint = make_endpoint(&storing).await;
    let mut tasks = JoinSet::new();
    // What comes beside lets the tails grow and segments be sealed, while it is searched.
    let load = tokio::spawn(store_many(storing.clone(), endpoint.clone()));
    for task in 0..TASKS {
        let (storing, searching) = (storing.clone(), searching.clone());
        let load = load.abort_handle();
        let endpoint = endpoint.clone();
        tasks.spawn(async move {
            let mut searches = 0;
            while searches < 10 || !load.is_finished() {
                let word = format!("[{task}-{searches}-{:08x}]", fastrand::u32(..));
                let id = store_one(&storing, event(&endpoint, payload(&word))).await;
                assert_eq!(
                    find_word(&searching, &word).await,
                    [id],
                    "stored and not found: {word}"
                );
                let mut query = everything();
                query.endpoint = Some(endpoint.id);
                let listed = find(&searching, query).await;
                assert!(listed.binary_search(&id).is_ok(), "stored and not listed: {id}");
                searches += 1;
            }
        });
    }
    while let Some(done) = soon("the searches end", tasks.join_next()).await {
        done.expect("everything is found");
    }
    soon("the load ends", load).await.expect("no append fails");
    await_segments(&mut database.sql().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_closed_leaves_no_tail() {
    let database = Database::new().await;
    let (storing, searching) = (open(settings(&database)).await, database.node().await);
    let mut sql = database.sql().await;
    let endpoint = make_endpoint(&storing).await;
    let stored = store_many(storing.clone(), endpoint).await;
    assert!(count(&mut sql, TAILS).await > 0, "there is a tail to be sealed");
    assert_finds(&searching, &stored).await;

    soon("the node closes", storing.close()).await;
    assert_eq!(count(&mut sql, TAILS).await, 0, "a node that has closed left a tail");
    assert!(count(&mut sql, SEGMENTS).await > 0);
    assert_finds(&searching, &stored).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_left_unindexed_is_found_and_taken_over_by_the_next() {
    let database = Database::new().await;
    let mut sql = database.sql().await;
    let gone = Vanishing::open(settings(&database), &mut sql).await;
    let searching = database.node().await;
    let endpoint = make_endpoint(&searching).await;
    let mut stored = gone.run(|gone| store_many(gone, endpoint.clone())).await;
    await_segments(&mut sql).await;
    assert_finds(&searching, &stored).await;
    gone.vanish(&mut sql).await;
    assert!(count(&mut sql, TAILS).await > 0, "it left something unindexed");
    assert_finds(&searching, &stored).await;

    // It takes the first streams that nobody has: those that were left.
    let next = open(settings(&database)).await;
    assert_eq!(count(&mut sql, "SELECT count(*) FROM ploy.streams").await, 2);
    assert_finds(&next, &stored).await;
    assert_finds(&searching, &stored).await;
    stored.extend(store_many(next.clone(), endpoint).await);
    assert_finds(&next, &stored).await;
    assert_finds(&searching, &stored).await;
    soon("the node closes", next.close()).await;
    assert_eq!(count(&mut sql, TAILS).await, 0, "what it took over is sealed, too");
    assert_finds(&searching, &stored).await;
}

/// A node may not know yet that it has lost its stream: nothing tells a writer that has nothing
/// to write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_stream_unawares_finds_what_its_next_holder_stores() {
    let database = Database::new().await;
    let unaware = open(settings(&database)).await;
    let mut sql = database.sql().await;
    const END_WRITERS: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks
        WHERE locktype = 'advisory' AND classid = 1886154618 AND mode = 'ExclusiveLock'
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    const HELD: &str = "SELECT count(*) FROM pg_locks
        WHERE locktype = 'advisory' AND classid = 1886154618 AND mode = 'ExclusiveLock'
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert!(count(&mut sql, END_WRITERS).await >= 1);
    until("the stream is free", async || count(&mut sql, HELD).await == 0).await;

    let holder = open(settings(&database)).await;
    let stored = store_one(&holder, published(payload("<needle>"))).await;
    assert_eq!(count(&mut sql, "SELECT count(*) FROM ploy.streams").await, 1);
    let mut query = everything();
    query.contains = Some(Needle::new("<needle>").expect("a needle"));
    assert_eq!(find(&unaware, query).await, [stored]);
}
