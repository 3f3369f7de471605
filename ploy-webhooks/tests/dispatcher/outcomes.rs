//! What comes of attempts, and what goes on record of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ploy_webhooks::trigger::{Dispatcher, Job, RunError, blocking_fn, runner_fn};
use ploy_webhooks::{Outcome, Run, RunState};

use crate::scene::{finished, owe, quick, retry, store};

fn outcomes(run: &Run) -> Vec<Outcome> {
    run.attempts.iter().map(|attempt| attempt.end.clone().expect("it has ended").outcome).collect()
}

fn errors(run: &Run) -> Vec<String> {
    outcomes(run)
        .into_iter()
        .map(|outcome| match outcome {
            Outcome::Retry { error, .. } | Outcome::Fail { error } => error,
            Outcome::Succeed { output } => panic!("it succeeded with {output:?}"),
        })
        .collect()
}

#[tokio::test]
async fn what_is_owed_is_carried_out() {
    let store = store();
    let runner = runner_fn(|job: Job| async move { Ok(format!("{} {}", job.run, job.attempt)) });
    let early = owe(&store).await;
    let _dispatcher = Dispatcher::start(store.clone(), runner, quick());
    let late = owe(&store).await;
    for id in [early, late] {
        let run = finished(&store, id).await;
        assert_eq!(run.state, RunState::Succeeded);
        assert_eq!(outcomes(&run), [Outcome::Succeed { output: format!("{id} 1").into() }]);
        assert_eq!(run.attempts[0].worker.as_str(), "worker-1");
    }
}

#[tokio::test]
async fn what_fails_is_tried_again_as_often_as_the_policy_says() {
    let store = store();
    let runner = runner_fn(|job: Job| async move {
        Err::<String, _>(RunError::retry(format!("no. {}", job.attempt)))
    });
    let _dispatcher = Dispatcher::start(store.clone(), runner, quick());
    let run = finished(&store, owe(&store).await).await;
    assert_eq!(run.state, RunState::Failed);
    assert_eq!(errors(&run), ["no. 1", "no. 2", "no. 3"]);
}

#[tokio::test]
async fn what_is_permanent_is_not_tried_again() {
    let store = store();
    let runner = runner_fn(async |_| Err::<String, _>(RunError::permanent("no such page")));
    let _dispatcher = Dispatcher::start(store.clone(), runner, quick());
    let run = finished(&store, owe(&store).await).await;
    assert_eq!(outcomes(&run), [Outcome::Fail { error: "no such page".to_owned() }]);
}
