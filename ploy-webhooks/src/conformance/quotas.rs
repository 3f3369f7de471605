//! Promises about quotas.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::activity::quota_used;
use super::scene::{
    LONG, all_ids, append, change, checked_at, create, delete, endpoint, endpoint_of, event, keyed,
    set_status, store_one,
};
use super::{EventsFixture, Fixture};
use crate::endpoint::{Endpoint, Revision, Status};
use crate::event::NewEvent;
use crate::id::EventId;
use crate::limits::Quota;
use crate::store::{Appended, Created, EventStore, StoreErrorKind};

/// A quota for the life of an endpoint.
pub(super) fn of_its_life(events: u64) -> Quota {
    Quota { events: NonZeroU64::new(events).expect("not zero"), period_seconds: None }
}

/// The same event, under that quota.
pub(super) fn under(quota: Quota, event: NewEvent) -> NewEvent {
    NewEvent { quota: Some(quota), ..event }
}

/// Of 64 events that are appended at the same moment under a quota of 20, exactly 20 are stored,
/// and no other endpoint's count. A higher quota takes as many more as it is higher, a lower one
/// none; a change of the endpoint changes no count, and its deletion takes the count along.
pub async fn quotas_are_exact<F: Fixture>(fixture: &F) {
    const AT_ONCE: usize = 64;
    let store = fixture.open().await;
    let endpoint = endpoint();
    let other = endpoint_of(endpoint.workspace);
    for endpoint in [&endpoint, &other] {
        create(&*store, endpoint.clone(), Created::Created).await;
    }
    assert_eq!(quota_used(&*store, &endpoint).await, None, "used where no quota was named");
    store_one(&*store, event(&endpoint, "{}")).await;

    let start = Arc::new(Barrier::new(AT_ONCE));
    let mut appends = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (store, start) = (Arc::clone(&store), Arc::clone(&start));
        let event = under(of_its_life(20), event(&endpoint, "{}"));
        appends.spawn(async move {
            start.wait().await;
            append(&*store, event).await
        });
    }
    let told = appends.join_all().await;
    let stored = told.iter().filter(|told| matches!(told, Appended::Stored)).count();
    assert_eq!(stored, 20, "left: how many of {AT_ONCE} were stored under a quota of 20");
    for told in told.iter().filter(|told| !matches!(told, Appended::Stored)) {
        assert!(matches!(told, Appended::OverQuota { resets_in: None }), "the others: {told:?}");
    }
    assert_eq!(quota_used(&*store, &endpoint).await, Some(20), "left: what is used");
    let kept = all_ids(&*store, endpoint.workspace).await.len();
    assert_eq!(kept, 21, "left: what is kept, one before there was a quota");

    store_one(&*store, under(of_its_life(1), event(&other, "{}"))).await;
    assert_over(&*store, under(of_its_life(1), event(&other, "{}"))).await;

    let endpoint = change(&*store, &endpoint, set_status(&endpoint, Status::Paused)).await;
    assert_over(&*store, under(of_its_life(20), event(&endpoint, "{}"))).await;
    for _ in 0..2 {
        store_one(&*store, under(of_its_life(22), event(&endpoint, "{}"))).await;
    }
    assert_over(&*store, under(of_its_life(22), event(&endpoint, "{}"))).await;
    assert_over(&*store, under(of_its_life(5), event(&endpoint, "{}"))).await;
    store_one(&*store, event(&endpoint, "{}")).await;
    assert_eq!(quota_used(&*store, &endpoint).await, Some(22), "left: what is used at the end");

    delete(&*store, &endpoint, true).await;
    assert_eq!(quota_used(&*store, &endpoint).await, None, "used of a deleted endpoint's");
}

/// With each period the count begins anew; who is refused is told when that will be. So it does
/// where the period is another one.
pub async fn quotas_begin_anew_each_period<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with_one(&endpoint).await;
    let period = Duration::from_secs(2);
    let each = |events: u64| Quota {
        events: NonZeroU64::new(events).expect("not zero"),
        period_seconds: NonZeroU32::new(2),
    };
    // A period may end between two appends; two in a row do not.
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(append(&*store, under(each(1), event(&endpoint, "{}"))).await);
    }
    let refused = told.iter().find_map(|told| match told {
        Appended::OverQuota { resets_in } => Some(*resets_in),
        _ => None,
    });
    let resets_in = refused.expect("of three events in a row one is past a quota of one");
    let resets_in = resets_in.expect("a quota with a period begins anew");
    assert!(!resets_in.is_zero() && resets_in <= period, "it begins anew in {resets_in:?}");

    fixture.elapse(resets_in + Duration::from_millis(50)).await;
    store_one(&*store, under(each(1), event(&endpoint, "{}"))).await;
    store_one(&*store, under(of_its_life(1), event(&endpoint, "{}"))).await;
    assert_over(&*store, under(of_its_life(1), event(&endpoint, "{}"))).await;
    fixture.elapse(period).await;
    assert_over(&*store, under(of_its_life(1), event(&endpoint, "{}"))).await;
}

/// A repeat is told so, also when the quota is used up, and counts for nothing; so does an event
/// that is fenced. An event past the quota uses no deduplication key up, and owes no run.
pub async fn a_repeat_takes_nothing_of_a_quota<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with_one(&endpoint).await;
    let one = |key, quota| under(of_its_life(quota), keyed(event(&endpoint, "{}"), key, LONG));

    let stale = checked_at(one(1, 2), Revision::new(999));
    assert!(matches!(append(&*store, stale).await, Appended::Fenced(_)), "a stale event");
    let first = store_one(&*store, one(1, 2)).await;
    for _ in 0..3 {
        assert_repeats(&*store, one(1, 2), first).await;
    }
    store_one(&*store, one(2, 2)).await;
    assert_over(&*store, one(3, 2)).await;
    assert_repeats(&*store, one(1, 2), first).await;
    assert_eq!(quota_used(&*store, &endpoint).await, Some(2), "left: what is used");
    store_one(&*store, one(3, 3)).await;
}

/// A store that does not count quotas says [`Misuse`](StoreErrorKind::Misuse) to an event with one.
pub async fn quotas_are_not_ignored<F: EventsFixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    for n in 0..2 {
        match store.append(under(of_its_life(1), event(&endpoint, "{}"))).await {
            Err(error) if error.kind() == StoreErrorKind::Misuse => {}
            Ok(Appended::Stored) if n == 0 => {}
            Ok(Appended::OverQuota { .. }) if n == 1 => {}
            told => panic!("event {n} under a quota of one is {told:?}"),
        }
    }
}

async fn assert_repeats<S: EventStore + ?Sized>(store: &S, event: NewEvent, first: EventId) {
    match append(store, event).await {
        Appended::Duplicate(id) => assert_eq!(id, first, "left: the first that it is told"),
        told => panic!("a repeat under a quota is {told:?}"),
    }
}

async fn assert_over<S: EventStore + ?Sized>(store: &S, event: NewEvent) {
    let told = append(store, event).await;
    assert!(matches!(told, Appended::OverQuota { .. }), "an event past its quota is {told:?}");
}

/// A fixture's store with one endpoint in it.
pub(super) trait OpenWithOne: Fixture {
    async fn open_with_one(&self, endpoint: &Endpoint) -> Arc<Self::Store>;
}

impl<F: Fixture> OpenWithOne for F {
    async fn open_with_one(&self, endpoint: &Endpoint) -> Arc<Self::Store> {
        EventsFixture::open_with(self, vec![endpoint.clone()]).await
    }
}
