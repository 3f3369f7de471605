//! Promises about the runs that events owe.

use super::Fixture;
use super::scene::{
    LONG, append, checked_at, create, endpoint, event, keyed, run, runs_of, store_one,
};
use crate::endpoint::Revision;
use crate::run::RunState;
use crate::store::{Appended, Created};

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
