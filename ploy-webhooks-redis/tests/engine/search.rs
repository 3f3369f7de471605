//! Search over many endpoints and past its bounds: what the conformance suite is too small for.

use std::collections::BTreeMap;

use crate::scene::{append, endpoint_of, event, open, settings};
use ploy_webhooks::store::{EventQuery, EventStore, Needle, Order, PageSize};
use ploy_webhooks::{Endpoint, EventId, NewEvent, WorkspaceId};
use ploy_webhooks_engines::{Redis, RedisCluster};
use ploy_webhooks_redis::{RedisSettings, RedisStore};

/// What a query finds, and in how many pages.
async fn find(store: &RedisStore, query: &EventQuery) -> (Vec<EventId>, usize) {
    let (mut found, mut pages) = (Vec::new(), 0);
    let mut next = Some(query.clone());
    while let Some(query) = next {
        let page = store.search(&query).await.expect("searching works");
        assert!(page.items.len() <= query.limit.get());
        found.extend(page.items.iter().map(|summary| summary.id));
        pages += 1;
        next = page.next;
    }
    (found, pages)
}

/// Many endpoints of one workspace, a few of which have most of the events, in no order.
async fn history(store: &RedisStore) -> (WorkspaceId, BTreeMap<EventId, Option<Endpoint>>) {
    let workspace = crate::scene::workspace();
    let mut endpoints = Vec::new();
    for _ in 0..40 {
        endpoints.push(endpoint_of(store, workspace).await);
    }
    let mut events = Vec::new();
    for number in 0_usize..900 {
        let place = if number % 3 == 0 { number % 40 } else { number % 2 };
        let payload = format!(r#"{{"number":{number}}}"#);
        let event = event(&endpoints[place], payload.clone());
        events.push(match number % 7 {
            0 => (NewEvent::published(event.id, workspace, payload.into()), None),
            _ => (event, Some(endpoints[place].clone())),
        });
    }
    fastrand::shuffle(&mut events);
    let mut history = BTreeMap::new();
    for (event, endpoint) in events {
        history.insert(append(store, event).await.expect("it is stored"), endpoint);
    }
    (workspace, history)
}

async fn merges_are_sorted_and_whole(settings: &RedisSettings) {
    let store = open(settings).await;
    let (workspace, history) = history(&store).await;
    let ascending: Vec<_> = history.keys().copied().collect();
    for (size, order) in [(1, Order::Ascending), (49, Order::Descending), (200, Order::Ascending)] {
        let mut query = EventQuery::all(workspace);
        query.limit = PageSize::new(size).expect("a page size");
        query.order = order;
        let mut expected = ascending.clone();
        if order == Order::Descending {
            expected.reverse();
        }
        let (found, pages) = find(&store, &query).await;
        assert_eq!(found, expected, "in pages of {size}, {order:?}");
        assert_eq!(pages, 900_usize.div_ceil(size.into()), "every page but the last is full");

        let one = history.values().flatten().next().expect("there are endpoints");
        query.endpoint = Some(one.id);
        let is_of_one = |id: &EventId| history[id].as_ref().is_some_and(|e| e.id == one.id);
        expected.retain(is_of_one);
        assert_eq!(find(&store, &query).await.0, expected, "of one endpoint, in pages of {size}");
    }
}

#[tokio::test]
async fn merges_are_sorted_and_whole_on_a_server() {
    merges_are_sorted_and_whole(&settings([Redis::shared().url()])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn merges_are_sorted_and_whole_on_a_cluster() {
    let cluster = tokio::task::block_in_place(|| RedisCluster::start(3, 0));
    merges_are_sorted_and_whole(&settings(cluster.urls())).await;
}

/// A page ends at its bound, of events or of bytes, and says where to go on: nothing is missing
/// at the end, and nothing comes twice.
#[tokio::test]
async fn a_scan_that_ends_at_its_bound_goes_on_with_the_next_page() {
    let mut settings = settings([Redis::shared().url()]);
    let (workspace, history) = history(&open(&settings).await).await;
    let mut query = EventQuery::all(workspace);
    query.contains = Some(Needle::new(r#""number":77"#).expect("a needle"));
    let (found, pages) = find(&open(&settings).await, &query).await;
    // 77, and 770 to 779.
    assert_eq!((found.len(), pages), (11, 1));

    settings.scan_events_max = 100.try_into().expect("it is not zero");
    assert_eq!(find(&open(&settings).await, &query).await, (found.clone(), 9));
    settings.scan_events_max = 10_000.try_into().expect("it is not zero");
    settings.scan_bytes_max = 1;
    assert_eq!(find(&open(&settings).await, &query).await, (found, history.len()));
}
