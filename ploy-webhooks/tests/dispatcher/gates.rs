//! Lanes that a runner holds back, and attempts that do not count.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use ploy_webhooks::trigger::{Dispatcher, Gates, Job, Output, RunError, Terms, TriggerRunner};
use ploy_webhooks::{Lane, LeasedRun, Outcome, RunState, WorkspaceId};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::scene::{
    LONG, WORKSPACE, finished, in_time, owe, owe_in, quick, retry, store, workspace,
};

const LANE: Lane = Lane::Workspace(WORKSPACE);

/// Tells what it carries out, and has its gates looked at.
#[derive(Debug)]
struct Gated {
    gates: Gates,
    tell: mpsc::UnboundedSender<WorkspaceId>,
    looked: mpsc::UnboundedSender<Lane>,
    /// What a gate is set to when it has lasted its time; nothing forgets it.
    next: Mutex<Option<u16>>,
}

#[async_trait]
impl TriggerRunner for Gated {
    async fn run(&self, job: Job) -> Result<Output, RunError> {
        let _ = self.tell.send(job.event.workspace);
        Ok("done".into())
    }

    fn gates(&self) -> Option<Gates> {
        Some(self.gates.clone())
    }

    async fn look_again(&self, lane: &Lane) {
        let _ = self.looked.send(*lane);
        if let Some(at_once) = self.next.lock().expect("nobody panics").take() {
            self.gates.set(*lane, at_once, Instant::now() + LONG);
        }
    }
}

struct Scene {
    gates: Gates,
    told: mpsc::UnboundedReceiver<WorkspaceId>,
    looked: mpsc::UnboundedReceiver<Lane>,
    runner: Gated,
}

fn scene(next: Option<u16>) -> Scene {
    let gates = Gates::new();
    let ((tell, told), (look, looked)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let runner = Gated { gates: gates.clone(), tell, looked: look, next: Mutex::new(next) };
    Scene { gates, told, looked, runner }
}

#[tokio::test]
async fn what_is_held_back_waits_until_its_gate_opens_and_holds_up_nobody() {
    let (store, other) = (store(), workspace(9));
    let Scene { gates, mut told, runner, .. } = scene(None);
    gates.set(LANE, 0, Instant::now() + LONG);
    let held = owe(&store).await;
    let _dispatcher = Dispatcher::start(store.clone(), runner, quick());
    owe_in(&store, other, "{}").await;
    assert_eq!(in_time(told.recv()).await, Some(other));
    // The one that came later was done; the one that is held back was not even begun.
    let waiting = store_run(&store, held).await;
    assert_eq!((waiting.state, waiting.attempts.len()), (RunState::Queued, 0));

    gates.set(LANE, 1, Instant::now() + LONG);
    assert_eq!(in_time(told.recv()).await, Some(WORKSPACE));
    assert_eq!(finished(&store, held).await.state, RunState::Succeeded);

    gates.set(LANE, 0, Instant::now() + LONG);
    let held = owe(&store).await;
    gates.forget(&LANE);
    assert_eq!(finished(&store, held).await.state, RunState::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_has_lasted_its_time_is_looked_at_again() {
    let minute = Duration::from_secs(60);
    for (next, is_done) in [(Some(0), false), (Some(1), true), (None, true)] {
        let store = store();
        let Scene { gates, mut told, mut looked, runner } = scene(next);
        gates.set(LANE, 0, Instant::now() + minute);
        owe(&store).await;
        let begun = Instant::now();
        let _dispatcher = Dispatcher::start(store.clone(), runner, quick());
        assert_eq!(looked.recv().await, Some(LANE));
        assert_eq!(begun.elapsed().as_secs(), 60, "left: after how long it was looked at");
        match is_done {
            true => assert_eq!(told.recv().await, Some(WORKSPACE)),
            // Until its gate has lasted its time again.
            false => {
                assert_eq!(looked.recv().await, Some(LANE));
                assert!(told.try_recv().is_err(), "what is held back was carried out");
            }
        }
    }
}

/// Is held back as often as that, and fails from then on.
#[derive(Debug)]
struct HeldBack(u32);

#[async_trait]
impl TriggerRunner for HeldBack {
    async fn run(&self, job: Job) -> Result<Output, RunError> {
        match job.attempt.get() <= self.0 {
            true => Err(RunError::held("not now", Duration::from_millis(1))),
            false => Err(RunError::retry("no")),
        }
    }

    async fn terms(&self, run: &LeasedRun, usual: Terms) -> Result<Terms, RunError> {
        let uncounted = self.0.min(run.lease.attempt.get() - 1);
        Ok(Terms { retry: retry(3), uncounted, ..usual })
    }
}

#[tokio::test]
async fn attempts_that_were_held_back_do_not_count() {
    let store = store();
    let run = owe(&store).await;
    let _dispatcher = Dispatcher::start(store.clone(), HeldBack(5), quick());
    let run = finished(&store, run).await;
    assert_eq!(run.state, RunState::Failed);
    let said: Vec<_> = crate::scene::errors(&run);
    assert_eq!(said, [&["not now"; 5][..], &["no"; 3][..]].concat());
    let gaps = crate::scene::outcomes(&run).into_iter().filter_map(|outcome| match outcome {
        Outcome::Retry { error, after } if error == "no" => Some(after),
        _ => None,
    });
    // The first gap is a millisecond, the second two.
    assert!(gaps.max().is_some_and(|gap| gap <= Duration::from_millis(2)));
}

async fn store_run(
    store: &ploy_webhooks::store::MemoryStore,
    id: ploy_webhooks::RunId,
) -> ploy_webhooks::Run {
    use ploy_webhooks::store::RunStore;

    store.run(&WORKSPACE, &id).await.expect("it reads").expect("it is there")
}
