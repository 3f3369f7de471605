//! Promises about repeats.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::EventsFixture;
use super::scene::{
    LONG, all_ids, append, checked_at, endpoint, endpoint_of, event, keyed, published, store_one,
    workspace,
};
use crate::endpoint::Revision;
use crate::event::NewEvent;
use crate::id::EventId;
use crate::store::{Appended, EventStore};

/// An event with the key of an earlier one is not stored, and its answer names the earlier one.
pub async fn a_repeat_gets_the_id_of_the_first<F: EventsFixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let first = store_one(&*store, keyed(event(&endpoint, r#"{"n":1}"#), 1, LONG)).await;
    for _ in 0..3 {
        assert_repeats(&*store, keyed(event(&endpoint, r#"{"n":2}"#), 1, LONG), first).await;
    }
    let other_key = store_one(&*store, keyed(event(&endpoint, r#"{"n":1}"#), 2, LONG)).await;
    let no_key = store_one(&*store, event(&endpoint, r#"{"n":1}"#)).await;
    assert_eq!(
        all_ids(&*store, endpoint.workspace).await,
        BTreeSet::from([first, other_key, no_key]),
        "left: what is there; right: the first of each key and the one without"
    );
}

/// Of 64 events with one key that are appended at the same moment exactly one is stored, and
/// the others get its id; ten times over.
pub async fn of_simultaneous_repeats_one_is_stored<F: EventsFixture>(fixture: &F) {
    const REPEATS: usize = 64;
    let endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    for key in 0..10 {
        let start = Arc::new(Barrier::new(REPEATS));
        let mut appends = JoinSet::new();
        for _ in 0..REPEATS {
            let (store, start) = (Arc::clone(&store), Arc::clone(&start));
            let event = keyed(event(&endpoint, format!(r#"{{"key":{key}}}"#)), key, LONG);
            appends.spawn(async move {
                start.wait().await;
                (event.id, append(&*store, event).await)
            });
        }
        let (mut stored, mut repeated) = (Vec::new(), Vec::new());
        while let Some(done) = appends.join_next().await {
            match done.expect("no append panics") {
                (id, Appended::Stored) => stored.push(id),
                (_, Appended::Duplicate(first)) => repeated.push(first),
                (_, outcome) => panic!("a repeat under the current revision is {outcome:?}"),
            }
        }
        let [first] = stored[..] else {
            panic!("of {REPEATS} simultaneous repeats {} were stored, not one", stored.len());
        };
        assert!(
            repeated.iter().all(|id| *id == first),
            "a repeat was told another id than that of the one that was stored, {first}"
        );
    }
    let kept = all_ids(&*store, endpoint.workspace).await;
    assert_eq!(kept.len(), 10, "there is not one event a key");
}

/// When its window is over, a key is as good as new: the next event with it is stored, and later
/// ones repeat that.
pub async fn a_deduplication_window_ends<F: EventsFixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let window = Duration::from_secs(1);
    let first = store_one(&*store, keyed(event(&endpoint, "{}"), 1, window)).await;
    fixture.elapse(window + Duration::from_millis(200)).await;
    let second = store_one(&*store, keyed(event(&endpoint, "{}"), 1, LONG)).await;
    assert_repeats(&*store, keyed(event(&endpoint, "{}"), 1, LONG), second).await;
    assert_eq!(
        all_ids(&*store, endpoint.workspace).await,
        BTreeSet::from([first, second]),
        "left: what is there; right: the first of each window"
    );
}

/// The window is counted from the first event: repeats within it do not make it longer.
pub async fn repeats_do_not_extend_the_window<F: EventsFixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let window = Duration::from_secs(2);
    let repeat = || keyed(event(&endpoint, "{}"), 1, window);
    store_one(&*store, repeat()).await;
    fixture.elapse(Duration::from_millis(1_200)).await;
    // Where the machine is slow the window may be over already; then this is a first.
    if let Appended::Stored = append(&*store, repeat()).await {
        return;
    }
    fixture.elapse(Duration::from_millis(1_200)).await;
    store_one(&*store, repeat()).await;
}

/// A key belongs to the endpoint that took the event: another endpoint's event with the same
/// key is no repeat, nor is one that the app publishes, nor one of another workspace.
pub async fn deduplication_keys_are_apart<F: EventsFixture>(fixture: &F) {
    let (here, elsewhere) = (workspace(), workspace());
    let endpoints = [endpoint_of(here), endpoint_of(here), endpoint_of(elsewhere)];
    let store = fixture.open_with(endpoints.to_vec()).await;
    for endpoint in &endpoints {
        store_one(&*store, keyed(event(endpoint, "{}"), 1, LONG)).await;
    }
    for workspace in [here, elsewhere] {
        let first = store_one(&*store, keyed(published(workspace, "{}"), 1, LONG)).await;
        assert_repeats(&*store, keyed(published(workspace, "{}"), 1, LONG), first).await;
    }
}

/// The fence is looked at before the key: a repeat that was checked against another revision
/// is fenced, and one that is fenced uses no key up.
pub async fn the_fence_comes_before_the_key<F: EventsFixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let stale = || checked_at(keyed(event(&endpoint, "{}"), 1, LONG), Revision::new(999));
    for stored_before in [false, true] {
        match append(&*store, stale()).await {
            Appended::Fenced(_) => {}
            outcome => panic!("a stale event (its key used: {stored_before}) is {outcome:?}"),
        }
        if !stored_before {
            store_one(&*store, keyed(event(&endpoint, "{}"), 1, LONG)).await;
        }
    }
}

async fn assert_repeats<S: EventStore + ?Sized>(store: &S, event: NewEvent, first: EventId) {
    match append(store, event).await {
        Appended::Duplicate(id) => {
            assert_eq!(id, first, "the repeat was told another id than the first one's");
        }
        outcome => panic!("a repeat within its window is {outcome:?}"),
    }
}
