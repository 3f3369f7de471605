//! What comes of attempts, and what goes on record of them.

use std::panic::panic_any;
use std::time::Duration;

use ploy_webhooks::trigger::{Dispatcher, Job, RunError, runner_fn};
use ploy_webhooks::{Outcome, Run, RunState};

use crate::scene::{
    LONG, WORKSPACE, doubling, errors, finished, number, outcomes, owe, owe_in, quick, retry,
    store, when,
};

const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// The gaps before further attempts, as they are on record.
fn gaps(run: &Run) -> Vec<Duration> {
    let gap = |outcome| match outcome {
        Outcome::Retry { after, .. } => Some(after),
        Outcome::Succeed { .. } | Outcome::Fail { .. } => None,
    };
    outcomes(run).into_iter().filter_map(gap).collect()
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
async fn gaps_are_on_record_as_the_policy_says() {
    let store = store();
    let runner = runner_fn(async |_| Err::<String, _>(RunError::retry("no")));
    let mut settings = quick();
    settings.terms.retry = retry(5);
    settings.terms.retry.gaps = doubling(Duration::from_millis(20), Duration::from_millis(50));
    let _dispatcher = Dispatcher::start(store.clone(), runner, settings);
    let run = finished(&store, owe(&store).await).await;
    let gaps = gaps(&run);
    assert_eq!(gaps.len(), 4);
    for (gap, whole) in gaps.into_iter().zip([20, 40, 50, 50]) {
        let whole = Duration::from_millis(whole);
        assert!((whole / 2..=whole).contains(&gap), "{gap:?} of {whole:?}");
    }
}

#[tokio::test]
async fn who_asks_for_a_longer_gap_is_given_it() {
    let store = store();
    let runner = runner_fn(async |job: Job| {
        let gap = match (job.attempt.get(), &job.event.payload[..]) {
            (1, _) => Duration::from_millis(30),
            (_, b"forever") => Duration::MAX,
            _ => Duration::ZERO,
        };
        Err::<String, _>(RunError::retry_after("later", gap))
    });
    let mut settings = quick();
    settings.terms.retry.gaps = doubling(Duration::from_millis(10), Duration::from_millis(10));
    let _dispatcher = Dispatcher::start(store.clone(), runner, settings);
    let run = finished(&store, owe(&store).await).await;
    let gaps_on_record = gaps(&run);
    assert_eq!(gaps_on_record[0], Duration::from_millis(30));
    // The policy's own gap is the least there is.
    assert!(gaps_on_record[1] >= Duration::from_millis(5), "{gaps_on_record:?}");

    let id = owe_in(&store, WORKSPACE, "forever").await;
    let second_has_ended = |run: &Run| run.attempts.get(1).is_some_and(|it| it.end.is_some());
    let run = when(&store, id, second_has_ended).await;
    assert_eq!((run.state, gaps(&run)[1]), (RunState::Retrying, WEEK));
}

#[tokio::test]
async fn no_gap_is_longer_than_a_week() {
    let store = store();
    let runner = runner_fn(async |_| Err::<String, _>(RunError::retry("no")));
    let mut settings = quick();
    settings.terms.retry.gaps = doubling(WEEK * 10, WEEK * 10);
    let _dispatcher = Dispatcher::start(store.clone(), runner, settings);
    let run = when(&store, owe(&store).await, |run| run.state == RunState::Retrying).await;
    assert_eq!(gaps(&run), [WEEK]);
}

#[tokio::test]
async fn what_is_permanent_is_not_tried_again() {
    let store = store();
    let runner = runner_fn(async |_| Err::<String, _>(RunError::permanent("no such page")));
    let _dispatcher = Dispatcher::start(store.clone(), runner, quick());
    let run = finished(&store, owe(&store).await).await;
    assert_eq!(outcomes(&run), [Outcome::Fail { error: "no such page".to_owned() }]);
}

#[tokio::test]
async fn a_panic_is_on_record_and_tried_again_and_the_others_go_on() {
    let store = store();
    let runner = runner_fn(async |job: Job| {
        match (&job.event.payload[..], job.attempt.get()) {
            (b"harmless", _) => {}
            (_, 1) => panic_any("a text"),
            (_, 2) => panic_any("a longer text".to_owned()),
            (_, _) => panic_any(17),
        }
        Ok("done")
    });
    let _dispatcher = Dispatcher::start(store.clone(), runner, quick());
    let panics = owe(&store).await;
    let harmless = owe_in(&store, WORKSPACE, "harmless").await;
    let run = finished(&store, panics).await;
    let panicked = "the runner panicked";
    let texts = [format!("{panicked}: a text"), format!("{panicked}: a longer text")];
    assert_eq!(errors(&run), [&texts[0], &texts[1], panicked]);
    assert_eq!(finished(&store, harmless).await.state, RunState::Succeeded);
    // After all of that too.
    let harmless = owe_in(&store, WORKSPACE, "harmless").await;
    assert_eq!(finished(&store, harmless).await.state, RunState::Succeeded);
}

#[tokio::test]
async fn a_huge_output_is_cut_and_the_rest_is_counted() {
    let store = store();
    let runner = runner_fn(async |_| Ok(vec![b'x'; 100_000_000]));
    let mut settings = quick();
    settings.output_bytes_max = 1_000;
    let _dispatcher = Dispatcher::start(store.clone(), runner, settings);
    let run = finished(&store, owe(&store).await).await;
    let expected = "x".repeat(1_000) + "\n… (99999000 more bytes are not kept)";
    assert_eq!(outcomes(&run), [Outcome::Succeed { output: expected.into() }]);
}

#[tokio::test]
async fn an_output_that_just_fits_is_kept_whole() {
    let store = store();
    let runner = runner_fn(async |_| Ok(vec![b'x'; 1_000]));
    let mut settings = quick();
    settings.output_bytes_max = 1_000;
    let _dispatcher = Dispatcher::start(store.clone(), runner, settings);
    let run = finished(&store, owe(&store).await).await;
    assert_eq!(outcomes(&run), [Outcome::Succeed { output: "x".repeat(1_000).into() }]);
}

#[tokio::test]
async fn a_long_error_is_cut_between_two_characters() {
    let store = store();
    let runner = runner_fn(async |_| Err::<String, _>(RunError::permanent("é".repeat(1_000))));
    let mut settings = quick();
    // In the middle of the sixth.
    settings.error_bytes_max = 11;
    let _dispatcher = Dispatcher::start(store.clone(), runner, settings);
    let run = finished(&store, owe(&store).await).await;
    assert_eq!(errors(&run), ["ééééé\n… (1990 more bytes are not kept)"]);
}

#[tokio::test]
async fn a_run_that_is_tried_again_holds_up_no_other() {
    let store = store();
    let runner = runner_fn(async |job: Job| match &job.event.payload[..] {
        b"later" => Err(RunError::retry_after("later", LONG)),
        _ => Ok("done"),
    });
    let mut settings = quick();
    (settings.concurrency, settings.lane_concurrency) = (number(1), number(1));
    let later = owe_in(&store, WORKSPACE, "later").await;
    let _dispatcher = Dispatcher::start(store.clone(), runner, settings);
    when(&store, later, |run| run.state == RunState::Retrying).await;
    assert_eq!(finished(&store, owe(&store).await).await.state, RunState::Succeeded);
}
