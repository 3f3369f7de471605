//! Runs: what is refused of them, and what is handed out although something failed.

use std::num::NonZeroU16;

use crate::scene::{PATIENCE, append, endpoint_of, event, keyed, open, run, settings, workspace};
use ploy_webhooks::store::{Appended, EventStore, RunQueue, RunStore, StoreErrorKind};
use ploy_webhooks_engines::Redis;

#[tokio::test]
async fn a_run_is_not_written_over_by_one_of_the_same_id() {
    let store = open(&settings([Redis::shared().url()])).await;
    let endpoint = endpoint_of(&store, workspace()).await;
    let mut first = event(&endpoint, "{}");
    first.owes = vec![run()];
    let owed = first.owes.clone();
    let first = append(&store, first).await.unwrap();
    let claimed = store.claim(NonZeroU16::MAX, PATIENCE).await.unwrap();
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
    let claimed = store.claim(NonZeroU16::MAX, PATIENCE).await.unwrap();
    // 8 MiB, and the last of each bucket.
    assert!(claimed.len() * PAYLOAD <= (8 << 20) + 8 * PAYLOAD, "{}", claimed.len());
    assert!(claimed.len() >= 8, "{}", claimed.len());
}
