//! Promises about runs that people look at, have tried again, or call off.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::leases::{PAST_SHORT, SHORT, claim_for_short};
use super::scene::{
    LONG, assert_is_lost, claim_all, claim_one, delete, delivery, endpoint, endpoint_of, event,
    finish, names_of, owing, published, roomy, run, runs_of, store_one, succeed, workspace,
};
use super::{EventsFixture, Fixture};
use crate::clock::{Clock, SystemClock};
use crate::id::{DestinationId, RunId, WorkspaceId};
use crate::run::{NewRun, Outcome, Run, RunState};
use crate::store::{Altered, PageSize, RunQuery, RunQueue, RunStore, Tenure};

/// How many pages a list may have before it is taken for endless.
const PAGES_MAX: usize = 10_000;

/// A run is found by its id with all that is on record of it, as among the runs of its event,
/// whoever took that: in its workspace alone, and not when its endpoint is deleted.
pub async fn runs_are_found_by_their_ids<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let doomed = endpoint_of(endpoint.workspace);
    let store = fixture.open_with(vec![endpoint.clone(), doomed.clone()]).await;
    let workspace = endpoint.workspace;
    let mut owed = Vec::new();
    for event in [event(&endpoint, "{}"), event(&doomed, "{}"), published(workspace, "{}")] {
        let runs = [run("enrich"), run("score")];
        let ids = runs.clone().map(|run| run.id);
        let event = store_one(&*store, owing(event, runs)).await;
        owed.extend(ids.map(|id| (event, id)));
    }
    let added = run("added later");
    let event = owed[0].0;
    owed.push((event, added.id));
    assert!(store.enqueue(&workspace, &event, vec![added]).await.expect("enqueue gives no error"));
    for leased in claim_all(&*store, LONG).await {
        let _held = finish(&*store, &leased.lease, succeed("done")).await;
    }
    for (event, id) in &owed {
        let runs = runs_of(&*store, &workspace, event).await;
        let expected = runs.iter().find(|run| run.id == *id);
        assert!(expected.is_some(), "a run that is owed is among those of its event");
        assert_eq!(
            by_id(&*store, workspace, *id).await.as_ref(),
            expected,
            "left: found by its id"
        );
        assert_eq!(by_id(&*store, super::scene::workspace(), *id).await, None, "found elsewhere");
    }
    let unknown = RunId::mint(SystemClock.now());
    assert_eq!(by_id(&*store, workspace, unknown).await, None, "a run that nobody owes");

    delete(&*store, &doomed, true).await;
    let [_, _, (_, first), (_, second), ..] = owed[..] else { panic!("seven runs are owed") };
    for id in [first, second] {
        assert_eq!(by_id(&*store, workspace, id).await, None, "a run of a deleted endpoint");
    }
}

/// Every run of a workspace is listed once, those with the greatest ids first, with all that is
/// on record of it, in pages of any size; of a state, those that are in it. Runs that are added
/// meanwhile disturb nothing. Other workspaces' and deleted endpoints' are not listed.
pub async fn lists_of_runs_join_without_gap_or_repeat<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let workspace = endpoint.workspace;
    let (neighbour, doomed) = (endpoint_of(workspace), endpoint_of(workspace));
    let alien = super::scene::endpoint();
    let all = [&endpoint, &neighbour, &doomed, &alien].map(Clone::clone);
    let store = fixture.open_with(all.to_vec()).await;
    let mut owed = Vec::new();
    for number in 0..40 {
        let event = match number % 4 {
            0 => published(workspace, "{}"),
            1 => event(&neighbour, "{}"),
            _ => event(&endpoint, "{}"),
        };
        let runs: Vec<_> = (0..1 + number % 2).map(|n| run(&format!("{number} {n}"))).collect();
        let ids: Vec<_> = runs.iter().map(|run| run.id).collect();
        let event = store_one(&*store, owing(event, runs)).await;
        owed.extend(ids.into_iter().map(|id| (id, event)));
        for elsewhere in [&doomed, &alien] {
            store_one(&*store, owing(super::scene::event(elsewhere, "{}"), [run("never")])).await;
        }
    }
    delete(&*store, &doomed, true).await;
    // A replay of an old event is among the newest.
    let replayed = run("replayed");
    let (_, first) = owed[0];
    owed.push((replayed.id, first));
    let added = store.enqueue(&workspace, &first, vec![replayed]).await;
    assert!(added.expect("enqueue gives no error"));
    into_every_state(&*store, workspace).await;

    owed.sort();
    owed.reverse();
    let mut expected: Vec<Run> = Vec::new();
    for (id, event) in &owed {
        let runs = runs_of(&*store, &workspace, event).await;
        expected.extend(runs.into_iter().find(|run| run.id == *id));
    }
    let states: std::collections::BTreeSet<_> =
        expected.iter().map(|run| run.state.as_str()).collect();
    assert_eq!(states.len(), RunState::ALL.len(), "a run is in every state: {states:?}");
    for limit in [1, 7, 200] {
        let listed = list(&*store, workspace, None, limit).await;
        assert_eq!(listed, expected, "left: the runs listed, {limit} a page; right: those owed");
        for state in RunState::ALL {
            let listed = list(&*store, workspace, Some(state), limit).await;
            let expected: Vec<_> =
                expected.iter().filter(|run| run.state == state).cloned().collect();
            assert_eq!(listed, expected, "left: the runs listed that are {}", state.as_str());
        }
    }
    assert_eq!(list(&*store, super::scene::workspace(), None, 50).await, [], "another's list");
    while_runs_are_added(&store, &owed, workspace).await;
}

/// Of a destination, the runs are listed that deliver there, of any state as of one: none that
/// does something else, and none of another workspace.
pub async fn runs_are_listed_by_their_destination<F: Fixture>(fixture: &F) {
    let (endpoint, alien) = (endpoint(), endpoint());
    let workspace = endpoint.workspace;
    let store = fixture.open_with(vec![endpoint.clone(), alien.clone()]).await;
    let [wanted, other] = [(); 2].map(|()| DestinationId::mint(SystemClock.now()));
    let mut owed = Vec::new();
    for number in 0..30 {
        let event = match number % 3 {
            0 => published(workspace, "{}"),
            _ => event(&endpoint, "{}"),
        };
        let runs = [delivery(wanted), delivery(other), run("enrich")];
        owed.push(runs[0].id);
        store_one(&*store, owing(event, runs)).await;
        let elsewhere = super::scene::event(&alien, "{}");
        store_one(&*store, owing(elsewhere, [delivery(wanted)])).await;
    }
    into_every_state(&*store, workspace).await;
    owed.sort();
    owed.reverse();
    for limit in [1, 7, 200] {
        let query = RunQuery { destination: Some(wanted), ..RunQuery::all(workspace) };
        let listed = list_by(&*store, query.clone(), limit).await;
        let ids: Vec<_> = listed.iter().map(|run| run.id).collect();
        assert_eq!(ids, owed, "left: listed of a destination, {limit} a page; right: owed to it");
        for state in RunState::ALL {
            let in_state = RunQuery { state: Some(state), ..query.clone() };
            let in_state = list_by(&*store, in_state, limit).await;
            let expected: Vec<_> =
                listed.iter().filter(|run| run.state == state).cloned().collect();
            assert_eq!(in_state, expected, "left: listed that are {}", state.as_str());
        }
    }
    let nobody = Some(DestinationId::mint(SystemClock.now()));
    let of_nobody = RunQuery { destination: nobody, ..RunQuery::all(workspace) };
    assert_eq!(list_by(&*store, of_nobody, 50).await, [], "left: listed of an unknown destination");
}

/// Leaves runs in every state.
async fn into_every_state<S: RunQueue + ?Sized>(store: &S, workspace: WorkspaceId) {
    for (place, leased) in claim_all(store, LONG).await.into_iter().enumerate() {
        let outcome = match place % 6 {
            0 | 1 => succeed(format!("done {place}")),
            2 => Outcome::Fail { error: format!("given up {place}") },
            3 => Outcome::Retry { error: "again".to_owned(), after: LONG },
            _ => continue,
        };
        // Another workspace's may be among them; it is not looked at.
        assert_eq!(finish(store, &leased.lease, outcome).await, Tenure::Held);
    }
    let running = list(store, workspace, Some(RunState::Running), 50).await;
    let [first, second, ..] = &running[..] else { panic!("several are running: {running:?}") };
    for run in [first, second] {
        assert_eq!(cancel(store, workspace, run.id).await, Altered::Done);
    }
    assert_eq!(requeue(store, workspace, second.id).await, Altered::Done);
}

async fn while_runs_are_added<S: RunQueue + ?Sized>(
    store: &Arc<S>,
    owed: &[(RunId, crate::id::EventId)],
    workspace: WorkspaceId,
) {
    let mut adding = JoinSet::new();
    let (store_of_adder, event) = (Arc::clone(store), owed[0].1);
    adding.spawn(async move {
        for _ in 0..50 {
            let added = store_of_adder.enqueue(&workspace, &event, vec![run("meanwhile")]).await;
            assert!(added.expect("enqueue gives no error"));
        }
    });
    let listed = list(&**store, workspace, None, 2).await;
    let before: Vec<_> = owed.iter().map(|(id, _)| *id).collect();
    let mut listed: Vec<_> = listed.into_iter().map(|run| run.id).collect();
    listed.retain(|id| before.contains(id));
    assert_eq!(listed, before, "left: what was listed of what was there while runs were added");
    adding.join_all().await;
}

/// A run that failed, was cancelled or waits for its next attempt is queued again by hand, due at
/// once, and its next attempt has the next number: what was on record stays. Who waits goes on.
/// One that is queued, running or succeeded is left as it is, and so is another workspace's.
pub async fn runs_are_tried_again_by_hand<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let workspace = endpoint.workspace;
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let retry = Outcome::Retry { error: "later".to_owned(), after: LONG };
    for outcome in [Some(retry), Some(Outcome::Fail { error: "given up".to_owned() }), None] {
        let owed = run("enrich");
        let id = owed.id;
        store_one(&*store, owing(event(&endpoint, "{}"), [owed])).await;
        let queued = requeue(&*store, workspace, id).await;
        assert_eq!(queued, Altered::Refused(RunState::Queued), "left: one that is queued");
        // One that is called off under a lease is due when that is over.
        let lease = if outcome.is_some() { LONG } else { SHORT };
        let first = claim_one(&*store, lease).await.lease;
        let running = requeue(&*store, workspace, id).await;
        assert_eq!(running, Altered::Refused(RunState::Running), "left: one that is running");
        match outcome {
            Some(outcome) => assert_eq!(finish(&*store, &first, outcome).await, Tenure::Held),
            None => assert_eq!(cancel(&*store, workspace, id).await, Altered::Done),
        }
        let before = by_id(&*store, workspace, id).await.expect("it is there");
        let elsewhere = requeue(&*store, super::scene::workspace(), id).await;
        assert_eq!(elsewhere, Altered::Missing, "left: from another workspace");
        assert!(claim_all(&*store, LONG).await.is_empty(), "it is not due yet");
        if before.state == RunState::Cancelled {
            fixture.elapse(PAST_SHORT).await;
        }

        let (waited, altered) = tokio::join!(
            timeout(Duration::from_secs(10), wait_for_due(&*store)),
            requeue(&*store, workspace, id),
        );
        assert_eq!(altered, Altered::Done, "left: a run that is {:?}", before.state);
        waited.expect("who waits goes on when a run is queued again");
        let after = by_id(&*store, workspace, id).await.expect("it is there");
        assert_eq!(after.state, RunState::Queued, "left: the state of a run that is queued again");
        assert_eq!(after.attempts, before.attempts, "left: the attempts on record after that");
        assert_is_lost(&*store, &first, "its run was queued again").await;
        let again = claim_one(&*store, LONG).await;
        assert!(!again.is_after_loss, "one that was queued by hand is said to come after a loss");
        let again = again.lease;
        assert_eq!((again.run, again.attempt.get()), (id, 2), "left: what was claimed then");
        assert_eq!(finish(&*store, &again, succeed("done")).await, Tenure::Held);
        let done = requeue(&*store, workspace, id).await;
        assert_eq!(done, Altered::Refused(RunState::Succeeded), "left: one that succeeded");
    }
    let unknown = RunId::mint(SystemClock.now());
    assert_eq!(requeue(&*store, workspace, unknown).await, Altered::Missing);
}

/// A run that is called off while an attempt of it is under way, and queued again at once, is not
/// claimed before the lease of that attempt is over, and is claimed then: so two attempts are never
/// under way at once, although its worker has not heard of it. One that was called off while it
/// waited for a later attempt is due at once.
pub async fn a_cancelled_attempt_keeps_its_run_from_others<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let workspace = workspace();
    let (under_way, waiting) = (run("enrich"), run("score"));
    let (under_way_id, waiting_id) = (under_way.id, waiting.id);
    store_one(&*store, owing(published(workspace, "{}"), [waiting])).await;
    let lease = claim_one(&*store, LONG).await.lease;
    let again = Outcome::Retry { error: "later".to_owned(), after: LONG };
    assert_eq!(finish(&*store, &lease, again).await, Tenure::Held);
    store_one(&*store, owing(published(workspace, "{}"), [under_way])).await;
    let lease = claim_for_short(&*store).await;
    // Whoever is of two minds changes nothing about that.
    for id in [under_way_id, waiting_id, under_way_id] {
        assert_eq!(cancel(&*store, workspace, id).await, Altered::Done);
        assert_eq!(requeue(&*store, workspace, id).await, Altered::Done);
    }
    assert_is_lost(&*store, &lease, "its run was called off").await;
    let claimed = names_of(&claim_all(&*store, LONG).await);
    assert_eq!(claimed, [(waiting_id, 2)], "left: what was claimed while a lease is not over");
    fixture.elapse(PAST_SHORT).await;
    let claimed = names_of(&claim_all(&*store, LONG).await);
    assert_eq!(claimed, [(under_way_id, 2)], "left: what was claimed when it was over");
}

/// Waits until something is due, and leaves it.
async fn wait_for_due<S: RunQueue + ?Sized>(store: &S) {
    store.wait(LONG, &roomy()).await.expect("wait gives no error");
}

/// A run that is called off while it is queued, under way or waits for its next attempt is not
/// claimed any more; a lease on it is lost, and its attempts stay on record. One that is finished
/// is left as it is, and so is another workspace's. Its neighbours go on.
pub async fn cancelled_runs_are_not_claimed<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let workspace = workspace();
    let runs: [NewRun; 5] = std::array::from_fn(|n| run(&n.to_string()));
    let [queued, running, retrying, succeeded, failed] = [0, 1, 2, 3, 4].map(|n: usize| runs[n].id);
    let delayed = NewRun { delay: LONG, ..runs[0].clone() };
    let [_, rest @ ..] = runs;
    store_one(&*store, owing(published(workspace, "{}"), rest)).await;
    let mut lease = None;
    for leased in claim_all(&*store, LONG).await {
        let outcome = match leased.lease.run {
            id if id == retrying => {
                Outcome::Retry { error: "again".to_owned(), after: Duration::ZERO }
            }
            id if id == succeeded => succeed("done"),
            id if id == failed => Outcome::Fail { error: "given up".to_owned() },
            _ => {
                lease = Some(leased.lease);
                continue;
            }
        };
        assert_eq!(finish(&*store, &leased.lease, outcome).await, Tenure::Held);
    }
    let event = store_one(&*store, owing(published(workspace, "{}"), [delayed])).await;

    assert_eq!(cancel(&*store, super::scene::workspace(), running).await, Altered::Missing);
    for (id, expected) in [
        (queued, Altered::Done),
        (running, Altered::Done),
        (retrying, Altered::Done),
        (succeeded, Altered::Refused(RunState::Succeeded)),
        (failed, Altered::Refused(RunState::Failed)),
        (queued, Altered::Refused(RunState::Cancelled)),
    ] {
        let before = by_id(&*store, workspace, id).await.expect("it is there");
        let altered = cancel(&*store, workspace, id).await;
        assert_eq!(
            altered, expected,
            "left: what came of calling off a run that is {:?}",
            before.state
        );
        let after = by_id(&*store, workspace, id).await.expect("it is there");
        let state = if altered == Altered::Done { RunState::Cancelled } else { before.state };
        assert_eq!(after.state, state, "left: its state then");
        assert_eq!(after.attempts, before.attempts, "left: its attempts then");
    }
    let neighbour = run("neighbour");
    let neighbour_id = neighbour.id;
    let added = store.enqueue(&workspace, &event, vec![neighbour]).await;
    assert!(added.expect("enqueue gives no error"));
    assert_is_lost(&*store, &lease.expect("one was under way"), "its run was called off").await;
    let claimed = names_of(&claim_all(&*store, LONG).await);
    assert_eq!(claimed, [(neighbour_id, 1)], "left: what was claimed after that");
}

async fn by_id<S: RunStore + ?Sized>(store: &S, workspace: WorkspaceId, id: RunId) -> Option<Run> {
    store.run(&workspace, &id).await.expect("a look-up of a run gives no error")
}

async fn requeue<S: RunQueue + ?Sized>(store: &S, workspace: WorkspaceId, id: RunId) -> Altered {
    store.requeue(&workspace, &id).await.expect("requeue gives no error")
}

async fn cancel<S: RunQueue + ?Sized>(store: &S, workspace: WorkspaceId, id: RunId) -> Altered {
    store.cancel(&workspace, &id).await.expect("cancel gives no error")
}

/// Every run that is listed, page after page.
async fn list<S: RunStore + ?Sized>(
    store: &S,
    workspace: WorkspaceId,
    state: Option<RunState>,
    limit: u16,
) -> Vec<Run> {
    list_by(store, RunQuery { state, ..RunQuery::all(workspace) }, limit).await
}

async fn list_by<S: RunStore + ?Sized>(store: &S, query: RunQuery, limit: u16) -> Vec<Run> {
    let limit = PageSize::new(limit).expect("the size of a page");
    let mut rest = Some(RunQuery { limit, ..query });
    let mut listed = Vec::new();
    for _ in 0..PAGES_MAX {
        let Some(query) = rest else { return listed };
        let page = store.list_runs(&query).await.expect("a list of runs gives no error");
        let (count, most) = (page.items.len(), limit.get());
        assert!(count <= most, "a page of at most {most} runs has {count}");
        listed.extend(page.items);
        rest = page.next;
    }
    panic!("the list does not end: after {PAGES_MAX} pages there is still a next one")
}
