//! Promises about lanes: that each has its room, and none holds up the others.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use tokio::time::timeout;

use super::scene::{
    LONG, claim_in, delete, delivery, endpoint, endpoint_of, event, finish, owing, published,
    roomy, run, store_one, succeed,
};
use super::{EventsFixture, Fixture};
use crate::clock::{Clock, SystemClock};
use crate::id::DestinationId;
use crate::run::{Lane, LeasedRun};
use crate::store::{Lanes, RunQueue, Tenure};

/// While 300 runs wait in one lane, those of other lanes are claimed as soon as they are due, of
/// endpoints as of what the app publishes. A claim takes no more of a lane than there is room
/// for: none of a full one. In the end everything is claimed, each once.
pub async fn a_busy_lane_does_not_hold_up_the_others<F: Fixture>(fixture: &F) {
    let busy = endpoint();
    let others: Vec<_> = (0..5).map(|_| endpoint()).collect();
    let all = others.iter().chain([&busy]).cloned().collect();
    let store = fixture.open_with(all).await;
    for _ in 0..100 {
        let runs = [run("enrich"), run("score"), run("page")];
        store_one(&*store, owing(event(&busy, "{}"), runs)).await;
    }
    let (each, busy_lane) = (NonZeroU16::new(3).expect("three"), Lane::Endpoint(busy.id));
    let mut lanes = Lanes::new(each);
    let mut under_way = Vec::new();
    // What is due is there when the claim begins: a claim may give fewer than there are, but not
    // none.
    while lanes.room(&busy_lane) > 0 {
        let claimed = claim_in(&*store, 64, LONG, &lanes).await;
        assert!(!claimed.is_empty(), "300 runs are due where there is room, and none was claimed");
        for leased in claimed {
            lanes.enter(leased.lane());
            under_way.push(leased.lease);
        }
        assert!(under_way.len() <= 3, "{} runs were claimed where 3 have room", under_way.len());
    }
    let claimed = claim_in(&*store, 64, LONG, &lanes).await;
    assert!(claimed.is_empty(), "{} runs of a full lane were claimed", claimed.len());

    for other in &others {
        store_one(&*store, owing(event(other, "{}"), [run("enrich"), run("score")])).await;
        store_one(&*store, owing(published(other.workspace, "{}"), [run("enrich")])).await;
    }
    let mut claimed_in = BTreeMap::<Lane, usize>::new();
    loop {
        let claimed = claim_in(&*store, 4, LONG, &lanes).await;
        if claimed.is_empty() {
            break;
        }
        for leased in claimed {
            *claimed_in.entry(leased.lane()).or_default() += 1;
        }
    }
    let expected: BTreeMap<_, _> = others
        .iter()
        .flat_map(|other| [(Lane::Endpoint(other.id), 2), (Lane::Workspace(other.workspace), 1)])
        .collect();
    assert_eq!(
        claimed_in, expected,
        "left: what was claimed beside a full lane; right: what was due"
    );

    for lease in under_way.drain(..) {
        assert_eq!(finish(&*store, &lease, succeed("")).await, Tenure::Held);
        lanes.leave(busy_lane);
    }
    let mut rest = 0;
    loop {
        let claimed = claim_in(&*store, 64, LONG, &lanes).await;
        let (count, most) = (claimed.len(), usize::from(each.get()));
        assert!(count <= most, "{count} runs were claimed of a lane with room for {most}");
        if count == 0 {
            break;
        }
        rest += count;
    }
    assert_eq!(rest, 297, "left: how many more were claimed of the busy lane");
}

/// What is delivered to one destination stands in one lane, whether endpoints took it or the app
/// published it, apart from what else their events run. That lane has the room of destinations, or
/// what is set for it: none at all holds back all of it, and nothing else, and who waits does not
/// go on for it. What came by a deleted endpoint is not claimed there either.
pub async fn a_destination_has_a_lane_of_its_own<F: Fixture>(fixture: &F) {
    let first = endpoint();
    let (second, doomed) = (endpoint_of(first.workspace), endpoint_of(first.workspace));
    let store = fixture.open_with(vec![first.clone(), second.clone(), doomed.clone()]).await;
    let [busy, other] = [(); 2].map(|()| DestinationId::mint(SystemClock.now()));
    for _ in 0..4 {
        let event_of = |endpoint| owing(event(endpoint, "{}"), [delivery(busy), run("enrich")]);
        for event in [event_of(&first), event_of(&second), event_of(&doomed)] {
            store_one(&*store, event).await;
        }
        let event = published(first.workspace, "{}");
        store_one(&*store, owing(event, [delivery(busy), delivery(other)])).await;
    }
    let (busy, other) = (Lane::Destination(busy), Lane::Destination(other));
    let each = NonZeroU16::new(50).expect("fifty");
    let mut lanes = Lanes::new(each).with_destinations(NonZeroU16::MIN);
    let claimed = claim_what_has_room(&*store, &mut lanes).await;
    let count =
        |claimed: &[LeasedRun], lane| claimed.iter().filter(|leased| leased.lane() == lane).count();
    let counts = [busy, other, Lane::Endpoint(first.id)].map(|lane| count(&claimed, lane));
    assert_eq!(counts, [1, 1, 4], "left: claimed where each destination has room for one");

    lanes.bound(busy, 3);
    let more = claim_what_has_room(&*store, &mut lanes).await;
    assert_eq!(count(&more, busy), 2, "left: claimed after room for three was set");
    assert_eq!(more.len(), 2, "left: claimed in all, where nothing else had room");

    lanes.bound(busy, 0);
    for leased in claimed.iter().chain(&more).filter(|leased| leased.lane() == busy) {
        assert_eq!(finish(&*store, &leased.lease, succeed("")).await, Tenure::Held);
        lanes.leave(busy);
    }
    let held_back = claim_what_has_room(&*store, &mut lanes).await;
    assert!(held_back.is_empty(), "{} runs of a lane without room were claimed", held_back.len());
    let resting = timeout(Duration::from_millis(300), async {
        for _ in 0..100 {
            store.wait(LONG, &lanes).await.expect("wait gives no error");
        }
    });
    assert!(resting.await.is_err(), "who waits goes on for a lane that has no room at all");

    delete(&*store, &doomed, true).await;
    lanes.bound(busy, 100);
    lanes.bound(other, 100);
    let rest = claim_what_has_room(&*store, &mut lanes).await;
    let of_doomed = |leased: &&LeasedRun| leased.event.endpoint == Some(doomed.id);
    assert_eq!(rest.iter().filter(of_doomed).count(), 0, "left: claimed of a deleted endpoint");
    let before = claimed.iter().chain(&more);
    let lost = before.filter(of_doomed).filter(|leased| leased.lane() == busy).count();
    assert_eq!(count(&rest, busy), 16 - 3 - (4 - lost), "left: claimed at last, of those left");
    assert_eq!(count(&rest, other), 3, "left: claimed of the other destination");
}

/// Everything that may be claimed, as the lanes fill.
async fn claim_what_has_room<S: RunQueue + ?Sized>(store: &S, lanes: &mut Lanes) -> Vec<LeasedRun> {
    let mut all = Vec::new();
    loop {
        let claimed = claim_in(store, 64, LONG, lanes).await;
        if claimed.is_empty() {
            return all;
        }
        let mut taken = BTreeMap::<Lane, u16>::new();
        for leased in &claimed {
            *taken.entry(leased.lane()).or_default() += 1;
        }
        for (lane, taken) in taken {
            let room = lanes.room(&lane);
            assert!(taken <= room, "{taken} runs were claimed in {lane:?}, with room for {room}");
            (0..taken).for_each(|_| lanes.enter(lane));
        }
        all.extend(claimed);
    }
}

/// Who waits does not go on for what is due in lanes that are full, and goes on at once when
/// something is due in another, or when there is room.
pub async fn waiting_passes_over_full_lanes<F: Fixture>(fixture: &F) {
    const SHORT: Duration = Duration::from_millis(300);
    const SOON: Duration = Duration::from_secs(10);
    let (busy, other) = (endpoint(), endpoint());
    let store = fixture.open_with(vec![busy.clone(), other.clone()]).await;
    store_one(&*store, owing(event(&busy, "{}"), [run("enrich"), run("score")])).await;
    let mut lanes = Lanes::new(NonZeroU16::MIN);
    for leased in claim_in(&*store, 64, LONG, &lanes).await {
        lanes.enter(leased.lane());
    }
    assert_eq!(lanes.room(&Lane::Endpoint(busy.id)), 0, "left: the room in a lane in use");
    // An early end now and then is allowed; one after the other is a worker that never rests.
    let resting = timeout(SHORT, async {
        for _ in 0..100 {
            store.wait(LONG, &lanes).await.expect("wait gives no error");
        }
    });
    assert!(resting.await.is_err(), "who waits goes on, again and again, for a full lane");

    store_one(&*store, owing(event(&other, "{}"), [run("enrich")])).await;
    let waited = timeout(SOON, store.wait(LONG, &lanes)).await;
    waited.expect("something is due in a lane with room").expect("wait gives no error");
    assert_eq!(claim_in(&*store, 64, LONG, &lanes).await.len(), 1, "left: what was claimed then");
    let waited = timeout(SOON, store.wait(LONG, &roomy())).await;
    waited.expect("something is due, and there is room").expect("wait gives no error");
}
