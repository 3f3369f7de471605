//! What endpoints were sent: by more calls than one, over all buckets, and in bounds.

use crate::scene::{endpoint_of, open, refused, settings, workspace};
use ploy_webhooks::store::ActivityStore;
use ploy_webhooks_engines::{Redis, RedisCluster};
use ploy_webhooks_redis::RedisStore;

async fn observe_of_many(store: &RedisStore) {
    const NAMES: usize = 40;
    let workspace = workspace();
    let mut endpoints = Vec::new();
    for _ in 0..30 {
        endpoints.push(endpoint_of(store, workspace).await);
    }
    // Every other one has none of the even names: each is counted where it belongs.
    let observations = |times: u64| {
        let all =
            (0..NAMES).flat_map(|name| endpoints.iter().enumerate().map(move |at| (name, at)));
        let some = all.filter(|(name, (at, _))| name % 2 == 1 || at % 2 == 0);
        some.map(|(name, (_, endpoint))| refused(endpoint, &format!("code_{name:02}"), times))
            .collect::<Vec<_>>()
    };
    for times in [1, 2] {
        store.observe(observations(times)).await.expect("observing works");
    }
    for (at, endpoint) in endpoints.iter().enumerate() {
        let known = store.activity(&workspace, &endpoint.id).await.expect("reading works");
        let observed = known.expect("it is there").observed;
        let names = observed.iter().map(|tally| tally.what.to_string());
        let expected = (0..NAMES).filter(|name| name % 2 == 1 || at % 2 == 0);
        let expected = expected.map(|name| format!("code_{name:02}"));
        assert_eq!(names.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "of endpoint {at}");
        assert!(observed.iter().all(|tally| tally.count == 3), "of endpoint {at}: {observed:?}");
    }
}

#[tokio::test]
async fn what_many_endpoints_were_sent_is_added_up() {
    observe_of_many(&open(&settings([Redis::shared().url()])).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_many_endpoints_were_sent_is_added_up_on_a_cluster() {
    let cluster = tokio::task::block_in_place(|| RedisCluster::start(3, 0));
    observe_of_many(&open(&settings(cluster.urls())).await).await;
}

/// Counts have an end, and stay there.
#[tokio::test]
async fn an_enormous_count_is_the_largest_there_is() {
    let store = open(&settings([Redis::shared().url()])).await;
    let endpoint = endpoint_of(&store, workspace()).await;
    for _ in 0..2 {
        let observations = vec![refused(&endpoint, "unauthorized", u64::MAX); 2];
        store.observe(observations).await.unwrap();
        let known = store.activity(&endpoint.workspace, &endpoint.id).await.unwrap();
        let counts: Vec<_> =
            known.expect("it is there").observed.iter().map(|tally| tally.count).collect();
        assert_eq!(counts, [1 << 53]);
    }
}
