//! Deduplication keys that are raced for on several nodes.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use ploy_webhooks::store::Appended;
use ploy_webhooks::{Dedup, EventId, NewEvent, Quota};
use tokio::task::JoinSet;

use crate::scene::{
    Database, LONG, append, event, everything, find, keyed, make_endpoint, published, rows, soon,
    store_one, toggle,
};

const KEYS: u64 = 100;
const TASKS: usize = 32;

/// Every task appends every key at once, in an order of its own: so batches overlap in all ways.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_repeats_that_race_on_two_nodes_exactly_one_is_stored() {
    let database = Database::new().await;
    let nodes = [database.node().await, database.node().await];
    let endpoint = make_endpoint(&nodes[0]).await;
    let mut tasks = JoinSet::new();
    for number in 0..TASKS {
        let (store, endpoint) = (nodes[number % 2].clone(), endpoint.clone());
        tasks.spawn(async move {
            let mut keys: Vec<u64> = (0..KEYS).collect();
            fastrand::shuffle(&mut keys);
            let appends = keys.into_iter().map(async |key| {
                // Half of the keys are an endpoint's, the others the app's own.
                let payload = format!(r#"{{"key":{key}}}"#);
                let event = match key % 2 {
                    0 => event(&endpoint, payload),
                    _ => published(payload),
                };
                let id = event.id;
                // No error: a deadlock would be one.
                let appended = append(&store, keyed(event, key)).await;
                (key, id, appended.expect("an append does not fail"))
            });
            futures_util::future::join_all(appends).await
        });
    }
    let mut stored: BTreeMap<u64, EventId> = BTreeMap::new();
    let mut repeats = Vec::new();
    while let Some(outcomes) = soon("the appends end", tasks.join_next()).await {
        for (key, id, outcome) in outcomes.expect("no append panics") {
            match outcome {
                Appended::Stored => {
                    let before = stored.insert(key, id);
                    assert_eq!(before, None, "two events of one key are stored");
                }
                Appended::Duplicate(first) => repeats.push((key, first)),
                Appended::Fenced(_) => panic!("nobody changed the endpoint"),
                Appended::OverQuota { .. } => panic!("no event has a quota"),
            }
        }
    }
    assert_eq!(stored.len() as u64, KEYS, "a key has no event");
    for (key, first) in repeats {
        assert_eq!(stored[&key], first, "a repeat was told another event than its first");
    }
    let mut ids: Vec<_> = stored.into_values().collect();
    ids.sort();
    let there: Vec<_> =
        rows(&mut database.sql().await).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(there, ids, "left: what is there; right: what was said to be stored");
    assert_eq!(find(&nodes[1], everything()).await, ids);
}

/// The window is over for all nodes at once, since one clock measures it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_whose_window_is_over_is_raced_for_anew() {
    let database = Database::new().await;
    let nodes = [database.node().await, database.node().await];
    let first = published("{}");
    let first_id = first.id;
    let stored = append(&nodes[0], keyed(first, 1)).await;
    assert!(matches!(stored, Ok(Appended::Stored)), "{stored:?}");
    let repeat = append(&nodes[1], keyed(published("{}"), 1)).await;
    assert!(matches!(repeat, Ok(Appended::Duplicate(id)) if id == first_id), "{repeat:?}");

    let mut sql = database.sql().await;
    crate::scene::run(&mut sql, "UPDATE ploy.dedup SET expires_at = now() - interval '1 s'").await;
    let again = nodes.iter().cycle().take(16).map(|store| append(store, keyed(published("{}"), 1)));
    let outcomes = futures_util::future::join_all(again).await;
    let stored = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Appended::Stored)));
    assert_eq!(stored.count(), 1, "{outcomes:?}");
    assert_eq!(rows(&mut sql).await.len(), 2);
}

/// Within a batch the first of a key is told by what it was checked against: one that is fenced
/// takes no key from the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_of_one_that_is_fenced_is_stored() {
    let database = Database::new().await;
    let store = database.node().await;
    let stale = make_endpoint(&store).await;
    let current = toggle(&store, &stale).await.expect("it is changed");
    // All but the first make one batch.
    let appends = (0..64).map(async |number: u64| {
        let endpoint = if number.is_multiple_of(2) { &stale } else { &current };
        append(&store, keyed(event(endpoint, "{}"), number / 16)).await.expect("it is answered")
    });
    let told = futures_util::future::join_all(appends).await;
    let stored = told.iter().filter(|told| matches!(told, Appended::Stored)).count();
    let fenced = told.iter().filter(|told| matches!(told, Appended::Fenced(_))).count();
    assert_eq!((stored, fenced), (4, 32), "left: how many are stored, and how many are fenced");
}

/// The windows of one key differ, and each ends by itself: the first counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_is_that_of_the_first() {
    let database = Database::new().await;
    let nodes = [database.node().await, database.node().await];
    let with = |key, window| {
        let event = keyed(published("{}"), key);
        let dedup = event.dedup.map(|dedup| Dedup { window, ..dedup });
        NewEvent { dedup, ..event }
    };
    let (short, long) = (Duration::from_millis(1), LONG);
    for (number, first, second, stored) in [(1, short, long, 2), (2, long, short, 1)] {
        for (node, window) in nodes.iter().zip([first, second]) {
            let told = append(node, with(number, window)).await;
            assert!(told.is_ok(), "{told:?}");
            tokio::time::sleep(short * 2).await;
        }
        let told = append(&nodes[0], with(number, long)).await;
        assert!(matches!(told, Ok(Appended::Duplicate(_))), "{told:?}");
        let there = rows(&mut database.sql().await).await.len();
        assert_eq!(there, if number == 1 { stored } else { stored + 2 });
    }
}

/// Two nodes count one quota; what is past it leaves its key to who comes later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_with_keys_is_exact_on_two_nodes() {
    const QUOTA: u64 = 30;
    let database = Database::new().await;
    let nodes = [database.node().await, database.node().await];
    let endpoint = make_endpoint(&nodes[0]).await;
    let under = |quota: u64, key| NewEvent {
        quota: NonZeroU64::new(quota).map(|events| Quota { events, period_seconds: None }),
        ..keyed(event(&endpoint, "{}"), key)
    };
    // Each key comes twice, once to each node.
    let appends =
        (0..200).map(|number| append(&nodes[number % 2], under(QUOTA, number as u64 / 2)));
    let told = futures_util::future::join_all(appends).await;
    let stored = told.iter().filter(|told| matches!(told, Ok(Appended::Stored))).count();
    assert_eq!(stored as u64, QUOTA, "{told:?}");
    assert_eq!(rows(&mut database.sql().await).await.len() as u64, QUOTA);
    // Under one that is used up nothing is written, and a repeat is told so all the same.
    let mut first = Vec::new();
    for key in 0..100 {
        match append(&nodes[0], under(QUOTA, key)).await.expect("it is answered") {
            Appended::Duplicate(_) => first.push(key),
            told => assert!(matches!(told, Appended::OverQuota { .. }), "{told:?}"),
        }
    }
    assert_eq!(first.len() as u64, QUOTA, "left: how many keys are taken");
    for key in (0..100).filter(|key| !first.contains(key)) {
        store_one(&nodes[1], under(100, key)).await;
    }
}
