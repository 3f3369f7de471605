//! Promises about events that have been kept for long enough.
//!
//! The times are those of ids, decades apart, so that they hold by the clock of every fixture: one
//! that stands in 2023, too.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::task::JoinSet;

use super::scene::{
    LONG, all_ids, append, change, claim_all, claim_one, create, endpoint, endpoint_of, event,
    everything, find_ids, finish, keyed, look_up, owing, published, run, runs_of, set_status,
    store_one, succeed,
};
use super::{EventsFixture, Fixture};
use crate::clock::Timestamp;
use crate::endpoint::{Endpoint, Status};
use crate::event::{Fence, NewEvent};
use crate::id::{EventId, WorkspaceId};
use crate::run::{NewRun, Outcome};
use crate::store::{
    Altered, Appended, Created, Expired, Needle, RetentionStore, RunQuery, RunQueue, RunStore,
    Sweep, Tenure,
};

/// Older than the age that is swept, by every clock.
const IN_1990: Timestamp = Timestamp::from_millis(631_152_000_000);
/// Younger than that, and not new.
const IN_2015: Timestamp = Timestamp::from_millis(1_420_070_400_000);
const YEARS_30: Duration = Duration::from_secs(30 * 365 * 86_400);

/// More than any store removes by one call.
const MANY: usize = 6_000;
/// How many calls a sweep may take before it is taken for endless.
const CALLS_MAX: usize = 100_000;

/// The same event, of that time.
fn of(time: Timestamp, event: NewEvent) -> NewEvent {
    let mut bytes = *event.id.as_bytes();
    bytes[..6].copy_from_slice(&time.as_millis().to_be_bytes()[2..]);
    NewEvent { id: EventId::from_bytes(bytes), ..event }
}

/// A sweep of what the endpoint took 30 years ago and before.
fn sweep_of(endpoint: &Endpoint) -> Sweep {
    let fence = Fence { endpoint: endpoint.id, checked_at: endpoint.revision };
    let older_than = Some(YEARS_30);
    Sweep { endpoint: Some(fence), older_than, ..Sweep::published(endpoint.workspace) }
}

/// A sweep of what was published 30 years ago and before.
fn sweep_of_published(workspace: WorkspaceId) -> Sweep {
    Sweep { older_than: Some(YEARS_30), ..Sweep::published(workspace) }
}

/// Sweeps to the end; how many events went.
async fn sweep<S: RetentionStore + ?Sized>(store: &S, sweep: &Sweep) -> u64 {
    let (mut rest, mut all) = (*sweep, 0);
    for _ in 0..CALLS_MAX {
        match store.expire(&rest).await.expect("expire gives no error") {
            Expired::Swept { events, next } => {
                all += events;
                let Some(next) = next else { return all };
                rest = sweep.from(next);
            }
            Expired::Fenced => panic!("a sweep by the revision that holds was fenced"),
        }
    }
    panic!("the sweep does not end: after {CALLS_MAX} calls it is to go on still")
}

/// Has the run that is due done.
async fn carry_out<S: RunQueue + ?Sized>(store: &S) {
    let lease = claim_one(store, LONG).await.lease;
    assert_eq!(finish(store, &lease, succeed("done")).await, Tenure::Held);
}

/// An event that is old enough is neither found by its id nor by a search nor listed, and neither
/// are its runs, whatever came of them; of what the app has published too.
pub async fn what_is_past_its_time_goes<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let workspace = endpoint.workspace;
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let mut runs = Vec::new();
    let mut gone = Vec::new();
    for outcome in [succeed("done"), Outcome::Fail { error: "given up".to_owned() }] {
        for event in [event(&endpoint, r#"{"is":"old"}"#), published(workspace, r#"{"is":"old"}"#)]
        {
            let owed = run("enrich");
            runs.push(owed.id);
            gone.push(store_one(&*store, owing(of(IN_1990, event), [owed])).await);
            let lease = claim_one(&*store, LONG).await.lease;
            assert_eq!(finish(&*store, &lease, outcome.clone()).await, Tenure::Held);
        }
    }
    gone.push(store_one(&*store, of(IN_1990, event(&endpoint, r#"{"is":"old"}"#))).await);
    let stays = store_one(&*store, event(&endpoint, r#"{"is":"not old"}"#)).await;

    let events = sweep(&*store, &sweep_of(&endpoint)).await;
    assert_eq!(events, 3, "left: how many events of the endpoint went");
    let events = sweep(&*store, &sweep_of_published(workspace)).await;
    assert_eq!(events, 2, "left: how many events that were published went");
    for id in &gone {
        assert_eq!(look_up(&*store, &workspace, id).await, None, "it is found by its id");
        assert_eq!(runs_of(&*store, &workspace, id).await, [], "its runs are there");
    }
    for id in &runs {
        let found = store.run(&workspace, id).await.expect("run gives no error");
        assert_eq!(found, None, "its run is found by the run's id");
    }
    let listed = store.list_runs(&RunQuery::all(workspace)).await.expect("a list of runs");
    assert_eq!(listed.items, [], "its runs are listed");
    assert_eq!(all_ids(&*store, workspace).await, BTreeSet::from([stays]), "left: what is listed");
    let mut query = everything(workspace);
    query.contains = Some(Needle::new("old").expect("a needle"));
    assert_eq!(find_ids(&*store, &query).await, [stays], "left: what is found by its content");
    query.endpoint = Some(endpoint.id);
    assert_eq!(find_ids(&*store, &query).await, [stays], "left: what is found of the endpoint");
    assert!(claim_all(&*store, LONG).await.is_empty(), "something of it is claimed");
    store_one(&*store, event(&endpoint, "{}")).await;
}

/// What is younger than the sweep says stays, with its runs, in whatever order it came; and with
/// any age everything goes.
pub async fn what_is_younger_stays<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let workspace = endpoint.workspace;
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let mut stays = BTreeSet::new();
    for _ in 0..3 {
        stays.insert(store_one(&*store, of(IN_2015, event(&endpoint, "{}"))).await);
        store_one(&*store, of(IN_1990, event(&endpoint, "{}"))).await;
        stays.insert(store_one(&*store, of(IN_2015, published(workspace, "{}"))).await);
        store_one(&*store, of(IN_1990, published(workspace, "{}"))).await;
        stays.insert(store_one(&*store, event(&endpoint, "{}")).await);
    }
    let owed = run("enrich");
    let (owed_id, with_run) = (owed.id, owing(of(IN_2015, event(&endpoint, "{}")), [owed]));
    stays.insert(store_one(&*store, with_run).await);
    carry_out(&*store).await;

    let too_old = Some(Duration::from_secs(200 * 365 * 86_400));
    let endless = Sweep { older_than: too_old, ..sweep_of(&endpoint) };
    assert_eq!(sweep(&*store, &endless).await, 0, "what is not 200 years old went");
    let endless = Sweep { older_than: Some(Duration::MAX), ..endless };
    assert_eq!(sweep(&*store, &endless).await, 0, "something is as old as that");
    for sweep_of in [sweep_of(&endpoint), sweep_of_published(workspace)] {
        assert_eq!(sweep(&*store, &sweep_of).await, 3, "left: how many went");
    }
    assert_eq!(all_ids(&*store, workspace).await, stays, "left: what is there");
    let found = store.run(&workspace, &owed_id).await.expect("run gives no error");
    assert!(found.is_some(), "the run of what stays is gone");

    let any = Sweep { older_than: None, ..sweep_of(&endpoint) };
    assert_eq!(sweep(&*store, &any).await, 7, "left: how many went whatever their age");
    assert_eq!(sweep(&*store, &Sweep::published(workspace)).await, 3, "left: likewise");
    assert_eq!(all_ids(&*store, workspace).await, BTreeSet::new(), "left: what is there");
}

/// An event of which any run is queued, waits for its delay, is under way or to be tried again
/// stays with all that it owes, and so does one that is replayed or of which a run is tried once
/// more; when they are over it goes.
pub async fn events_with_unfinished_runs_stay<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let workspace = endpoint.workspace;
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let old = |owed: Vec<NewRun>| owing(of(IN_1990, event(&endpoint, "{}")), owed);
    let mut stays = BTreeSet::new();

    let tried_again = store_one(&*store, old(vec![run("enrich")])).await;
    let lease = claim_one(&*store, LONG).await.lease;
    let retry = Outcome::Retry { error: "later".to_owned(), after: LONG };
    assert_eq!(finish(&*store, &lease, retry).await, Tenure::Held);
    let failed = run("enrich");
    let failed_id = failed.id;
    let by_hand = store_one(&*store, old(vec![failed])).await;
    let lease = claim_one(&*store, LONG).await.lease;
    let fail = Outcome::Fail { error: "given up".to_owned() };
    assert_eq!(finish(&*store, &lease, fail).await, Tenure::Held);
    let replayed = store_one(&*store, old(vec![run("enrich")])).await;
    carry_out(&*store).await;
    let delayed = NewRun { delay: LONG, ..run("score") };
    let half_done = store_one(&*store, old(vec![run("enrich"), delayed])).await;
    carry_out(&*store).await;
    let under_way = store_one(&*store, old(vec![run("enrich")])).await;
    let held = claim_one(&*store, LONG).await.lease;
    let requeued = store.requeue(&workspace, &failed_id).await.expect("requeue gives no error");
    assert_eq!(requeued, Altered::Done);
    let added = store.enqueue(&workspace, &replayed, vec![run("enrich")]).await;
    assert!(added.expect("enqueue gives no error"), "the event is not there to be replayed");
    let queued = store_one(&*store, old(vec![run("enrich")])).await;
    stays.extend([tried_again, by_hand, replayed, half_done, under_way, queued]);

    let events = sweep(&*store, &sweep_of(&endpoint)).await;
    assert_eq!(events, 0, "left: how many went that owe something still");
    assert_eq!(all_ids(&*store, workspace).await, stays, "left: what is there");
    assert_eq!(runs_of(&*store, &workspace, &half_done).await.len(), 2, "one of its runs is gone");

    assert_eq!(finish(&*store, &held, succeed("done")).await, Tenure::Held);
    for leased in claim_all(&*store, LONG).await {
        assert_eq!(finish(&*store, &leased.lease, succeed("done")).await, Tenure::Held);
    }
    for event in [tried_again, half_done] {
        for run in runs_of(&*store, &workspace, &event).await {
            let _over_or_not = store.cancel(&workspace, &run.id).await.expect("cancel");
        }
    }
    let events = sweep(&*store, &sweep_of(&endpoint)).await;
    assert_eq!(events, 6, "left: how many went when their runs were over");
    assert_eq!(all_ids(&*store, workspace).await, BTreeSet::new(), "left: what is there");
}

/// A sweep takes nothing of another endpoint, nothing that was published, and nothing of another
/// workspace, whatever it names.
pub async fn a_sweep_is_of_one_owner<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let workspace = endpoint.workspace;
    let (neighbour, stranger) = (endpoint_of(workspace), self::endpoint());
    let all = [endpoint.clone(), neighbour.clone(), stranger.clone()];
    let store = fixture.open_with(all.to_vec()).await;
    let mut stays = BTreeSet::new();
    store_one(&*store, of(IN_1990, event(&endpoint, "{}"))).await;
    stays.insert(store_one(&*store, of(IN_1990, event(&neighbour, "{}"))).await);
    stays.insert(store_one(&*store, of(IN_1990, published(workspace, "{}"))).await);
    let theirs = BTreeSet::from([
        store_one(&*store, of(IN_1990, event(&stranger, "{}"))).await,
        store_one(&*store, of(IN_1990, published(stranger.workspace, "{}"))).await,
    ]);

    assert_eq!(sweep(&*store, &sweep_of(&endpoint)).await, 1, "left: how many went");
    assert_eq!(all_ids(&*store, workspace).await, stays, "left: what is there");
    let of_stranger = Sweep { workspace, ..sweep_of(&stranger) };
    let expired = store.expire(&of_stranger).await.expect("expire gives no error");
    assert_eq!(expired, Expired::Fenced, "left: a sweep of another workspace's endpoint");
    assert_eq!(all_ids(&*store, stranger.workspace).await, theirs, "left: what they have");
    assert_eq!(sweep(&*store, &sweep_of_published(workspace)).await, 1, "left: how many went");
    assert_eq!(all_ids(&*store, stranger.workspace).await, theirs, "left: what they have");
}

/// A sweep by an earlier revision, or of an endpoint that is deleted, removes nothing, in the
/// middle of it too.
pub async fn a_sweep_of_another_revision_removes_nothing<F: Fixture>(fixture: &F) {
    let before = endpoint();
    let store = fixture.open_with(vec![before.clone()]).await;
    let old = store_one(&*store, of(IN_1990, event(&before, "{}"))).await;
    let now = change(&*store, &before, set_status(&before, Status::Paused)).await;
    let any = Sweep { older_than: None, ..sweep_of(&before) };
    for sweep in [sweep_of(&before), any] {
        let expired = store.expire(&sweep).await.expect("expire gives no error");
        assert_eq!(expired, Expired::Fenced, "left: a sweep by the revision before");
    }
    assert_eq!(all_ids(&*store, before.workspace).await, BTreeSet::from([old]));
    assert_eq!(sweep(&*store, &sweep_of(&now)).await, 1, "left: how many went");
    let never_made = sweep_of(&endpoint());
    let expired = store.expire(&never_made).await.expect("expire gives no error");
    assert_eq!(expired, Expired::Fenced, "left: a sweep of an endpoint that is not there");
}

/// A sweep over more than one call removes ends, and takes all of it, once, however many sweep at
/// the same time; what is appended meanwhile is not lost.
pub async fn sweeps_go_on_and_meet_without_harm<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let workspace = endpoint.workspace;
    let store = fixture.open().await;
    create(&*store, endpoint.clone(), Created::Created).await;
    for _ in 0..MANY / 200 {
        let mut appends = JoinSet::new();
        for _ in 0..200 {
            let (store, old) = (store.clone(), of(IN_1990, event(&endpoint, "{}")));
            appends.spawn(async move { store_one(&*store, old).await });
        }
        appends.join_all().await;
    }
    let first = store.expire(&sweep_of(&endpoint)).await.expect("expire gives no error");
    let Expired::Swept { events: at_first, next: Some(_) } = first else {
        panic!("{MANY} events are more than one call removes, and it says {first:?}");
    };
    let mut stays = BTreeSet::new();
    let mut sweeps = JoinSet::new();
    for _ in 0..3 {
        let (store, endpoint) = (store.clone(), endpoint.clone());
        sweeps.spawn(async move { sweep(&*store, &sweep_of(&endpoint)).await });
    }
    for _ in 0..50 {
        stays.insert(store_one(&*store, event(&endpoint, "{}")).await);
    }
    let events = at_first + sweeps.join_all().await.into_iter().sum::<u64>();
    assert_eq!(events, MANY as u64, "left: how many went by all sweeps together");
    assert_eq!(all_ids(&*store, workspace).await, stays, "left: what is there");
    assert_eq!(sweep(&*store, &sweep_of(&endpoint)).await, 0, "something went twice");
}

/// A repeat of an event that is gone is told its id, as long as its window lasts.
pub async fn a_repeat_of_what_has_expired_is_one<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let old = of(IN_1990, event(&endpoint, "{}"));
    let first = store_one(&*store, keyed(old, 1, LONG)).await;
    assert_eq!(sweep(&*store, &sweep_of(&endpoint)).await, 1, "left: how many went");
    match append(&*store, keyed(event(&endpoint, "{}"), 1, LONG)).await {
        Appended::Duplicate(id) => assert_eq!(id, first, "the repeat was told another id"),
        outcome => panic!("a repeat within its window of an event that is gone is {outcome:?}"),
    }
}

/// What went is not back after a restart, what stayed is there, and the sweep goes on.
pub async fn what_has_expired_stays_gone_after_a_restart<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let workspace = endpoint.workspace;
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    for _ in 0..20 {
        store_one(&*store, of(IN_1990, event(&endpoint, "{}"))).await;
    }
    let stays = store_one(&*store, event(&endpoint, r#"{"is":"young"}"#)).await;
    assert_eq!(sweep(&*store, &sweep_of(&endpoint)).await, 20, "left: how many went");

    let store = Fixture::reopen(fixture, store).await;
    assert_eq!(all_ids(&*store, workspace).await, BTreeSet::from([stays]), "left: what is there");
    let late = store_one(&*store, of(IN_1990, event(&endpoint, "{}"))).await;
    let newest = store_one(&*store, event(&endpoint, r#"{"is":"young"}"#)).await;
    let mut query = everything(workspace);
    query.contains = Some(Needle::new("young").expect("a needle"));
    let found: BTreeSet<_> = find_ids(&*store, &query).await.into_iter().collect();
    assert_eq!(found, BTreeSet::from([stays, newest]), "left: what is found after a restart");
    assert_eq!(sweep(&*store, &sweep_of(&endpoint)).await, 1, "left: how many went afterwards");
    assert_eq!(look_up(&*store, &workspace, &late).await, None, "what came late is there");
}
