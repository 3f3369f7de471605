//! How many runs are under way at once, in all and in one lane.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use ploy_webhooks::trigger::{Dispatcher, Job, runner_fn};
use ploy_webhooks::{RunState, WorkspaceId};
use tokio::sync::{Barrier, mpsc};
use tokio::task::yield_now;

use crate::scene::{finished, heard, number, owe, owe_in, quick, store, when_in, workspace};

/// How many are under way, lane by lane, and the most there ever were.
#[derive(Debug, Default)]
struct Gauge {
    under_way: HashMap<WorkspaceId, usize>,
    most: usize,
    most_in_a_lane: usize,
    begun: usize,
}

impl Gauge {
    fn enter(&mut self, lane: WorkspaceId) -> usize {
        let here = self.under_way.entry(lane).or_default();
        *here += 1;
        self.most_in_a_lane = self.most_in_a_lane.max(*here);
        self.most = self.most.max(self.under_way.values().sum());
        self.begun += 1;
        self.begun
    }

    fn leave(&mut self, lane: WorkspaceId) {
        *self.under_way.get_mut(&lane).expect("it has entered") -= 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_are_under_way_than_there_may_be() {
    const IN_ALL: usize = 6;
    let store = store();
    let mut owed = Vec::new();
    for lane in 0..4 {
        for _ in 0..40 {
            owed.push((workspace(lane), owe_in(&store, workspace(lane), "{}").await));
        }
    }
    let gauge = Arc::new(Mutex::new(Gauge::default()));
    let all_at_once = Arc::new(Barrier::new(IN_ALL));
    let runner = {
        let gauge = gauge.clone();
        runner_fn(move |job: Job| {
            let (gauge, all_at_once) = (gauge.clone(), all_at_once.clone());
            async move {
                let lane = job.event.workspace;
                let begun = gauge.lock().expect("nobody panics with it").enter(lane);
                if begun <= IN_ALL {
                    // There is room for so many, and it is used.
                    all_at_once.wait().await;
                }
                for _ in 0..begun % 7 {
                    yield_now().await;
                }
                gauge.lock().expect("nobody panics with it").leave(lane);
                Ok("done")
            }
        })
    };
    let mut settings = quick();
    (settings.concurrency, settings.lane_concurrency) = (number(6), number(2));
    let _dispatcher = Dispatcher::start(store.clone(), runner, settings);
    for (lane, id) in owed {
        let run = when_in(&store, lane, id, |run| !run.state.is_in_line()).await;
        assert_eq!((run.state, run.attempts.len()), (RunState::Succeeded, 1));
    }
    let gauge = gauge.lock().expect("nobody panics with it");
    assert_eq!((gauge.most, gauge.most_in_a_lane, gauge.begun), (IN_ALL, 2, 160));
}

#[tokio::test]
async fn a_lane_full_of_hanging_runs_holds_up_no_other() {
    let store = store();
    for _ in 0..200 {
        owe_in(&store, workspace(1), "hang").await;
    }
    let (begin, mut begun) = mpsc::unbounded_channel();
    let runner = runner_fn(move |job: Job| {
        let begin = begin.clone();
        async move {
            if &job.event.payload[..] == b"hang" {
                begin.send(()).expect("the test listens");
                std::future::pending::<()>().await;
            }
            Ok("done")
        }
    });
    let mut settings = quick();
    (settings.concurrency, settings.lane_concurrency) = (number(20), number(16));
    let _dispatcher = Dispatcher::start(store.clone(), runner, settings);
    for _ in 0..16 {
        heard(&mut begun).await;
    }
    // More than there is room for beside the others.
    for _ in 0..20 {
        let run = finished(&store, owe(&store).await).await;
        assert_eq!(run.state, RunState::Succeeded);
    }
    assert!(begun.is_empty(), "no more hang than there may be in one lane");
}

#[tokio::test]
async fn a_full_lane_goes_on_when_one_of_it_ends() {
    let store = store();
    let (begin, mut begun) = mpsc::unbounded_channel();
    let runner = runner_fn(move |_| {
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        begin.send(end).expect("the test listens");
        async move {
            ended.await.expect("the test says so");
            Ok("done")
        }
    });
    let mut settings = quick();
    settings.lane_concurrency = number(1);
    let (first, second) = (owe(&store).await, owe(&store).await);
    let _dispatcher = Dispatcher::start(store.clone(), runner, settings);
    for _ in [first, second] {
        heard(&mut begun).await.send(()).expect("the run waits for it");
    }
    for id in [first, second] {
        assert_eq!(finished(&store, id).await.state, RunState::Succeeded);
    }
}
