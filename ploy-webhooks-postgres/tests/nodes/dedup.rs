//! Deduplication keys that are raced for on several nodes.

use std::collections::BTreeMap;

use ploy_webhooks::EventId;
use ploy_webhooks::store::Appended;
use tokio::task::JoinSet;

use crate::scene::{
    Database, append, event, everything, find, keyed, make_endpoint, published, rows, soon,
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
