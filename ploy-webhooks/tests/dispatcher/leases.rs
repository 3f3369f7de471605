//! Leases: extended while a run goes on, given up in time, and what is done after losses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ploy_webhooks::store::{Altered, RunQueue};
use ploy_webhooks::trigger::{Dispatcher, Job, RunError, runner_fn};
use ploy_webhooks::{Outcome, RunState};

use crate::faulty::FaultyStore;
use crate::observed::{Recorder, Told};
use crate::scene::{
    Hang, LONG, WORKSPACE, claim_by_hand, claim_now, errors, finished, heard, in_time, leased_for,
    outcomes, owe, quick, store, when,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_takes_several_leases_is_begun_once() {
    let store = FaultyStore::new(store());
    let begun = Arc::new(AtomicU32::new(0));
    let runner = {
        let (store, begun) = (store.clone(), begun.clone());
        Arc::new(runner_fn(move |_| {
            let mut extended = store.extended.subscribe();
            begun.fetch_add(1, Ordering::SeqCst);
            async move {
                // Each time after a quarter of the lease.
                extended.wait_for(|times| *times >= 13).await.expect("the store is there");
                Ok("done")
            }
        }))
    };
    let settings = leased_for(Duration::from_millis(600));
    let _dispatchers =
        [(); 2].map(|()| Dispatcher::start(store.clone(), runner.clone(), settings.clone()));
    let run = finished(&store.inner, owe(&store.inner).await).await;
    assert_eq!(outcomes(&run), [Outcome::Succeed { output: "done".into() }]);
    assert_eq!(begun.load(Ordering::SeqCst), 1);
}

/// A run is stopped, and on nobody's record, while nobody else can have it.
async fn is_stopped_in_time(store: Arc<FaultyStore>) {
    let inner = store.inner.clone();
    let (hang, mut told) = Hang::new();
    let runner = runner_fn(move |_| hang.clone().go_on::<Result<String, _>>());
    let (recorder, mut seen) = Recorder::new();
    let settings = leased_for(Duration::from_secs(2));
    let dispatcher = Dispatcher::start_observed(store, runner, settings, recorder);
    let id = owe(&inner).await;
    heard(&mut told).await;
    heard(&mut told).await;
    assert!(claim_now(&inner, LONG).await.is_none(), "the lease has not ended yet");
    drop(dispatcher);
    while heard(&mut seen).await != Told::Lost(id) {}
    let run = when(&inner, id, |_| true).await;
    assert_eq!((run.state, run.attempts.len()), (RunState::Running, 1));
    assert!(run.attempts[0].end.is_none());
}

#[tokio::test]
async fn a_runner_is_stopped_before_a_lease_ends_that_cannot_be_extended() {
    let store = FaultyStore::new(store());
    store.faults.extends.store(u32::MAX, Ordering::SeqCst);
    is_stopped_in_time(store).await;
}

#[tokio::test]
async fn a_runner_is_stopped_before_a_lease_ends_when_the_store_does_not_answer() {
    let store = FaultyStore::new(store());
    store.faults.hanging_extends.store(u32::MAX, Ordering::SeqCst);
    is_stopped_in_time(store).await;
}

#[tokio::test]
async fn a_cancelled_run_is_stopped_and_nothing_more_goes_on_record() {
    let store = store();
    let (hang, mut told) = Hang::new();
    let runner = runner_fn(move |_| hang.clone().go_on::<Result<String, _>>());
    let settings = leased_for(Duration::from_millis(200));
    let dispatcher = Dispatcher::start(store.clone(), runner, settings);
    let id = owe(&store).await;
    heard(&mut told).await;
    let before = when(&store, id, |_| true).await;
    assert_eq!(store.cancel(&WORKSPACE, &id).await.unwrap(), Altered::Done);
    heard(&mut told).await;
    in_time(dispatcher.drain(LONG)).await;
    let after = when(&store, id, |_| true).await;
    assert_eq!((after.state, after.attempts), (RunState::Cancelled, before.attempts));
}

#[tokio::test]
async fn a_run_is_given_up_after_as_many_losses_as_there_are_attempts() {
    let store = store();
    let id = owe(&store).await;
    for _ in 0..3 {
        claim_by_hand(&store, Duration::from_millis(1)).await;
    }
    let runner = runner_fn(async |_| -> Result<String, _> { panic!("it takes its worker down") });
    let _dispatcher = Dispatcher::start(store.clone(), runner, quick());
    let run = finished(&store, id).await;
    assert_eq!((run.state, run.attempts.len()), (RunState::Failed, 4));
    let Some(Outcome::Fail { error }) = run.attempts[3].end.clone().map(|end| end.outcome) else {
        panic!("it should be given up: {run:?}");
    };
    assert!(error.starts_with("given up: there have been 3 attempts"), "{error}");
}

#[tokio::test]
async fn a_run_is_carried_out_after_fewer_losses() {
    let store = store();
    let id = owe(&store).await;
    for _ in 0..2 {
        claim_by_hand(&store, Duration::from_millis(1)).await;
    }
    let runner = runner_fn(|job: Job| async move { Ok(format!("{}", job.attempt)) });
    let _dispatcher = Dispatcher::start(store.clone(), runner, quick());
    let run = finished(&store, id).await;
    let said = run.attempts[2].end.clone().map(|end| end.outcome);
    assert_eq!(said, Some(Outcome::Succeed { output: "3".into() }));
}

#[tokio::test]
async fn a_run_that_is_requeued_by_hand_is_carried_out_past_its_attempts() {
    let store = store();
    let runner = runner_fn(async |job: Job| match job.attempt.get() {
        1..=4 => Err(RunError::retry("no")),
        _ => Ok("done"),
    });
    let _dispatcher = Dispatcher::start(store.clone(), runner, quick());
    let id = owe(&store).await;
    assert_eq!(errors(&finished(&store, id).await).len(), 3);
    // Each time it is asked for, and once.
    for (attempts, state) in [(4, RunState::Failed), (5, RunState::Succeeded)] {
        assert_eq!(store.requeue(&WORKSPACE, &id).await.unwrap(), Altered::Done);
        let run = finished(&store, id).await;
        assert_eq!((run.state, run.attempts.len()), (state, attempts));
    }
}
