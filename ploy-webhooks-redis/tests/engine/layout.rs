//! What lies where: nothing stays behind, and what another version has made is left alone.

use std::num::{NonZeroU16, NonZeroU64};
use std::time::Duration;

use crate::scene::{
    PATIENCE, append, ask, claim_in, delivery, destination, endpoint_of, event, keyed, open,
    refused, roomy, run, settings, workspace,
};
use ploy_webhooks::store::{ActivityStore, EndpointStore, Lanes, RunQueue, StoreErrorKind, Tenure};
use ploy_webhooks::{Lane, NewEvent, Outcome, Quota};
use ploy_webhooks_engines::Redis;
use ploy_webhooks_redis::RedisStore;

#[tokio::test]
async fn a_store_of_an_older_layout_is_refused() {
    let settings = settings([Redis::shared().url()]);
    drop(open(&settings).await);
    let key = format!("{{{}}}:meta", settings.prefix);
    ask::<()>(Redis::shared().url(), &["HSET", &key, "format", "1"]);
    let refused = RedisStore::open(settings).await.expect_err("it is of another layout");
    assert_eq!(refused.kind(), StoreErrorKind::Refused);
    let said = refused.to_string();
    assert!(said.contains("format 1") && said.contains("prefix"), "{said}");
}

/// With runs in every state, and one of them with a worker: of a deleted endpoint there is no key
/// but that which says that its id is spent, and those that end by themselves.
#[tokio::test]
async fn a_deleted_endpoint_leaves_nothing_behind() {
    let settings = settings([Redis::shared().url()]);
    let store = open(&settings).await;
    let endpoint = endpoint_of(&store, workspace()).await;
    let to = destination();
    let owes: Vec<_> = (0..6).map(|_| run()).chain([delivery(to), delivery(to)]).collect();
    append(&store, NewEvent { owes, ..keyed(event(&endpoint, "{}"), 1) }).await.unwrap();
    let quota = Some(Quota { events: NonZeroU64::MIN, period_seconds: None });
    append(&store, NewEvent { quota, ..event(&endpoint, "{}") }).await.unwrap();
    store.observe(vec![refused(&endpoint, "unauthorized", 1)]).await.unwrap();
    let mut delayed = run();
    delayed.delay = PATIENCE;
    append(&store, NewEvent { owes: vec![delayed], ..event(&endpoint, "{}") }).await.unwrap();
    let mut held = roomy();
    held.bound(Lane::Destination(to), 0);
    let claimed = claim_in(&store, 5, PATIENCE, &held).await;
    assert_eq!(claimed.len(), 5);
    let lanes = Lanes::new(NonZeroU16::MIN);
    let delivered = claim_in(&store, 9, PATIENCE, &lanes).await;
    assert_eq!(
        delivered.len(),
        2,
        "left: claimed of the lane of the endpoint and of the destination"
    );
    let error = String::new();
    let again = Outcome::Retry { error: error.clone(), after: PATIENCE };
    for (leased, outcome) in claimed.iter().zip([
        Outcome::Succeed { output: Vec::new().into() },
        Outcome::Fail { error },
        again,
    ]) {
        assert_eq!(store.finish(&leased.lease, outcome).await.unwrap(), Tenure::Held);
    }
    let _altered = store.cancel(&endpoint.workspace, &claimed[3].lease.run).await.unwrap();
    assert!(store.delete(&endpoint.workspace, &endpoint.id).await.unwrap());
    let tenure = store.extend(&claimed[4].lease, Duration::from_secs(1)).await;
    assert_eq!(tenure.unwrap(), Tenure::Lost);

    let pattern = format!("{{{}*", settings.prefix);
    let keys: Vec<String> = ask(Redis::shared().url(), &["KEYS", &pattern]);
    let left = keys
        .iter()
        .filter(|key| ![":meta", ":gone:", ":seen:"].iter().any(|ends| key.contains(ends)));
    assert_eq!(left.collect::<Vec<_>>(), Vec::<&String>::new(), "left: what stays behind");
}
