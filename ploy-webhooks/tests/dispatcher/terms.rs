//! Time limits: whose they are, and that they hold whatever the runner does.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use ploy_webhooks::trigger::{
    Dispatcher, Job, Output, RunError, Terms, TriggerRunner, blocking_fn, runner_fn,
};
use ploy_webhooks::{LeasedRun, RunState};

use crate::scene::{
    Hang, LONG, WORKSPACE, errors, finished, heard, owe, owe_in, quick, retry, store,
};

/// A runner with terms of its own.
#[derive(Debug)]
struct OnTerms<T> {
    runner: T,
    terms: fn(Terms) -> Terms,
}

#[async_trait]
impl<T: TriggerRunner> TriggerRunner for OnTerms<T> {
    async fn run(&self, job: Job) -> Result<Output, RunError> {
        self.runner.run(job).await
    }

    async fn terms(&self, _: &LeasedRun, usual: Terms) -> Result<Terms, RunError> {
        Ok((self.terms)(usual))
    }
}

#[tokio::test]
async fn a_runner_that_never_returns_is_stopped_at_the_usual_limit() {
    let store = store();
    let (hang, mut told) = Hang::new();
    let runner = runner_fn(move |_| hang.clone().go_on::<Result<String, _>>());
    let mut settings = quick();
    settings.terms.time_limit = Duration::from_millis(50);
    settings.terms.retry = retry(2);
    let _dispatcher = Dispatcher::start(store.clone(), runner, settings);
    let run = finished(&store, owe(&store).await).await;
    let stopped = "stopped: the attempt took longer than its time limit of 50ms";
    assert_eq!((run.state, errors(&run)), (RunState::Failed, vec![stopped.to_owned(); 2]));
    // Two have begun, and two were dropped.
    for _ in 0..4 {
        heard(&mut told).await;
    }
}

#[tokio::test]
async fn a_runner_is_stopped_at_a_limit_of_its_own() {
    let store = store();
    let (hang, mut told) = Hang::new();
    let runner = OnTerms {
        runner: runner_fn(move |job: Job| {
            assert_eq!(job.time_limit, Duration::from_millis(50));
            hang.clone().go_on::<Result<String, _>>()
        }),
        terms: |usual| Terms { time_limit: Duration::from_millis(50), retry: retry(1), ..usual },
    };
    let mut settings = quick();
    settings.terms.time_limit = LONG;
    let _dispatcher = Dispatcher::start(store.clone(), runner, settings);
    let run = finished(&store, owe(&store).await).await;
    assert_eq!(errors(&run), ["stopped: the attempt took longer than its time limit of 50ms"]);
    heard(&mut told).await;
    heard(&mut told).await;
}

#[tokio::test]
async fn a_longer_limit_of_its_own_holds_too() {
    let store = store();
    let runner = OnTerms {
        runner: runner_fn(async |job: Job| {
            tokio::time::sleep(Duration::from_millis(200)).await;
            Ok(format!("{:?}", job.time_limit))
        }),
        terms: |usual| Terms { time_limit: LONG, ..usual },
    };
    let mut settings = quick();
    settings.terms.time_limit = Duration::from_millis(50);
    let _dispatcher = Dispatcher::start(store.clone(), runner, settings);
    assert_eq!(finished(&store, owe(&store).await).await.state, RunState::Succeeded);
}

#[tokio::test]
async fn a_limit_may_be_endless() {
    let store = store();
    let runner = OnTerms {
        runner: runner_fn(async |_| Ok("done")),
        terms: |usual| Terms { time_limit: Duration::MAX, ..usual },
    };
    let mut settings = quick();
    settings.terms.time_limit = Duration::MAX;
    let _dispatcher = Dispatcher::start(store.clone(), runner, settings);
    assert_eq!(finished(&store, owe(&store).await).await.state, RunState::Succeeded);
}

#[tokio::test]
async fn a_panic_while_it_says_its_terms_is_on_record() {
    let store = store();
    let runner =
        OnTerms { runner: runner_fn(async |_| Ok("done")), terms: |_| panic!("no terms today") };
    let _dispatcher = Dispatcher::start(store.clone(), runner, quick());
    let run = finished(&store, owe(&store).await).await;
    assert_eq!(errors(&run), vec!["the runner panicked: no terms today"; 3]);
}

#[tokio::test]
async fn a_function_that_blocks_forever_harms_nothing_but_its_own_run() {
    let store = store();
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let runner = blocking_fn(move |job: Job| {
        if &job.event.payload[..] == b"block" {
            // Until the test is over, when nobody is left to say a word.
            let released = released.lock().expect("nobody panics with it");
            assert!(released.recv().is_err());
        }
        Ok("done")
    });
    let mut settings = quick();
    settings.terms.time_limit = Duration::from_millis(50);
    let dispatcher = Dispatcher::start(store.clone(), runner, settings);
    let blocks = owe_in(&store, WORKSPACE, "block").await;
    assert_eq!(errors(&finished(&store, blocks).await).len(), 3);
    assert_eq!(finished(&store, owe(&store).await).await.state, RunState::Succeeded);
    dispatcher.drain(LONG).await;
    drop(release);
}

#[tokio::test]
async fn a_function_that_blocks_may_panic() {
    let store = store();
    let runner = blocking_fn(|_| -> Result<String, _> { panic!("as it is") });
    let _dispatcher = Dispatcher::start(store.clone(), runner, quick());
    let run = finished(&store, owe(&store).await).await;
    assert_eq!(errors(&run), vec!["the runner panicked: as it is"; 3]);
}
