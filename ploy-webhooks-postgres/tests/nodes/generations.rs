//! Deduplication keys in several generations, which nodes seal and forget beside each other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ploy_webhooks::store::{Appended, Created, EndpointStore};
use ploy_webhooks::{Dedup, EventId, NewEvent};
use ploy_webhooks_postgres::{PostgresSettings, PostgresStore};
use sqlx::PgConnection;
use tokio::task::JoinSet;

use crate::scene::{
    Database, WORKSPACE, append, count, event, keyed, make_endpoint, open, published, rows, run,
    soon, store_one, until,
};

const SEALED: &str = "SELECT count(*) FROM ploy.generations WHERE seal IS NOT NULL";
const SEAL: &str = "SELECT ploy.seal_generation(max(number)) FROM ploy.generations";

/// A generation is full with its first key, so that nodes seal as fast as they can.
fn tiny(database: &Database) -> PostgresSettings {
    let mut settings = database.settings();
    settings.key_generation_bytes = 1;
    settings
}

/// No filters: what is sealed is looked up.
fn without_filters(settings: PostgresSettings) -> PostgresSettings {
    let mut settings = settings;
    settings.key_filter_bytes_max = 0;
    settings
}

async fn seal(sql: &mut PgConnection) {
    run(sql, &format!("SET search_path = ploy; {SEAL}")).await;
}

/// Appends and says who has the key.
async fn told(store: &PostgresStore, event: NewEvent) -> Appended {
    append(store, event).await.expect("an append does not fail")
}

async fn assert_repeats(store: &PostgresStore, key: u64, first: EventId) {
    let told = told(store, keyed(published("{}"), key)).await;
    assert!(matches!(told, Appended::Duplicate(id) if id == first), "key {key}: {told:?}");
}

/// Returns once that node has filters of all that is sealed.
async fn until_filtered(sql: &mut PgConnection, store: &Arc<PostgresStore>) {
    // A node names its filters with each batch. What it says is seen by a guard in the tables.
    run(
        sql,
        "CREATE TABLE IF NOT EXISTS ploy.covered (seals int NOT NULL);
         ALTER FUNCTION ploy.take_keys RENAME TO take_keys_unseen;
         CREATE FUNCTION ploy.take_keys(timestamptz, bigint[], uuid[], smallint[], int[], uuid[],
             bigint[], uuid[], uuid[], int[], int[], OUT repeats int[], OUT firsts uuid[],
             OUT newest bigint, OUT bytes bigint, OUT slot smallint) LANGUAGE plpgsql AS $$
         BEGIN
             INSERT INTO ploy.covered SELECT count(*) FROM ploy.generations g
             WHERE g.seal = ANY ($8);
             SELECT t.repeats, t.firsts, t.newest, t.bytes, t.slot
             INTO repeats, firsts, newest, bytes, slot
             FROM ploy.take_keys_unseen($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) AS t;
         END $$",
    )
    .await;
    let mut key = 1 << 40;
    until("a node has filters of all that is sealed", async || {
        key += 1;
        drop(told(store, keyed(published("{}"), key)).await);
        count(sql, SEALED).await == count(sql, "SELECT max(seals)::bigint FROM ploy.covered").await
    })
    .await;
    run(
        sql,
        "DROP TABLE ploy.covered;
         DROP FUNCTION ploy.take_keys;
         ALTER FUNCTION ploy.take_keys_unseen RENAME TO take_keys",
    )
    .await;
}

/// Each key comes to each node again and again, in batches that overlap in all ways, while both
/// nodes seal: one has filters, the other has none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_repeats_across_generations_exactly_one_is_stored() {
    const ROUNDS: u64 = 40;
    const KEYS: u64 = 25;
    let database = Database::new().await;
    let nodes = [open(tiny(&database)).await, open(without_filters(tiny(&database))).await];
    let endpoint = make_endpoint(&nodes[0]).await;
    let mut stored: BTreeMap<u64, EventId> = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut tasks = JoinSet::new();
        for number in 0..8 {
            let (store, endpoint) = (nodes[number % 2].clone(), endpoint.clone());
            tasks.spawn(async move {
                // New ones of this round, and those of all rounds before.
                let new = round * KEYS..(round + 1) * KEYS;
                let old = (0..KEYS).map(|_| fastrand::u64(0..(round + 1) * KEYS));
                let mut keys: Vec<u64> = new.chain(old).collect();
                fastrand::shuffle(&mut keys);
                let appends = keys.into_iter().map(async |key| {
                    let event = match key % 2 {
                        0 => event(&endpoint, "{}"),
                        _ => published("{}"),
                    };
                    let id = event.id;
                    (key, id, told(&store, keyed(event, key)).await)
                });
                futures_util::future::join_all(appends).await
            });
        }
        let mut repeats = Vec::new();
        while let Some(outcomes) = soon("the appends end", tasks.join_next()).await {
            for (key, id, outcome) in outcomes.expect("no append panics") {
                match outcome {
                    Appended::Stored => {
                        let before = stored.insert(key, id);
                        assert_eq!(before, None, "two events of key {key} are stored");
                    }
                    Appended::Duplicate(first) => repeats.push((key, first)),
                    other => panic!("nobody changed the endpoint, nor has it a quota: {other:?}"),
                }
            }
        }
        for (key, first) in repeats {
            assert_eq!(stored[&key], first, "a repeat was told another event than its first");
        }
    }
    let mut sql = database.sql().await;
    let sealed = count(&mut sql, SEALED).await;
    assert!(sealed > 3, "{sealed} generations were sealed meanwhile");
    assert_eq!(rows(&mut sql).await.len() as u64, ROUNDS * KEYS);
}

/// Whether a node has read it or not, and whether it was there when it was sealed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sealed_is_repeated_on_every_node() {
    let database = Database::new().await;
    let node = database.node().await;
    let mut sql = database.sql().await;
    let mut firsts = Vec::new();
    for key in 0..6 {
        firsts.push(store_one(&node, keyed(published("{}"), key)).await);
        seal(&mut sql).await;
    }
    assert_eq!(count(&mut sql, SEALED).await, 6);
    let plain = open(without_filters(database.settings())).await;
    let later = database.node().await;
    // In one batch with those that are new.
    let all = (0..12).map(|key| told(&plain, keyed(published("{}"), key)));
    let all = futures_util::future::join_all(all).await;
    let repeated = all.iter().filter(|told| matches!(told, Appended::Duplicate(_))).count();
    assert_eq!(repeated, 6, "{all:?}");
    for store in [&node, &plain, &later] {
        for (key, first) in (0..).zip(&firsts) {
            assert_repeats(store, key, *first).await;
        }
    }
    for store in [&node, &later] {
        until_filtered(&mut sql, store).await;
        for (key, first) in (0..).zip(&firsts) {
            assert_repeats(store, key, *first).await;
        }
    }
    soon("a store closes", later.close()).await;
    let again = database.node().await;
    for (key, first) in (0..).zip(&firsts) {
        assert_repeats(&again, key, *first).await;
    }
}

/// A batch that holds the generations is waited for, and one that comes later sees what it wrote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_goes_into_a_generation_that_is_sealed() {
    let database = Database::new().await;
    let store = database.node().await;
    let (mut slow, mut sql) = (database.sql().await, database.sql().await);
    // A batch amid its transaction.
    run(&mut slow, "SET search_path = ploy; BEGIN; SELECT hold_generations()").await;
    let sealing = tokio::spawn(async move {
        seal_patiently(&mut sql).await;
        sql
    });
    let mut watch = database.sql().await;
    until("the seal waits", async || {
        let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
            AND classid = 1886154621
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        count(&mut watch, waiting).await == 1
    })
    .await;
    let first = keyed(published("{}"), 7);
    let id = first.id;
    let behind = tokio::spawn({
        let store = store.clone();
        async move { told(&store, first).await }
    });
    assert_eq!(count(&mut watch, SEALED).await, 0);
    run(&mut slow, "COMMIT").await;
    let mut sql = soon("the seal ends", sealing).await.expect("it does not panic");
    let told = soon("the append ends", behind).await.expect("it does not panic");
    assert!(matches!(told, Appended::Stored), "{told:?}");
    let sealed = "SELECT count(*) FROM ploy.dedup JOIN ploy.generations USING (slot)
        WHERE seal IS NOT NULL";
    assert_eq!(count(&mut sql, sealed).await, 0);
    assert_repeats(&store, 7, id).await;
}

/// Without the time-out, which is for the appends behind.
async fn seal_patiently(sql: &mut PgConnection) {
    run(sql, "ALTER FUNCTION ploy.seal_generation RESET lock_timeout").await;
    seal(sql).await;
}

/// A window that is over in a sealed generation is raced for anew, and what comes of it counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_key_of_a_sealed_generation_is_taken_once() {
    let database = Database::new().await;
    let nodes = [database.node().await, open(without_filters(database.settings())).await];
    let mut sql = database.sql().await;
    let short = |key| {
        let event = keyed(published("{}"), key);
        let dedup = event.dedup.map(|dedup| Dedup { window: Duration::from_millis(1), ..dedup });
        NewEvent { dedup, ..event }
    };
    store_one(&nodes[0], short(1)).await;
    let lasting = store_one(&nodes[0], keyed(published("{}"), 2)).await;
    seal(&mut sql).await;
    until_filtered(&mut sql, &nodes[0]).await;
    until("the window is over", async || {
        let live = "SELECT count(*) FROM ploy.dedup WHERE slot = 1 AND expires_at > now()";
        count(&mut sql, live).await == 1
    })
    .await;
    let again = nodes.iter().cycle().take(16).map(|node| told(node, keyed(published("{}"), 1)));
    let outcomes = futures_util::future::join_all(again).await;
    let stored = outcomes.iter().filter(|told| matches!(told, Appended::Stored)).count();
    assert_eq!(stored, 1, "{outcomes:?}");
    // The new first is in the newest, and goes on to count when that is sealed.
    let newest = "SELECT count(*) FROM ploy.dedup WHERE slot = 2 AND expires_at > now()";
    assert!(count(&mut sql, newest).await >= 1);
    seal(&mut sql).await;
    for node in &nodes {
        let told = told(node, keyed(published("{}"), 1)).await;
        assert!(matches!(told, Appended::Duplicate(_)), "{told:?}");
        assert_repeats(node, 2, lasting).await;
    }
}

/// What lives on of a generation that goes is known as before, by its first event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_outlive_their_generation() {
    const KEYS: u64 = 2_000;
    let database = Database::new().await;
    let node = database.node().await;
    let mut sql = database.sql().await;
    let all = (0..KEYS).map(|key| store_one(&node, keyed(published("{}"), key)));
    let firsts = futures_util::future::join_all(all).await;
    seal(&mut sql).await;
    until_filtered(&mut sql, &node).await;
    // Most are expired for long.
    run(
        &mut sql,
        "UPDATE ploy.dedup d SET expires_at = now() - interval '1 hour' WHERE slot = 1 AND key NOT IN
             (SELECT key FROM ploy.dedup WHERE slot = 1 ORDER BY event LIMIT 100)",
    )
    .await;
    let live: Vec<_> = {
        let mut sorted: Vec<_> = (0..KEYS).zip(&firsts).collect();
        sorted.sort_by_key(|(_, first)| **first);
        sorted[..100].to_vec()
    };
    // Repeats go on, on a node that has filters and on one that has none, and does the chores.
    let other = open(without_filters(database.settings())).await;
    until("the generation goes", async || {
        let (key, first) = live[fastrand::usize(..live.len())];
        assert_repeats(&node, key, *first).await;
        assert_repeats(&other, key, *first).await;
        count(&mut sql, "SELECT count(*) FROM ploy.dedup WHERE slot = 1").await == 0
            && count(&mut sql, SEALED).await == 0
    })
    .await;
    for (key, first) in live {
        assert_repeats(&node, key, *first).await;
        assert_repeats(&other, key, *first).await;
    }
    // Those that were expired are free.
    let free = firsts.iter().max().expect("there are keys");
    let key = firsts.iter().position(|first| first == free).expect("it is one of them");
    store_one(&other, keyed(published("{}"), key as u64)).await;
}

/// Where no slot is free, keys are taken as before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_grows_where_no_slot_is_free() {
    let database = Database::new().await;
    let store = open(tiny(&database)).await;
    let mut sql = database.sql().await;
    let mut firsts = Vec::new();
    until("all slots are taken", async || {
        let key = firsts.len() as u64;
        firsts.push(store_one(&store, keyed(published("{}"), key)).await);
        count(&mut sql, "SELECT count(*) FROM ploy.generations WHERE number IS NULL").await == 0
    })
    .await;
    for key in firsts.len() as u64..firsts.len() as u64 + 10 {
        firsts.push(store_one(&store, keyed(published("{}"), key)).await);
    }
    for (key, first) in (0..).zip(&firsts) {
        assert_repeats(&store, key, *first).await;
    }
}

/// One that comes back by its id has none of the keys of its life before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealed_keys_go_with_their_endpoint() {
    let database = Database::new().await;
    let store = database.node().await;
    let mut sql = database.sql().await;
    let endpoint = make_endpoint(&store).await;
    let first = store_one(&store, keyed(event(&endpoint, "{}"), 1)).await;
    seal(&mut sql).await;
    until_filtered(&mut sql, &store).await;
    let repeat = told(&store, keyed(event(&endpoint, "{}"), 1)).await;
    assert!(matches!(repeat, Appended::Duplicate(id) if id == first), "{repeat:?}");
    assert!(store.delete(&WORKSPACE, &endpoint.id).await.expect("it is deleted"));
    let created = store.create(endpoint.clone()).await.expect("it comes back");
    assert_eq!(created, Created::Created);
    let again = store_one(&store, keyed(event(&endpoint, "{}"), 1)).await;
    let repeat = told(&store, keyed(event(&endpoint, "{}"), 1)).await;
    assert!(matches!(repeat, Appended::Duplicate(id) if id == again), "{repeat:?}");
}
