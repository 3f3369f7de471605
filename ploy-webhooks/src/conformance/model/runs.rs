//! The model's runs: which are owed, which are due, and what came of their attempts.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::conformance::calls::End;
use crate::conformance::scene::{LONG, claim, finish, run, runs_of, succeed};
use crate::event::NewEvent;
use crate::id::{EndpointId, EventId, RunId, WorkspaceId};
use crate::run::{Lease, NewRun, Outcome, RunState};
use crate::store::{RunQueue, RunStore, Tenure};

/// What a store holds of runs.
#[derive(Default)]
pub(super) struct Runs(Vec<ModelRun>);

struct ModelRun {
    id: RunId,
    event: EventId,
    endpoint: Option<EndpointId>,
    /// Whether its endpoint has not been deleted.
    is_there: bool,
    is_due: bool,
    state: RunState,
    /// Every lease that was given out, and what was said by it.
    attempts: Vec<(Lease, Option<Outcome>)>,
}

impl Runs {
    pub(super) fn add(&mut self, event: &NewEvent, runs: &[NewRun]) {
        self.0.extend(runs.iter().map(|run| ModelRun {
            id: run.id,
            event: event.id,
            endpoint: event.fence.map(|fence| fence.endpoint),
            is_there: true,
            is_due: run.delay.is_zero(),
            state: RunState::Queued,
            attempts: Vec::new(),
        }));
    }

    pub(super) fn forget(&mut self, endpoint: EndpointId) {
        for run in self.0.iter_mut().filter(|run| run.endpoint == Some(endpoint)) {
            run.is_there = false;
        }
    }

    /// Claims for longer than the test takes. What other sequences of calls have left in the
    /// store is stepped over.
    pub(super) async fn claim<S>(&mut self, store: &S, max: u16) -> Result<(), TestCaseError>
    where
        S: RunQueue + ?Sized,
    {
        loop {
            let claimed = claim(store, max, LONG).await;
            let mut is_of_others = !claimed.is_empty();
            for leased in &claimed {
                let Some(run) = self.0.iter_mut().find(|run| run.id == leased.lease.run) else {
                    continue;
                };
                is_of_others = false;
                prop_assert!(run.is_there, "a run of a deleted endpoint was claimed");
                prop_assert!(run.is_due, "a run was claimed that is not due");
                prop_assert_eq!(leased.event.id, run.event, "claimed with another event");
                let number = usize::try_from(leased.lease.attempt.get()).ok();
                let expected = Some(run.attempts.len() + 1);
                prop_assert_eq!(number, expected, "left: the number of an attempt");
                run.is_due = false;
                run.state = RunState::Running;
                run.attempts.push((leased.lease, None));
            }
            if claimed.is_empty() {
                let due = self.0.iter().find(|run| run.is_there && run.is_due);
                let due = due.map(|run| run.id);
                prop_assert_eq!(due, None, "left: a run that is due, and none was claimed");
            }
            if !is_of_others {
                return Ok(());
            }
        }
    }

    /// Ends an attempt by the last lease of a run or an earlier one.
    pub(super) async fn finish<S>(
        &mut self,
        store: &S,
        which: u8,
        attempts_behind: usize,
        end: End,
    ) -> Result<(), TestCaseError>
    where
        S: RunQueue + ?Sized,
    {
        let claimed = self.0.iter_mut().filter(|run| !run.attempts.is_empty());
        let mut claimed: Vec<_> = claimed.collect();
        let Some(run) = super::nth_mut(&mut claimed, which) else {
            return Ok(());
        };
        let last = run.attempts.len() - 1;
        let (lease, _) = run.attempts[last.saturating_sub(attempts_behind)];
        let holds = run.is_there
            && run.state == RunState::Running
            && lease.attempt == run.attempts[last].0.attempt;
        let outcome = match end {
            End::Succeed => succeed("done"),
            End::Fail => Outcome::Fail { error: "given up".to_owned() },
            End::RetryAtOnce => Outcome::Retry { error: "again".to_owned(), after: Duration::ZERO },
            End::RetryLater => Outcome::Retry { error: "later".to_owned(), after: LONG },
        };
        let tenure = finish(store, &lease, outcome.clone()).await;
        prop_assert_eq!(tenure == Tenure::Held, holds, "left: whether a lease is said to hold");
        if holds {
            run.is_due = matches!(end, End::RetryAtOnce);
            run.state = outcome.state();
            run.attempts[last].1 = Some(outcome);
        }
        Ok(())
    }

    /// Adds runs to an event, in its workspace or another.
    pub(super) async fn enqueue<S>(
        &mut self,
        store: &S,
        workspace: WorkspaceId,
        event: &NewEvent,
        is_there: bool,
    ) -> Result<(), TestCaseError>
    where
        S: RunQueue + ?Sized,
    {
        let later = NewRun { delay: LONG, ..run("later") };
        let runs = vec![run("replayed"), later];
        let added = store.enqueue(&workspace, &event.id, runs.clone()).await;
        let added = added.expect("enqueue gives no error");
        let expected = is_there && workspace == event.workspace;
        prop_assert_eq!(added, expected, "left: whether runs are said to be added");
        if added {
            self.add(event, &runs);
        }
        Ok(())
    }

    /// The runs of the event are on record as they should be, where they are to be shown.
    pub(super) async fn are_on_record<S>(
        &self,
        store: &S,
        workspace: &WorkspaceId,
        event: EventId,
        shown: bool,
    ) -> Result<(), TestCaseError>
    where
        S: RunStore + ?Sized,
    {
        let runs = runs_of(store, workspace, &event).await;
        let of_event = self.0.iter().filter(|run| run.event == event && shown);
        let mut expected: Vec<_> = of_event.collect();
        expected.sort_by_key(|run| run.id);
        let ids: Vec<_> = runs.iter().map(|run| run.id).collect();
        let owed: Vec<_> = expected.iter().map(|run| run.id).collect();
        prop_assert_eq!(ids, owed, "left: the runs on record; right: the runs owed");
        for (run, expected) in runs.iter().zip(expected) {
            prop_assert_eq!(run.state, expected.state, "left: the state on record");
            let ends = run.attempts.iter().map(|attempt| attempt.end.as_ref());
            let outcomes: Vec<_> = ends.map(|end| end.map(|end| &end.outcome)).collect();
            let said: Vec<_> =
                expected.attempts.iter().map(|(_, outcome)| outcome.as_ref()).collect();
            prop_assert_eq!(outcomes, said, "left: the attempts on record; right: what was said");
        }
        Ok(())
    }
}
