//! Promises about the runs that events owe.

use super::scene::{
    LONG, append, checked_at, claim_all, create, delete, endpoint, event, keyed, owing, published,
    run, runs_of, store_one,
};
use super::{EventsFixture, Fixture};
use crate::endpoint::Revision;
use crate::id::{EventId, WorkspaceId};
use crate::run::{NewRun, RunState};
use crate::store::{Appended, Created, RunQueue};

/// The runs that an event owes are stored with it, queued, and come back sorted by id; an event
/// that is a duplicate or fenced leaves none.
pub async fn owed_runs_are_stored_with_their_event<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let endpoint = endpoint();
    create(&*store, endpoint.clone(), Created::Created).await;
    for count in [0, 1, 7] {
        let mut with_runs = keyed(event(&endpoint, "{}"), count, LONG);
        with_runs.owes = (0..count).map(|n| run(&format!("Ploybook {n} → 'x'"))).collect();
        let mut owed = with_runs.owes.clone();
        owed.sort_by_key(|run| run.id);
        with_runs.owes.reverse();
        let id = store_one(&*store, with_runs).await;
        let runs = runs_of(&*store, &endpoint.workspace, &id).await;
        let shown: Vec<_> = runs.iter().map(|run| (run.id, &run.trigger)).collect();
        let expected: Vec<_> = owed.iter().map(|run| (run.id, &run.trigger)).collect();
        assert_eq!(shown, expected, "left: the runs on record; right: the runs owed");
        assert!(
            runs.iter().all(|run| run.event == id && run.state == RunState::Queued),
            "a run is of another event, or not queued: {runs:?}"
        );
    }
    let mut duplicate = keyed(event(&endpoint, "{}"), 1, LONG);
    let mut fenced = checked_at(event(&endpoint, "{}"), Revision::new(999));
    for refused in [&mut duplicate, &mut fenced] {
        refused.owes = vec![run("never")];
        let id = refused.id;
        let outcome = append(&*store, refused.clone()).await;
        assert!(!matches!(outcome, Appended::Stored), "it should have been refused");
        let runs = runs_of(&*store, &endpoint.workspace, &id).await;
        assert_eq!(runs, [], "a refused event left a run");
    }
}

/// Runs are added to an event that the workspace has, whoever took it, beside those that it
/// owes; they are listed sorted by id and claimed like any other. Nothing is added to an event
/// that is not there, or is another workspace's, or is gone with its endpoint.
pub async fn runs_are_added_to_stored_events<F: Fixture>(fixture: &F) {
    let (endpoint, doomed) = (endpoint(), endpoint());
    let store = fixture.open_with(vec![endpoint.clone(), doomed.clone()]).await;
    let workspace = endpoint.workspace;
    let taken = store_one(&*store, owing(event(&endpoint, "{}"), [run("enrich")])).await;
    let published_here = store_one(&*store, published(workspace, "{}")).await;
    let gone = store_one(&*store, event(&doomed, "{}")).await;
    delete(&*store, &doomed, true).await;
    let unknown = event(&endpoint, "{}").id;

    for (workspace, event) in [
        (workspace, unknown),
        (doomed.workspace, taken),
        (doomed.workspace, published_here),
        (workspace, gone),
        (doomed.workspace, gone),
    ] {
        let added = enqueue(&*store, workspace, event, vec![run("never")]).await;
        assert!(!added, "runs were added to an event that the workspace does not have");
        let runs = runs_of(&*store, &workspace, &event).await;
        assert_eq!(runs, [], "runs of an event that the workspace does not have");
    }

    let mut due: Vec<_> = claim_all(&*store, LONG).await.iter().map(|run| run.lease.run).collect();
    assert_eq!(due.len(), 1, "left: how many runs are due when one is owed");
    for event in [taken, published_here] {
        let mut added: Vec<_> = (0..4).map(|n| run(&format!("replay {n}"))).collect();
        added.reverse();
        added[0].delay = LONG;
        due.extend(added[1..].iter().map(|run| run.id));
        let was_there = enqueue(&*store, workspace, event, added.clone()).await;
        assert!(was_there, "no run was added to an event that is there");
        let listed = runs_of(&*store, &workspace, &event).await;
        assert!(listed.is_sorted_by_key(|run| run.id), "runs are not sorted by id: {listed:?}");
        let with_owed = 4 + usize::from(event == taken);
        assert_eq!(listed.len(), with_owed, "left: how many runs are listed; right: owed");
        for run in added {
            let shown = listed.iter().find(|listed| listed.id == run.id);
            let shown = shown.expect("a run that was added is listed");
            assert_eq!((shown.event, &shown.trigger), (event, &run.trigger), "left: as listed");
            assert_eq!(shown.state, RunState::Queued, "left: the state of a run that was added");
        }
        let claimed = claim_all(&*store, LONG).await;
        assert!(claimed.iter().all(|run| run.event.id == event), "claimed of another event");
        due.retain(|id| !claimed.iter().any(|run| run.lease.run == *id));
        assert_eq!(claimed.len(), 3, "left: how many were claimed of three that are due");
    }
    assert_eq!(due.len(), 1, "left: all but the one that was claimed before were claimed");
}

async fn enqueue<S: RunQueue + ?Sized>(
    store: &S,
    workspace: WorkspaceId,
    event: EventId,
    runs: Vec<NewRun>,
) -> bool {
    store.enqueue(&workspace, &event, runs).await.expect("enqueue gives no error")
}
