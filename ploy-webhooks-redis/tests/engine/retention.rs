//! What is left of events that have been kept for long enough: no key, and no field of one.

use std::time::Duration;

use crate::scene::{
    PATIENCE, append, ask, claim_in, delivery, destination, endpoint_of, event, open, roomy, run,
    settings, workspace,
};
use ploy_webhooks::store::{Altered, Expired, RetentionStore, RunQueue, Sweep, Tenure};
use ploy_webhooks::{Fence, NewEvent, Outcome};
use ploy_webhooks_engines::Redis;

fn keys(settings: &ploy_webhooks_redis::RedisSettings, name: &str) -> Vec<String> {
    let url = Redis::shared().url();
    let mut keys: Vec<String> = ask(url, &["KEYS", &format!("{{{}:*}}:{name}", settings.prefix)]);
    keys.sort();
    keys
}

#[tokio::test]
async fn nothing_is_left_of_events_that_went_whatever_became_of_their_runs() {
    let settings = settings([Redis::shared().url()]);
    let store = open(&settings).await;
    let endpoint = endpoint_of(&store, workspace()).await;
    let before = keys(&settings, "*");
    let owes = vec![run(), run(), run(), delivery(destination())];
    let (called_off, added) = (owes[2].id, run());
    let owing = NewEvent { owes, ..event(&endpoint, "{}") };
    let id = owing.id;
    append(&store, owing).await.expect("it is stored");
    append(&store, event(&endpoint, "{}")).await.expect("it is stored");
    let is_there = store.enqueue(&endpoint.workspace, &id, vec![added]).await;
    assert!(is_there.expect("adding works"));
    for _ in 0..2 {
        let again = Outcome::Retry { error: "no".to_owned(), after: Duration::ZERO };
        for leased in claim_in(&store, 10, PATIENCE, &roomy()).await {
            let tenure = store.finish(&leased.lease, again.clone()).await.expect("ending works");
            assert_eq!(tenure, Tenure::Held);
        }
    }
    let cancelled = store.cancel(&endpoint.workspace, &called_off).await.expect("cancelling works");
    assert_eq!(cancelled, Altered::Done);
    let ends = [
        Outcome::Succeed { output: "done".into() },
        Outcome::Fail { error: "given up".to_owned() },
    ];
    let claimed = claim_in(&store, 10, PATIENCE, &roomy()).await;
    assert_eq!(claimed.len(), 4);
    for (leased, end) in claimed.iter().zip(ends.iter().cycle()) {
        let tenure = store.finish(&leased.lease, end.clone()).await.expect("ending works");
        assert_eq!(tenure, Tenure::Held);
    }

    let fence = Fence { endpoint: endpoint.id, checked_at: endpoint.revision };
    let sweep = Sweep { endpoint: Some(fence), ..Sweep::published(endpoint.workspace) };
    let expired = store.expire(&sweep).await.expect("sweeping works");
    assert_eq!(expired, Expired::Swept { events: 2, next: None });
    let mut left = keys(&settings, "*");
    // The feed of a bucket is of all its owners, and keeps the last of what there was.
    left.retain(|key| !key.ends_with(":feed"));
    assert_eq!(left, before, "left: the keys that are there; right: before");
}
