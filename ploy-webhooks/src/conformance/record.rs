//! Promises about what is on record of a run.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::scene::{
    LONG, WORKER, assert_is_lost, claim_all, claim_one, endpoint, event, finish, owing, runs_of,
    store_one, succeed,
};
use super::{EventsFixture, Fixture, scene};
use crate::endpoint::Endpoint;
use crate::id::EventId;
use crate::run::{Outcome, Run, RunState};
use crate::store::{RunQueue, Tenure};

/// What came of each attempt is on record, under its number and with its times, and says what
/// was said of it to the letter. A finished run is never claimed again, and the lease under
/// which it was finished is lost.
///
/// That an attempt whose lease ended without a word has no end on record is part of
/// [`a_lease_that_ends_is_claimed_again`](super::a_lease_that_ends_is_claimed_again).
pub async fn what_came_of_an_attempt_is_on_record<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    for outcomes in courses() {
        let last = outcomes.last().expect("a course has an attempt").clone();
        let owed = scene::run("enrich");
        let id = owed.id;
        let event = store_one(&*store, owing(event(&endpoint, "{}"), [owed])).await;
        let mut lease = None;
        for (earlier, outcome) in outcomes.iter().enumerate() {
            let claimed = claim_one(&*store, LONG).await.lease;
            assert_eq!(claimed.run, id, "left: the run that was claimed");
            let run = run_on_record(&*store, &endpoint, event).await;
            assert_eq!(run.state, RunState::Running, "left: the state of a run under way");
            assert_is_on_record(&run, &outcomes[..earlier], true);
            let tenure = finish(&*store, &claimed, outcome.clone()).await;
            assert_eq!(tenure, Tenure::Held, "left: a lease that holds, finished");
            let run = run_on_record(&*store, &endpoint, event).await;
            assert_eq!(run.state, outcome.state(), "left: the state after an attempt");
            assert_is_on_record(&run, &outcomes[..=earlier], false);
            lease = Some(claimed);
        }
        let before = run_on_record(&*store, &endpoint, event).await;
        let lease = lease.expect("a course has an attempt");
        assert_is_lost(&*store, &lease, "it was finished").await;
        let claimed = claim_all(&*store, LONG).await;
        assert!(claimed.is_empty(), "a run in the state {:?} is claimed again", last.state());
        let after = run_on_record(&*store, &endpoint, event).await;
        assert_eq!(after, before, "left: what is on record after calls by a lost lease");
    }
}

/// Of any number of ends of one attempt, said at the same time, one is recorded and the others
/// are told that the lease is lost.
pub async fn of_simultaneous_ends_one_is_recorded<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    for _ in 0..8 {
        let owes = [scene::run("enrich")];
        let event = store_one(&*store, owing(event(&endpoint, "{}"), owes)).await;
        let lease = claim_one(&*store, LONG).await.lease;
        let start = Arc::new(Barrier::new(16));
        let mut ends = JoinSet::new();
        for number in 0..16 {
            let (store, start) = (Arc::clone(&store), Arc::clone(&start));
            let outcome = match number % 2 {
                0 => succeed(format!("said by {number}")),
                _ => Outcome::Fail { error: format!("said by {number}") },
            };
            ends.spawn(async move {
                start.wait().await;
                (finish(&*store, &lease, outcome.clone()).await, outcome)
            });
        }
        let mut held = ends.join_all().await;
        held.retain(|(tenure, _)| *tenure == Tenure::Held);
        let held: Vec<_> = held.into_iter().map(|(_, outcome)| outcome).collect();
        assert_eq!(held.len(), 1, "one end is recorded, and these were said to be: {held:?}");
        let run = run_on_record(&*store, &endpoint, event).await;
        assert_eq!(run.state, held[0].state(), "left: the state on record");
        assert_is_on_record(&run, &held, false);
    }
}

/// What may come of the attempts of one run, in order.
fn courses() -> Vec<Vec<Outcome>> {
    let retry = |error: &str, after| Outcome::Retry { error: error.to_owned(), after };
    let fail = |error: &str| Outcome::Fail { error: error.to_owned() };
    let long: String = "é漢😀.".chars().cycle().take(64 << 10).collect();
    let mut random = fastrand::Rng::with_seed(2);
    let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(64 << 10).collect();
    let odd = "é/ß漢😀 '; DROP TABLE runs; -- \u{0}\r\n\u{2028}\"\\%s";
    vec![
        vec![succeed("")],
        vec![succeed(odd)],
        vec![succeed(bytes)],
        vec![succeed(vec![0, 0xff, b'\n'])],
        vec![fail("")],
        vec![fail(odd)],
        vec![fail(&long)],
        vec![retry("", LONG)],
        vec![retry(odd, Duration::ZERO), succeed("at last")],
        vec![retry(&long, Duration::ZERO), retry("", Duration::ZERO), fail("given up")],
    ]
}

async fn run_on_record<S: RunQueue + ?Sized>(
    store: &S,
    endpoint: &Endpoint,
    event: EventId,
) -> Run {
    let mut runs = runs_of(store, &endpoint.workspace, &event).await;
    assert_eq!(runs.len(), 1, "left: how many runs of an event are on record that owes one");
    runs.remove(0)
}

/// The attempts that have ended are on record, and one more where one is under way.
fn assert_is_on_record(run: &Run, outcomes: &[Outcome], one_is_under_way: bool) {
    let numbers: Vec<_> = run.attempts.iter().map(|attempt| attempt.number).collect();
    let count = outcomes.len() + usize::from(one_is_under_way);
    let counted: Vec<_> = (1..).map_while(NonZeroU32::new).take(count).collect();
    assert_eq!(numbers, counted, "left: the attempts on record; right: those that were made");
    for attempt in &run.attempts {
        assert_eq!(attempt.worker.as_str(), WORKER, "left: who is on record to have claimed");
    }
    let ends: Vec<_> = run.attempts.iter().filter_map(|attempt| attempt.end.as_ref()).collect();
    assert_eq!(ends.len(), outcomes.len(), "left: the ends on record; right: what was finished");
    for (attempt, outcome) in run.attempts.iter().zip(outcomes) {
        let end = attempt.end.as_ref().expect("as many have ended as were finished");
        let excerpt =
            |outcome: &Outcome| format!("{outcome:?}").chars().take(200).collect::<String>();
        assert!(
            &end.outcome == outcome,
            "on record is {}, said was {}",
            excerpt(&end.outcome),
            excerpt(outcome),
        );
        assert!(
            attempt.started_at <= end.at,
            "an attempt began at {:?} and ended at {:?}",
            attempt.started_at,
            end.at,
        );
    }
}
