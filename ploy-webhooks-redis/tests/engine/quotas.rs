//! Quotas across nodes, and in batches in which some events are past them and some are not.

use std::collections::BTreeSet;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;

use crate::scene::{endpoint_of, event, keyed, open, run, settings, workspace};
use ploy_webhooks::store::{
    ActivityStore, Appended, EventQuery, EventStore, PageSize, QuotaUse, RunStore,
};
use ploy_webhooks::{EventId, NewEvent, Quota};
use ploy_webhooks_engines::Redis;
use ploy_webhooks_redis::RedisStore;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

const AT_ONCE: u8 = 128;

fn of_its_life(events: u64) -> Quota {
    Quota { events: NonZeroU64::new(events).expect("a quota of some"), period_seconds: None }
}

/// Appends them at the same moment, by turns on each node. What was said of each.
async fn append_at_once(
    nodes: &[Arc<RedisStore>],
    events: Vec<NewEvent>,
) -> Vec<(EventId, Appended)> {
    let start = Arc::new(Barrier::new(events.len()));
    let mut appends = JoinSet::new();
    for (number, event) in events.into_iter().enumerate() {
        let (node, start) = (nodes[number % nodes.len()].clone(), start.clone());
        appends.spawn(async move {
            start.wait().await;
            let id = event.id;
            (id, node.append(event).await.expect("appending works"))
        });
    }
    appends.join_all().await
}

/// With repeats, runs, and two quotas of one endpoint in the same batches.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_nodes_store_in_total_what_the_quota_says() {
    let settings = settings([Redis::shared().url()]);
    let nodes = [Arc::new(open(&settings).await), Arc::new(open(&settings).await)];
    for round in 0..5 {
        let endpoint = endpoint_of(&nodes[0], workspace()).await;
        // Of each key there are two, on a node each; some events have no key, and some a run.
        let events = (0..AT_ONCE).map(|number| {
            let mut event = event(&endpoint, "{}");
            if number % 8 < 6 {
                event = keyed(event, number / 2);
            }
            if number % 3 == 0 {
                event.owes = vec![run()];
            }
            let quota = of_its_life(if number % 5 == 0 { 20 } else { 30 });
            NewEvent { quota: Some(quota), ..event }
        });
        let events: Vec<_> = events.collect();
        let told = append_at_once(&nodes, events.clone()).await;
        let is_stored = |told: &&(EventId, Appended)| matches!(told.1, Appended::Stored);
        let stored: BTreeSet<_> = told.iter().filter(is_stored).map(|told| told.0).collect();
        assert_eq!(stored.len(), 30, "left: how many are stored in round {round}");

        let mut query = EventQuery::all(endpoint.workspace);
        query.limit = PageSize::MAX;
        let kept = nodes[0].search(&query).await.unwrap().items;
        let kept: BTreeSet<_> = kept.iter().map(|summary| summary.id).collect();
        assert_eq!(kept, stored, "left: what is kept");
        for event in &events {
            let runs = nodes[1].runs(&endpoint.workspace, &event.id).await.unwrap();
            let owed = if stored.contains(&event.id) { event.owes.len() } else { 0 };
            assert_eq!(runs.len(), owed, "left: runs of {}", event.id);
        }
        let known = nodes[1].activity(&endpoint.workspace, &endpoint.id).await.unwrap();
        let used = QuotaUse { period_seconds: None, used: 30, resets_in: None };
        assert_eq!(known.expect("it is there").quota, Some(used));
        for (id, told) in &told {
            match told {
                Appended::Duplicate(first) => assert!(stored.contains(first), "{first} of {id}"),
                Appended::OverQuota { resets_in } => assert_eq!(*resets_in, None),
                Appended::Stored => {}
                other @ Appended::Fenced(_) => panic!("nothing has changed, and yet {other:?}"),
            }
        }
        // No event past the quota has used a key up.
        let left = events.into_iter().filter(|event| !stored.contains(&event.id));
        let left = left.map(|event| NewEvent { quota: None, ..event });
        let told = append_at_once(&nodes, left.collect()).await;
        let stored: BTreeSet<_> =
            told.iter().filter(is_stored).map(|told| told.0).chain(stored).collect();
        for (id, told) in told {
            match told {
                Appended::Stored => {}
                Appended::Duplicate(first) => assert!(stored.contains(&first), "{first} of {id}"),
                other => panic!("without a quota it is {other:?}"),
            }
        }
    }
}

/// Nobody counts what no endpoint took, and the largest numbers are numbers.
#[tokio::test]
async fn quotas_of_any_size_are_kept() {
    let store = open(&settings([Redis::shared().url()])).await;
    let endpoint = endpoint_of(&store, workspace()).await;
    let largest = Quota { events: NonZeroU64::MAX, period_seconds: Some(NonZeroU32::MAX) };
    for number in 1..4 {
        let told = store.append(NewEvent { quota: Some(largest), ..event(&endpoint, "{}") }).await;
        assert!(matches!(told, Ok(Appended::Stored)), "{told:?}");
        let known = store.activity(&endpoint.workspace, &endpoint.id).await.unwrap();
        let quota = known.and_then(|known| known.quota).expect("it has a quota");
        assert_eq!((quota.period_seconds, quota.used), (largest.period_seconds, number));
        assert!(quota.resets_in.is_some_and(|left| left.as_secs() < u64::from(u32::MAX)));
    }
    for _ in 0..2 {
        let published = NewEvent { fence: None, ..event(&endpoint, "{}") };
        let told = store.append(NewEvent { quota: Some(of_its_life(1)), ..published }).await;
        assert!(matches!(told, Ok(Appended::Stored)), "{told:?}");
    }
}
