//! What an observer is told.

use std::time::Duration;

use ploy_webhooks::store::{Altered, RunQueue, StoreError, StoreErrorKind};
use ploy_webhooks::trigger::{Dispatcher, Ended, Job, Observer, RunError, runner_fn};
use ploy_webhooks::{Outcome, RunId};
use tokio::sync::mpsc;

use crate::scene::{Hang, WORKSPACE, doubling, heard, leased_for, owe, quick, store};

/// What an observer was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Claimed(usize),
    Ended(RunId, Outcome),
    Lost(RunId),
    StoreFailed(StoreErrorKind),
}

/// Passes on what it is told.
#[derive(Debug)]
pub(crate) struct Recorder(mpsc::UnboundedSender<Told>);

impl Recorder {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Told>) {
        let (tell, told) = mpsc::unbounded_channel();
        (Self(tell), told)
    }

    fn tell(&self, what: Told) {
        // The test may be over.
        let _ = self.0.send(what);
    }
}

impl Observer for Recorder {
    fn claimed(&self, runs: usize) {
        self.tell(Told::Claimed(runs));
    }

    fn ended(&self, ended: &Ended<'_>) {
        self.tell(Told::Ended(ended.run, ended.outcome.clone()));
    }

    fn lost(&self, run: &RunId) {
        self.tell(Told::Lost(*run));
    }

    fn store_failed(&self, error: &StoreError) {
        self.tell(Told::StoreFailed(error.kind()));
    }
}

#[tokio::test]
async fn claims_and_ends_are_told_in_their_order() {
    let store = store();
    let (recorder, mut told) = Recorder::new();
    let runner = runner_fn(async |job: Job| match job.attempt.get() {
        1 => Err(RunError::retry_after("no", Duration::from_millis(1))),
        _ => Ok("done"),
    });
    let mut settings = quick();
    settings.terms.retry.gaps = doubling(Duration::ZERO, Duration::ZERO);
    let _dispatcher = Dispatcher::start_observed(store.clone(), runner, settings, recorder);
    let id = owe(&store).await;
    let retry = Outcome::Retry { error: "no".to_owned(), after: Duration::from_millis(1) };
    let succeed = Outcome::Succeed { output: "done".into() };
    for expected in
        [Told::Claimed(1), Told::Ended(id, retry), Told::Claimed(1), Told::Ended(id, succeed)]
    {
        assert_eq!(heard(&mut told).await, expected);
    }
}

#[tokio::test]
async fn a_lost_lease_is_told_and_no_end_is() {
    let store = store();
    let (recorder, mut told) = Recorder::new();
    let (hang, mut begun) = Hang::new();
    let runner = runner_fn(move |_| hang.clone().go_on::<Result<String, _>>());
    let settings = leased_for(Duration::from_millis(200));
    let _dispatcher = Dispatcher::start_observed(store.clone(), runner, settings, recorder);
    let id = owe(&store).await;
    heard(&mut begun).await;
    assert_eq!(store.cancel(&WORKSPACE, &id).await.unwrap(), Altered::Done);
    assert_eq!(heard(&mut told).await, Told::Claimed(1));
    assert_eq!(heard(&mut told).await, Told::Lost(id));
}
