//! Promises about lanes: that each has its room, and none holds up the others.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use tokio::time::timeout;

use super::scene::{
    LONG, claim_in, endpoint, event, finish, owing, published, roomy, run, store_one, succeed,
};
use super::{EventsFixture, Fixture};
use crate::run::Lane;
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
            lanes.enter(leased.event.lane());
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
            *claimed_in.entry(leased.event.lane()).or_default() += 1;
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
        lanes.enter(leased.event.lane());
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
