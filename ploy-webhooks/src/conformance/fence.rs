//! Promises about the fence: when a change returns, the old state is over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

use super::scene::{
    all_ids, append, change, checked_at, create, endpoint, event, look_up, look_up_slug,
    set_status, store_one,
};
use super::{EventsFixture, Fixture};
use crate::endpoint::{Endpoint, Revision, Status};
use crate::event::{Fence, NewEvent};
use crate::id::EventId;
use crate::store::{Appended, Created, EndpointStore, EventStore, KeyStore};

/// An event that was checked against another revision than the endpoint's, earlier or later, or
/// against an endpoint that is not there, is not stored, and is handed back whole.
pub async fn stale_revisions_are_fenced<F: EventsFixture>(fixture: &F) {
    let mut endpoint = endpoint();
    endpoint.revision = Revision::new(7);
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let stored = store_one(&*store, event(&endpoint, "{}")).await;
    for revision in [0, 1, 6, 8, 1 << 40].map(Revision::new) {
        let stale = checked_at(event(&endpoint, r#"{"is":"stale"}"#), revision);
        assert_is_fenced(&*store, stale).await;
    }
    let nowhere = super::scene::endpoint_of(endpoint.workspace);
    assert_is_fenced(&*store, event(&nowhere, r#"{"goes":"nowhere"}"#)).await;
    assert_eq!(
        all_ids(&*store, endpoint.workspace).await,
        BTreeSet::from([stored]),
        "an event was refused and is there all the same"
    );
}

async fn assert_is_fenced<S: EventStore + ?Sized>(store: &S, event: NewEvent) {
    let (workspace, id, fence) = (event.workspace, event.id, event.fence);
    let payload = event.payload.clone();
    match append(store, event).await {
        Appended::Fenced(back) => {
            assert_eq!(
                (back.id, back.payload, back.fence),
                (id, payload, fence),
                "the event that was handed back is not the one that was appended"
            );
        }
        outcome => panic!("an event that names {fence:?} is {outcome:?}, not fenced"),
    }
    let kept = look_up(store, &workspace, &id).await;
    assert_eq!(kept, None, "a fenced event is there all the same");
}

/// After every change events under the new revision are stored and events under the old one are
/// not, whatever the change was.
pub async fn a_change_fences_the_state_before<F: Fixture>(fixture: &F) {
    let mut endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    for status in [Status::Paused, Status::Active, Status::Active] {
        let changed = change(&*store, &endpoint, set_status(&endpoint, status)).await;
        assert_is_fenced(&*store, event(&endpoint, "{}")).await;
        store_one(&*store, event(&changed, "{}")).await;
        endpoint = changed;
    }
}

/// A change returns when no append that names an earlier revision can commit any more: while
/// sixteen tasks append, the endpoint is changed, and the events that are found when the change
/// has returned are all that there will ever be under the old revision. Those that were said to
/// be stored are there, and no other.
pub async fn changes_wait_for_appends_under_way<F: Fixture>(fixture: &F) {
    const ROUNDS: usize = 12;
    let store = fixture.open().await;
    for round in 0..ROUNDS {
        let endpoint = endpoint();
        create(&*store, endpoint.clone(), Created::Created).await;
        // Each round lets a little more be stored before the change begins.
        change_under_load(&store, &endpoint, 1 + 8 * round).await;
    }
}

async fn change_under_load<S>(store: &Arc<S>, endpoint: &Endpoint, stored_before: usize)
where
    S: EventStore + EndpointStore + ?Sized,
{
    let load = Arc::new(Load::default());
    let mut appenders = JoinSet::new();
    for _ in 0..16 {
        let (store, endpoint) = (Arc::clone(store), endpoint.clone());
        appenders.spawn(Arc::clone(&load).append_until_changed(store, endpoint));
    }
    while load.stored.load(Ordering::Acquire) < stored_before {
        yield_now().await;
    }
    change(&**store, endpoint, set_status(endpoint, Status::Paused)).await;
    load.is_changed.store(true, Ordering::Release);
    let when_it_returned = all_ids(&**store, endpoint.workspace).await;

    let mut said_to_be_stored = BTreeSet::new();
    while let Some(done) = appenders.join_next().await {
        said_to_be_stored.extend(done.expect("no append panics"));
    }
    let at_the_end = all_ids(&**store, endpoint.workspace).await;
    assert_eq!(
        at_the_end, when_it_returned,
        "events under the old revision were stored after the change had returned"
    );
    assert_eq!(
        at_the_end, said_to_be_stored,
        "left: what is there; right: what was said to be stored"
    );
}

/// Appends under one revision, from many tasks.
#[derive(Default)]
struct Load {
    stored: AtomicUsize,
    is_changed: AtomicBool,
}

impl Load {
    /// Appends until the change has returned and a little longer; gives what was stored.
    async fn append_until_changed<S: EventStore + ?Sized>(
        self: Arc<Self>,
        store: Arc<S>,
        endpoint: Endpoint,
    ) -> Vec<EventId> {
        let mut stored = Vec::new();
        let mut left = 4;
        while left > 0 {
            let is_changed = self.is_changed.load(Ordering::Acquire);
            left -= usize::from(is_changed);
            let event = event(&endpoint, "{}");
            let id = event.id;
            match append(&*store, event).await {
                Appended::Stored => {
                    assert!(!is_changed, "an append that began after the change was stored");
                    self.stored.fetch_add(1, Ordering::AcqRel);
                    stored.push(id);
                }
                Appended::Fenced(_) => {}
                outcome => panic!("no event has a key or a quota: {outcome:?}"),
            }
            yield_now().await;
        }
        stored
    }
}

/// A change returns soon however many appends there are: 64 tasks append without a pause, each
/// under the state it last saw, and still the endpoint can be changed again and again.
pub async fn changes_are_not_starved_by_appends<F: Fixture>(fixture: &F) {
    /// Far more than a change needs, far less than a change that is starved.
    const SOON: Duration = Duration::from_secs(5);
    let mut endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut appenders = JoinSet::new();
    for _ in 0..64 {
        let (store, endpoint) = (Arc::clone(&store), endpoint.clone());
        appenders.spawn(append_until_over(store, endpoint, Arc::clone(&is_over)));
    }
    for number in 0..8 {
        let status = [Status::Paused, Status::Active][number % 2];
        let patch = set_status(&endpoint, status);
        endpoint = match timeout(SOON, change(&*store, &endpoint, patch)).await {
            Ok(changed) => changed,
            Err(_) => panic!("under 64 appenders a change had not returned after {SOON:?}"),
        };
    }
    is_over.store(true, Ordering::Release);
    while let Some(done) = appenders.join_next().await {
        done.expect("no append panics");
    }
}

async fn append_until_over<S>(store: Arc<S>, mut endpoint: Endpoint, is_over: Arc<AtomicBool>)
where
    S: EventStore + KeyStore + ?Sized,
{
    while !is_over.load(Ordering::Acquire) {
        if let Appended::Fenced(_) = append(&*store, event(&endpoint, "{}")).await {
            let fresh = look_up_slug(&*store, &endpoint.slug).await;
            endpoint = (*fresh.expect("the endpoint is not deleted")).clone();
        }
        yield_now().await;
    }
}

/// A fence holds within the workspace: an event that names another workspace's endpoint is not
/// stored in either.
pub async fn a_fence_does_not_reach_into_another_workspace<F: EventsFixture>(fixture: &F) {
    let (endpoint, alien) = (endpoint(), endpoint());
    let store = fixture.open_with(vec![endpoint.clone(), alien.clone()]).await;
    let crossing = NewEvent {
        fence: Some(Fence { endpoint: alien.id, checked_at: alien.revision }),
        ..event(&endpoint, "{}")
    };
    let id = crossing.id;
    assert_is_fenced(&*store, crossing).await;
    let kept = look_up(&*store, &alien.workspace, &id).await;
    assert_eq!(kept, None, "the event was stored in the workspace of its endpoint");
}
