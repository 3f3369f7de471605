//! Runs: what is refused of them, and what is handed out although something failed.

use std::collections::HashSet;
use std::time::Duration;

use crate::scene::{
    PATIENCE, append, ask, claim, endpoint_of, event, keyed, open, roomy, run, settings, workspace,
};
use ploy_webhooks::store::{Appended, EventStore, RunQueue, RunStore, StoreErrorKind};
use ploy_webhooks_engines::{Redis, RedisCluster};

#[tokio::test]
async fn a_run_is_not_written_over_by_one_of_the_same_id() {
    let store = open(&settings([Redis::shared().url()])).await;
    let endpoint = endpoint_of(&store, workspace()).await;
    let mut first = event(&endpoint, "{}");
    first.owes = vec![run()];
    let owed = first.owes.clone();
    let first = append(&store, first).await.unwrap();
    let claimed = claim(&store, u16::MAX, PATIENCE).await;
    assert_eq!(claimed.len(), 1);

    // All runs are added, or none.
    let both = vec![run(), owed[0].clone()];
    let added = store.enqueue(&endpoint.workspace, &first, both).await;
    assert_eq!(added.unwrap_err().kind(), StoreErrorKind::Misuse);

    // An event answers for itself: those beside it are stored, and its key is not used up.
    let mut again = keyed(event(&endpoint, "{}"), 1);
    again.owes = vec![run(), owed[0].clone()];
    let mut twin = event(&endpoint, "{}");
    twin.owes = vec![run()];
    let other = store.append(twin.clone());
    let (refused, beside) = tokio::join!(store.append(again.clone()), other);
    assert_eq!(refused.unwrap_err().kind(), StoreErrorKind::Misuse);
    assert!(matches!(beside, Ok(Appended::Stored)), "{beside:?}");
    assert_eq!(store.event(&endpoint.workspace, &again.id).await.unwrap(), None);
    again.owes.truncate(1);
    append(&store, again).await.unwrap();

    // Of two in one batch the first has it.
    let (mut one, mut two) = (event(&endpoint, "{}"), event(&endpoint, "{}"));
    one.owes = vec![run()];
    two.owes.clone_from(&one.owes);
    let (stored, refused) = tokio::join!(store.append(one), store.append(two));
    assert!(matches!(stored, Ok(Appended::Stored)), "{stored:?}");
    assert_eq!(refused.unwrap_err().kind(), StoreErrorKind::Misuse);

    let runs = store.runs(&endpoint.workspace, &first).await.unwrap();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].attempts.len(), 1, "what came of it stands");
}

/// The bound is one for the claim, whatever number of buckets it asks.
#[tokio::test]
async fn a_claim_from_many_buckets_is_bounded_by_bytes() {
    const PAYLOAD: usize = 500_000;
    let store = open(&settings([Redis::shared().url()])).await;
    for _ in 0..8 {
        let endpoint = endpoint_of(&store, workspace()).await;
        for _ in 0..10 {
            let mut owing = event(&endpoint, vec![b'x'; PAYLOAD]);
            owing.owes = vec![run()];
            append(&store, owing).await.unwrap();
        }
    }
    let claimed = claim(&store, u16::MAX, PATIENCE).await;
    // 8 MiB, and the last of each bucket.
    assert!(claimed.len() * PAYLOAD <= (8 << 20) + 8 * PAYLOAD, "{}", claimed.len());
    assert!(claimed.len() >= 8, "{}", claimed.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_master_that_is_down_does_not_stop_the_runs_of_others() {
    let cluster = tokio::task::block_in_place(|| RedisCluster::start(3, 0));
    for node in cluster.nodes() {
        ask::<()>(node.url(), &["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    let mut settings = settings(cluster.urls());
    settings.response_timeout = Duration::from_secs(5);
    settings.connection_timeout = Duration::from_secs(5);
    let store = open(&settings).await;
    let mut events = Vec::new();
    for _ in 0..16 {
        let endpoint = endpoint_of(&store, workspace()).await;
        let mut owing = event(&endpoint, "{}");
        owing.owes = vec![run()];
        events.push((endpoint, append(&store, owing).await.unwrap()));
    }
    tokio::task::block_in_place(|| cluster.kill_master(0));
    let (mut found, mut lost) = (HashSet::new(), 0);
    for (endpoint, id) in &events {
        match store.event(&endpoint.workspace, id).await {
            Ok(Some(_)) => drop(found.insert(*id)),
            Ok(None) => panic!("nobody knows that it is not there"),
            Err(error) => {
                assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
                lost += 1;
            }
        }
    }
    assert!(lost < events.len(), "two masters of three are there");
    store.wait(PATIENCE, &roomy()).await.unwrap();
    let claims = async {
        let mut claimed = HashSet::new();
        while claimed.len() < found.len() {
            let runs = claim(&store, u16::MAX, PATIENCE * 2).await;
            claimed.extend(runs.iter().map(|run| run.event.id));
        }
        claimed
    };
    let claimed = tokio::time::timeout(PATIENCE, claims).await.expect("all that are left are due");
    assert_eq!(claimed, found);
}
