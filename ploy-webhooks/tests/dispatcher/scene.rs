//! A store in memory with runs in it, and a dispatcher that carries them out.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use ploy_webhooks::store::{Appended, EventStore, MemoryStore, RunStore};
use ploy_webhooks::trigger::DispatcherSettings;
use ploy_webhooks::{
    Clock, EventId, NewEvent, NewRun, RetryPolicy, Run, RunId, SystemClock, Trigger, WorkspaceId,
};
use tokio::time::{sleep, timeout};

pub(crate) const WORKSPACE: WorkspaceId = WorkspaceId::DEFAULT;

/// Settings under which a test does not wait for long.
pub(crate) fn quick() -> DispatcherSettings {
    let mut settings = DispatcherSettings::new("worker-1".parse().unwrap());
    settings.terms.retry = retry(3);
    settings
}

/// So many attempts, one directly after the other.
pub(crate) fn retry(attempts: u16) -> RetryPolicy {
    let mut policy = RetryPolicy::default();
    policy.attempts_max = NonZeroU16::new(attempts).unwrap();
    policy.first_gap = Duration::from_millis(1);
    policy
}

pub(crate) fn store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new())
}

pub(crate) fn run() -> NewRun {
    NewRun {
        id: RunId::mint(SystemClock.now()),
        trigger: Trigger::ploybook("enrich".parse().unwrap()),
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
    assert!(matches!(store.append(event).await.unwrap(), Appended::Stored));
    id
}

pub(crate) async fn owe(store: &MemoryStore) -> RunId {
    owe_in(store, WORKSPACE, "{}").await
}

/// The run, when it is as wanted.
pub(crate) async fn when(store: &MemoryStore, id: RunId, wanted: impl Fn(&Run) -> bool) -> Run {
    let wait = async {
        loop {
            let run = store.run(&WORKSPACE, &id).await.unwrap().expect("it is there");
            if wanted(&run) {
                return run;
            }
            // Nothing tells of a run that changes.
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(30), wait).await.expect("it should have come to that")
}

/// The run, when it is finished.
pub(crate) async fn finished(store: &MemoryStore, id: RunId) -> Run {
    when(store, id, |run| !run.state.is_in_line()).await
}
