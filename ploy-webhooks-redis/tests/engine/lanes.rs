//! Lanes that share a bucket: each has its turn, and none is in the way of the others.

use std::num::NonZeroU16;

use crate::scene::{
    PATIENCE, append, ask, claim, claim_in, endpoint_of, event, open, run, settings, until,
    workspace,
};
use ploy_webhooks::store::{Lanes, RunQueue, RunStore};
use ploy_webhooks::{Endpoint, Lane, NewEvent, Outcome, RunState};
use ploy_webhooks_engines::Redis;
use ploy_webhooks_redis::{RedisSettings, RedisStore};

/// All in one bucket.
fn one_bucket() -> RedisSettings {
    let mut settings = settings([Redis::shared().url()]);
    settings.buckets = NonZeroU16::MIN;
    settings
}

async fn append_owing(store: &RedisStore, endpoint: &Endpoint, runs: usize) {
    let owes = (0..runs).map(|_| run()).collect();
    append(store, NewEvent { owes, ..event(endpoint, "{}") }).await.expect("it is stored");
}

/// More wait in it than a script looks at.
#[tokio::test]
async fn a_busy_lane_is_passed_over_by_those_in_its_bucket() {
    let store = open(&one_bucket()).await;
    let (busy, other) =
        (endpoint_of(&store, workspace()).await, endpoint_of(&store, workspace()).await);
    for _ in 0..50 {
        append_owing(&store, &busy, 100).await;
    }
    let mut lanes = Lanes::new(NonZeroU16::new(2).unwrap());
    let claimed = claim_in(&store, 64, PATIENCE, &lanes).await;
    assert_eq!(claimed.len(), 2, "as many as there is room for");
    for leased in claimed {
        lanes.enter(leased.event.lane());
    }
    assert!(claim_in(&store, 64, PATIENCE, &lanes).await.is_empty());
    append_owing(&store, &other, 3).await;
    until("what is due beside it", store.wait(PATIENCE * 2, &lanes)).await.unwrap();
    let claimed = claim_in(&store, 64, PATIENCE, &lanes).await;
    assert_eq!(claimed.len(), 2);
    assert!(claimed.iter().all(|leased| leased.event.lane() == Lane::Endpoint(other.id)));
}

#[tokio::test]
async fn lanes_take_turns_within_a_bucket_and_over_buckets() {
    for settings in [one_bucket(), settings([Redis::shared().url()])] {
        let store = open(&settings).await;
        let mut endpoints = Vec::new();
        for _ in 0..5 {
            endpoints.push(endpoint_of(&store, workspace()).await);
        }
        for endpoint in &endpoints {
            append_owing(&store, endpoint, 20).await;
        }
        let mut turns = Vec::new();
        for _ in 0..20 {
            turns.push(claim(&store, 1, PATIENCE).await[0].event.endpoint);
        }
        let expected: Vec<_> = endpoints.iter().map(|endpoint| Some(endpoint.id)).collect();
        for round in turns.chunks(5) {
            assert_eq!(round, expected, "{} buckets", settings.buckets);
        }
    }
}

/// What was delayed, tried again, or lost its worker is not held up by what comes later, nor does
/// it hold that up.
#[tokio::test]
async fn in_a_lane_what_has_waited_longest_comes_first() {
    let store = open(&one_bucket()).await;
    let endpoint = endpoint_of(&store, workspace()).await;
    append_owing(&store, &endpoint, 1).await;
    let first = claim(&store, 1, PATIENCE).await.remove(0);
    let again = Outcome::Retry { error: String::new(), after: std::time::Duration::ZERO };
    assert_eq!(
        store.finish(&first.lease, again).await.unwrap(),
        ploy_webhooks::store::Tenure::Held
    );
    // Ids of later milliseconds.
    let server_millis = || {
        let (seconds, micros): (u64, u64) = ask(Redis::shared().url(), &["TIME"]);
        seconds * 1_000 + micros / 1_000
    };
    let then = server_millis();
    while server_millis() < then + 2 {}
    append_owing(&store, &endpoint, 1).await;
    let claimed = claim(&store, 2, PATIENCE).await;
    assert_eq!(claimed.len(), 2);
    assert_eq!(claimed[0].lease.run, first.lease.run);
    let found = store.run(&endpoint.workspace, &first.lease.run).await.unwrap().unwrap();
    assert_eq!((found.state, found.attempts.len()), (RunState::Running, 2));
}
