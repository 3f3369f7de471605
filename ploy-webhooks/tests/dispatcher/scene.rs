//! A store in memory with runs in it, and a dispatcher that carries them out.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use ploy_webhooks::store::{Appended, Claim, EventStore, Lanes, MemoryStore, RunQueue, RunStore};
use ploy_webhooks::trigger::DispatcherSettings;
use ploy_webhooks::{
    Clock, EventId, Gaps, LeasedRun, NewEvent, NewRun, Outcome, RetryPolicy, Run, RunId,
    SystemClock, Trigger, WorkspaceId,
};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

pub(crate) const WORKSPACE: WorkspaceId = WorkspaceId::DEFAULT;
/// Longer than any test takes.
pub(crate) const LONG: Duration = Duration::from_secs(3_600);

/// Settings under which a test does not wait for long.
pub(crate) fn quick() -> DispatcherSettings {
    let mut settings = DispatcherSettings::new("worker-1".parse().expect("a name"));
    settings.terms.retry = retry(3);
    settings
}

/// The same with a lease of that length.
pub(crate) fn leased_for(lease: Duration) -> DispatcherSettings {
    let mut settings = quick();
    settings.lease = lease;
    settings
}

/// So many attempts, one directly after the other.
pub(crate) fn retry(attempts: u16) -> RetryPolicy {
    let mut policy = RetryPolicy::default();
    policy.attempts_max = number(attempts);
    policy.gaps = doubling(Duration::from_millis(1), Duration::from_secs(1));
    policy
}

pub(crate) const fn doubling(first: Duration, max: Duration) -> Gaps {
    Gaps::Doubling { first, max }
}

pub(crate) fn number(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("not zero")
}

pub(crate) fn store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new())
}

pub(crate) fn run() -> NewRun {
    NewRun {
        id: RunId::mint(SystemClock.now()),
        trigger: Trigger::ploybook("enrich".parse().expect("a name")),
        delay: Duration::ZERO,
    }
}

/// Stores an event of that workspace that owes a run.
pub(crate) async fn owe_in(store: &MemoryStore, workspace: WorkspaceId, payload: &str) -> RunId {
    let run = run();
    let id = run.id;
    let event = EventId::mint(SystemClock.now());
    let event = NewEvent::published(event, workspace, payload.to_owned().into());
    let event = NewEvent { owes: vec![run], ..event };
    assert!(matches!(store.append(event).await.expect("it stores"), Appended::Stored));
    id
}

pub(crate) async fn owe(store: &MemoryStore) -> RunId {
    owe_in(store, WORKSPACE, "{}").await
}

/// A workspace of its own: a lane of its own.
pub(crate) fn workspace(number: u8) -> WorkspaceId {
    WorkspaceId::from_bytes([number; 16])
}

/// Claims one run by hand, as soon as one is due.
pub(crate) async fn claim_by_hand(store: &MemoryStore, lease: Duration) -> LeasedRun {
    let claimed = async {
        loop {
            if let Some(leased) = claim_now(store, lease).await {
                return leased;
            }
            let waited = store.wait(LONG, &Lanes::new(NonZeroU16::MAX)).await;
            waited.expect("it waits");
        }
    };
    in_time(claimed).await
}

/// Claims one run by hand, if one is due.
pub(crate) async fn claim_now(store: &MemoryStore, lease: Duration) -> Option<LeasedRun> {
    let worker = "by-hand".parse().expect("a name");
    let lanes = Lanes::new(NonZeroU16::MAX);
    let claim = Claim { worker: &worker, max: NonZeroU16::MIN, lease, lanes: &lanes };
    store.claim(&claim).await.expect("it claims").pop()
}

/// What comes of it, which comes soon.
pub(crate) async fn in_time<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), what).await.expect("it should have come to that")
}

/// The run of that workspace, when it is as wanted.
pub(crate) async fn when_in(
    store: &MemoryStore,
    workspace: WorkspaceId,
    id: RunId,
    wanted: impl Fn(&Run) -> bool,
) -> Run {
    in_time(async {
        loop {
            let run = store.run(&workspace, &id).await.expect("it reads").expect("it is there");
            if wanted(&run) {
                return run;
            }
            // Nothing tells of a run that changes.
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await
}

/// The run, when it is as wanted.
pub(crate) async fn when(store: &MemoryStore, id: RunId, wanted: impl Fn(&Run) -> bool) -> Run {
    when_in(store, WORKSPACE, id, wanted).await
}

/// The run, when it is finished.
pub(crate) async fn finished(store: &MemoryStore, id: RunId) -> Run {
    when(store, id, |run| !run.state.is_in_line()).await
}

/// What came of its attempts, all of which have ended.
pub(crate) fn outcomes(run: &Run) -> Vec<Outcome> {
    run.attempts.iter().map(|attempt| attempt.end.clone().expect("it has ended").outcome).collect()
}

/// What went wrong with its attempts, all of which have failed.
pub(crate) fn errors(run: &Run) -> Vec<String> {
    outcomes(run)
        .into_iter()
        .map(|outcome| match outcome {
            Outcome::Retry { error, .. } | Outcome::Fail { error } => error,
            Outcome::Succeed { output } => panic!("it succeeded with {output:?}"),
        })
        .collect()
}

/// Tells that it is dropped.
#[derive(Debug)]
pub(crate) struct TellsOfDrop(pub(crate) mpsc::UnboundedSender<()>);

impl Drop for TellsOfDrop {
    fn drop(&mut self) {
        // The test may be over.
        let _ = self.0.send(());
    }
}

/// A runner's future that never ends, and how it is heard of: first that it has begun, then that
/// it was dropped.
#[derive(Clone, Debug)]
pub(crate) struct Hang(mpsc::UnboundedSender<()>);

impl Hang {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<()>) {
        let (tell, told) = mpsc::unbounded_channel();
        (Self(tell), told)
    }

    pub(crate) async fn go_on<T>(self) -> T {
        let _tells = TellsOfDrop(self.0.clone());
        let _ = self.0.send(());
        std::future::pending().await
    }
}

/// The next word.
pub(crate) async fn heard<T>(told: &mut mpsc::UnboundedReceiver<T>) -> T {
    in_time(told.recv()).await.expect("somebody is left to tell")
}
