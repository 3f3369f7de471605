//! Promises about what a search finds.

use std::sync::Arc;

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::EventsFixture;
use super::scene::{
    endpoint, endpoint_of, event, event_type, everything, find_ids, published, store_one,
};
use crate::clock::Timestamp;
use crate::endpoint::Endpoint;
use crate::event::NewEvent;
use crate::id::EventId;
use crate::store::{EventQuery, EventStore, Needle, Order, PageSize};

/// An event whose append has returned is found by every search that begins then, by whatever it
/// has: while other events are appended, and at once.
pub async fn search_sees_every_event_that_was_stored<F: EventsFixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let (store, endpoint) = (Arc::clone(&store), endpoint.clone());
        tasks.spawn(async move {
            for number in 0..12 {
                let text = format!("task {task} number {number}.");
                let event = event(&endpoint, format!(r#"{{"text":"{text}"}}"#));
                let id = store_one(&*store, event).await;
                let mut query = everything(endpoint.workspace);
                query.order = [Order::Ascending, Order::Descending][number % 2];
                let ids = find_ids(&*store, &query).await;
                assert!(ids.contains(&id), "an event was stored and not found");
                query.contains = Some(needle(&text));
                let ids = find_ids(&*store, &query).await;
                assert_eq!(ids, [id], "left: what a search by content finds at once");
            }
        });
    }
    tasks.join_all().await;
}

/// What is found is sorted by id in either order, however the events came: ids that are made on
/// several nodes are stored out of order.
pub async fn events_are_sorted_by_id<F: EventsFixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let ids = store_shuffled(&*store, &endpoint, 60).await;
    let mut query = everything(endpoint.workspace);
    assert_eq!(find_ids(&*store, &query).await, ids, "left: what is found, ascending");
    query.order = Order::Descending;
    let turned: Vec<_> = ids.into_iter().rev().collect();
    assert_eq!(find_ids(&*store, &query).await, turned, "left: what is found, descending");
}

/// Appends so many events in no order, and gives their ids sorted.
async fn store_shuffled<S>(store: &S, endpoint: &Endpoint, count: usize) -> Vec<EventId>
where
    S: EventStore + ?Sized,
{
    let mut events: Vec<_> =
        (0..count).map(|number| event(endpoint, format!(r#"{{"number":{number}}}"#))).collect();
    let ids = events.iter().map(|event| event.id).collect();
    fastrand::Rng::with_seed(1).shuffle(&mut events);
    for event in events {
        store_one(store, event).await;
    }
    ids
}

/// Following the pages to their end gives every event once, whatever the size of a page and the
/// order, with and without a condition.
pub async fn pages_join_without_gap_or_repeat<F: EventsFixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let ids = store_shuffled(&*store, &endpoint, 60).await;
    for size in [1, 2, 7, 50, 59, 60, 61, 200] {
        for order in [Order::Ascending, Order::Descending] {
            let mut expected = ids.clone();
            if order == Order::Descending {
                expected.reverse();
            }
            let mut query = everything(endpoint.workspace);
            query.limit = PageSize::new(size).expect("a page size");
            query.order = order;
            assert_eq!(find_ids(&*store, &query).await, expected, "in pages of {size}");
            query.contains = Some(needle("number"));
            assert_eq!(find_ids(&*store, &query).await, expected, "in pages of {size}");
            query.contains = Some(needle("7}"));
            assert_eq!(find_ids(&*store, &query).await.len(), 6, "in pages of {size}");
        }
    }
}

/// A page may begin beyond any id, whether there is such an event or not, and does not have it.
pub async fn pages_begin_beyond_any_id<F: EventsFixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let mut ids: Vec<_> = (0..9).map(|_| event(&endpoint, "{}").id).collect();
    for id in ids.iter().skip(1).step_by(2) {
        let event = NewEvent { id: *id, ..event(&endpoint, "{}") };
        store_one(&*store, event).await;
    }
    let stored: Vec<_> = ids.iter().copied().skip(1).step_by(2).collect();
    ids.push(EventId::from_bytes([0; 16]));
    ids.push(EventId::from_bytes([0xff; 16]));
    for beyond in ids {
        let mut query = everything(endpoint.workspace).beyond(beyond);
        let after: Vec<_> = stored.iter().copied().filter(|id| *id > beyond).collect();
        assert_eq!(find_ids(&*store, &query).await, after, "ascending, beyond {beyond}");
        query.order = Order::Descending;
        let before: Vec<_> = stored.iter().rev().copied().filter(|id| *id < beyond).collect();
        assert_eq!(find_ids(&*store, &query).await, before, "descending, beyond {beyond}");
    }
}

/// While events are appended, following the pages gives every event that was there before, once,
/// and no event twice.
pub async fn pages_join_while_events_are_appended<F: EventsFixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let there = store_shuffled(&*store, &endpoint, 60).await;
    let start = Arc::new(Barrier::new(5));
    let mut appenders = JoinSet::new();
    for _ in 0..4 {
        let (store, start, endpoint) = (Arc::clone(&store), Arc::clone(&start), endpoint.clone());
        appenders.spawn(async move {
            start.wait().await;
            for _ in 0..50 {
                store_one(&*store, event(&endpoint, "{}")).await;
            }
        });
    }
    start.wait().await;
    for order in [Order::Ascending, Order::Descending] {
        let mut query = everything(endpoint.workspace);
        query.limit = PageSize::new(3).expect("a page size");
        query.order = order;
        // `find_ids` sees to it that no id comes twice: they are strictly sorted.
        let found = find_ids(&*store, &query).await;
        let missing = there.iter().find(|id| !found.contains(id));
        assert_eq!(missing, None, "an event that was there throughout is missing, {order:?}");
    }
    appenders.join_all().await;
}

/// Every condition holds by itself and together with any others: the endpoint, the type, and a
/// stretch of time that has its begin and not its end.
pub async fn every_condition_holds<F: EventsFixture>(fixture: &F) {
    let one = endpoint();
    let other = endpoint_of(one.workspace);
    let store = fixture.open_with(vec![one.clone(), other.clone()]).await;
    let mut events = Vec::new();
    for number in 0..48_u64 {
        let payload = format!(r#"{{"n":{},"m":{number}}}"#, number % 5);
        let base = match number % 3 {
            0 => event(&one, payload),
            1 => event(&other, payload),
            _ => published(one.workspace, payload),
        };
        let mut id = *base.id.as_bytes();
        let second = Timestamp::from_millis(1_700_000_000_000 + number / 4);
        id[..6].copy_from_slice(&EventId::least_at(second).as_bytes()[..6]);
        let event = NewEvent {
            id: EventId::from_bytes(id),
            event_type: [None, Some("a"), Some("a.b"), Some("A")][number as usize / 3 % 4]
                .map(event_type),
            ..base
        };
        store_one(&*store, event.clone()).await;
        events.push(event);
    }
    events.sort_by_key(|event| event.id);
    for query in combinations(&one, &other) {
        let expected: Vec<_> =
            events.iter().filter(|event| matches(event, &query)).map(|event| event.id).collect();
        let found = find_ids(&*store, &query).await;
        assert_eq!(found, expected, "left: what is found; right: what matches {query:?}");
    }
}

fn combinations(one: &Endpoint, other: &Endpoint) -> Vec<EventQuery> {
    let at = |millis: u64| Some(Timestamp::from_millis(1_700_000_000_000 + millis));
    let nowhere = endpoint_of(one.workspace).id;
    let endpoints = [None, Some(one.id), Some(other.id), Some(nowhere)];
    let types = [None, Some(event_type("a")), Some(event_type("a.b")), Some(event_type("b"))];
    let times = [
        (None, None),
        (at(3), None),
        (None, at(9)),
        (at(3), at(9)),
        (at(3), at(4)),
        (at(3), at(3)),
        (at(9), at(3)),
        (Some(Timestamp::from_millis(0)), Some(Timestamp::MAX)),
    ];
    let needles = [None, Some(needle("\"N\":3")), Some(needle("nowhere"))];
    let mut queries = Vec::new();
    for endpoint in endpoints {
        for event_type in &types {
            for (from, to) in times {
                for contains in &needles {
                    queries.push(EventQuery {
                        endpoint,
                        event_type: event_type.clone(),
                        from,
                        to,
                        contains: contains.clone(),
                        ..everything(one.workspace)
                    });
                }
            }
        }
    }
    queries
}

/// Whether the event is one that the query is for: the definition, in five lines.
pub(super) fn matches(event: &NewEvent, query: &EventQuery) -> bool {
    let endpoint = event.fence.map(|fence| fence.endpoint);
    let is_received_at = event.id.timestamp();
    event.workspace == query.workspace
        && query.endpoint.is_none_or(|wanted| endpoint == Some(wanted))
        && (query.event_type.as_ref())
            .is_none_or(|wanted| event.event_type.as_ref() == Some(wanted))
        && query.from.is_none_or(|from| is_received_at >= from)
        && query.to.is_none_or(|to| is_received_at < to)
        && (query.contains.as_ref())
            .is_none_or(|needle| needle.stands_in(&event.payload, &mut Vec::new()))
}

fn needle(text: &str) -> Needle {
    Needle::new(text).expect("a needle")
}
