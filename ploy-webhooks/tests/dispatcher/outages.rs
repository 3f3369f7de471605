//! A store that fails for a while: it is asked again, and nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ploy_webhooks::store::StoreErrorKind;
use ploy_webhooks::trigger::{Dispatcher, RunnerFn, runner_fn};
use ploy_webhooks::{Outcome, RunState};

use crate::faulty::FaultyStore;
use crate::observed::{Recorder, Told};
use crate::scene::{finished, heard, in_time, leased_for, outcomes, owe, quick, store};

const AWAY: Told = Told::StoreFailed(StoreErrorKind::Unavailable);

/// A runner that counts how often it is called, which must be once a run.
fn counting(
    calls: &Arc<AtomicU32>,
) -> RunnerFn<impl Fn(ploy_webhooks::trigger::Job) -> Counted + use<>> {
    let calls = calls.clone();
    runner_fn(move |_| {
        calls.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok("done"))
    })
}

type Counted = std::future::Ready<Result<&'static str, ploy_webhooks::trigger::RunError>>;

#[tokio::test]
async fn a_store_that_cannot_be_asked_is_asked_again() {
    let store = FaultyStore::new(store());
    let early = owe(&store.inner).await;
    store.faults.claims.store(3, Ordering::SeqCst);
    store.faults.waits.store(2, Ordering::SeqCst);
    let (calls, (recorder, mut told)) = (Arc::default(), Recorder::new());
    let _dispatcher =
        Dispatcher::start_observed(store.clone(), counting(&calls), quick(), recorder);
    assert_eq!(finished(&store.inner, early).await.state, RunState::Succeeded);
    // Whichever is heard first: the end of the run, or that the store cannot be waited for.
    let (mut times_away, mut has_ended) = (0, false);
    while times_away < 5 || !has_ended {
        match heard(&mut told).await {
            AWAY => times_away += 1,
            Told::Claimed(runs) => assert_eq!((runs, times_away), (1, 3)),
            Told::Ended(id, _) => has_ended = id == early,
            other => panic!("unexpected: {other:?}"),
        }
    }
    let late = owe(&store.inner).await;
    assert_eq!(finished(&store.inner, late).await.state, RunState::Succeeded);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_came_of_a_run_is_said_until_the_store_hears_it() {
    let store = FaultyStore::new(store());
    store.faults.finishes.store(2, Ordering::SeqCst);
    let calls = Arc::default();
    let dispatcher = Dispatcher::start(store.clone(), counting(&calls), quick());
    let run = finished(&store.inner, owe(&store.inner).await).await;
    assert_eq!(outcomes(&run), [Outcome::Succeed { output: "done".into() }]);
    in_time(dispatcher.drain(Duration::from_secs(60))).await;
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_end_whose_answer_was_lost_is_on_record_once() {
    let store = FaultyStore::new(store());
    store.faults.unanswered_finishes.store(1, Ordering::SeqCst);
    let calls = Arc::default();
    let dispatcher = Dispatcher::start(store.clone(), counting(&calls), quick());
    let run = finished(&store.inner, owe(&store.inner).await).await;
    in_time(dispatcher.drain(Duration::from_secs(60))).await;
    assert_eq!(outcomes(&run), [Outcome::Succeed { output: "done".into() }]);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_lease_outlasts_a_store_that_is_away_for_less() {
    let store = FaultyStore::new(store());
    store.faults.extends.store(2, Ordering::SeqCst);
    let calls = Arc::new(AtomicU32::new(0));
    let runner = {
        let (store, calls) = (store.clone(), calls.clone());
        runner_fn(move |_| {
            calls.fetch_add(1, Ordering::SeqCst);
            let mut extended = store.extended.subscribe();
            async move {
                extended.wait_for(|times| *times >= 2).await.expect("the store is there");
                Ok("done")
            }
        })
    };
    let settings = leased_for(Duration::from_secs(2));
    let _dispatcher = Dispatcher::start(store.clone(), runner, settings);
    let run = finished(&store.inner, owe(&store.inner).await).await;
    assert_eq!((run.state, run.attempts.len()), (RunState::Succeeded, 1));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}
