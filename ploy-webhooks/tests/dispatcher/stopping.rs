//! How a dispatcher stops: orderly, at last by force, or dropped.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use ploy_webhooks::trigger::{Dispatcher, runner_fn};
use ploy_webhooks::{Outcome, RunState};
use tokio::sync::Notify;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::sleep;

use crate::scene::{
    Hang, LONG, errors, finished, heard, in_time, outcomes, owe, quick, retry, store, when,
};

#[tokio::test]
async fn draining_waits_for_what_is_under_way_and_claims_nothing_more() {
    let store = store();
    let (begun, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let runner = {
        let (begun, release) = (begun.clone(), release.clone());
        runner_fn(move |_| {
            let (begun, release) = (begun.clone(), release.clone());
            async move {
                begun.notify_one();
                release.notified().await;
                Ok("done")
            }
        })
    };
    let dispatcher = Dispatcher::start(store.clone(), runner, quick());
    let under_way = owe(&store).await;
    in_time(begun.notified()).await;
    let mut drained = std::pin::pin!(dispatcher.drain(LONG));
    // From its first turn on nothing more is claimed.
    tokio::select! {
        biased;
        () = &mut drained => panic!("a run is under way"),
        () = std::future::ready(()) => {}
    }
    let late = owe(&store).await;
    release.notify_one();
    in_time(drained).await;
    // It is on record before the drain is over.
    let run = when(&store, under_way, |_| true).await;
    assert_eq!(outcomes(&run), [Outcome::Succeed { output: "done".into() }]);
    let run = when(&store, late, |_| true).await;
    assert_eq!((run.state, run.attempts.len()), (RunState::Queued, 0));
}

#[tokio::test]
async fn what_goes_on_after_the_grace_is_interrupted_and_due_again_at_once() {
    let store = store();
    let (hang, mut told) = Hang::new();
    let runner = runner_fn(move |_| hang.clone().go_on::<Result<String, _>>());
    let mut settings = quick();
    // It is no fault of the run, which is tried again even after its last attempt.
    settings.terms.retry = retry(1);
    let dispatcher = Dispatcher::start(store.clone(), runner, settings.clone());
    let id = owe(&store).await;
    heard(&mut told).await;
    in_time(dispatcher.drain(Duration::from_millis(10))).await;
    assert_eq!(told.recv().await, Some(()), "it was dropped");
    let run = when(&store, id, |_| true).await;
    let error = "stopped: the worker was shut down".to_owned();
    assert_eq!(outcomes(&run), [Outcome::Retry { error, after: Duration::ZERO }]);

    let runner = runner_fn(async |_| Ok("done"));
    let _dispatcher = Dispatcher::start(store.clone(), runner, settings);
    assert_eq!(finished(&store, id).await.state, RunState::Succeeded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_runner_that_blocks_its_thread_does_not_hold_up_the_drain() {
    let store = store();
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let (begin, mut begun) = unbounded_channel();
    let runner = runner_fn(move |_| {
        let (begin, released) = (begin.clone(), released.clone());
        async move {
            begin.send(()).expect("the test listens");
            // Until the test is over, when nobody is left to say a word.
            let released = released.lock().expect("nobody panics with it");
            assert!(released.recv().is_err());
            Ok("done")
        }
    });
    let dispatcher = Dispatcher::start(store.clone(), runner, quick());
    let id = owe(&store).await;
    heard(&mut begun).await;
    in_time(dispatcher.drain(Duration::ZERO)).await;
    let run = when(&store, id, |_| true).await;
    assert_eq!(errors(&run), ["stopped: the worker was shut down"]);
    drop(release);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_ends_while_it_is_interrupted_is_on_record_as_it_ended() {
    let store = store();
    let (begin, mut begun) = unbounded_channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let runner = runner_fn(move |_| {
        let (begin, released) = (begin.clone(), released.clone());
        async move {
            begin.send(()).expect("the test listens");
            // Nothing is awaited from here to the end: there is no place to stop it.
            let released = released.lock().expect("nobody panics with it");
            released.recv().expect("the test says so");
            Ok("done")
        }
    });
    let dispatcher = Dispatcher::start(store.clone(), runner, quick());
    let id = owe(&store).await;
    heard(&mut begun).await;
    let release_later = async {
        // Nothing tells that the run is interrupted.
        sleep(Duration::from_millis(50)).await;
        release.send(()).unwrap();
    };
    tokio::join!(in_time(dispatcher.drain(Duration::ZERO)), release_later);
    let run = when(&store, id, |_| true).await;
    assert_eq!(outcomes(&run), [Outcome::Succeed { output: "done".into() }]);
}

/// Stops the runners, and says nothing about them: another worker has the runs when their leases
/// end.
async fn a_dropped_dispatcher_stops_its_runners() {
    let store = store();
    let (hang, mut told) = Hang::new();
    let runner = runner_fn(move |_| hang.clone().go_on::<Result<String, _>>());
    let dispatcher = Dispatcher::start(store.clone(), runner, quick());
    let ids = [owe(&store).await, owe(&store).await, owe(&store).await];
    for _ in ids {
        heard(&mut told).await;
    }
    drop(dispatcher);
    for _ in ids {
        heard(&mut told).await;
    }
    // Nobody is left that could put a word on record.
    assert_eq!(in_time(told.recv()).await, None);
    for id in ids {
        let run = when(&store, id, |_| true).await;
        assert_eq!((run.state, &run.attempts[0].end), (RunState::Running, &None));
    }
}

#[tokio::test]
async fn a_dropped_dispatcher_stops_its_runners_without_a_word() {
    a_dropped_dispatcher_stops_its_runners().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dropped_dispatcher_stops_its_runners_without_a_word_on_many_threads() {
    for _ in 0..200 {
        a_dropped_dispatcher_stops_its_runners().await;
    }
}

#[tokio::test]
async fn a_dispatcher_drains_with_nothing_to_do() {
    let runner = runner_fn(async |_| Ok("done"));
    let dispatcher = Dispatcher::start(store(), runner, quick());
    in_time(dispatcher.drain(LONG)).await;
}
