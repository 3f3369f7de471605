//! Attempts that end while the connection does.

use std::time::Duration;

use futures_util::FutureExt;
use ploy_webhooks::store::{RunQueue, RunStore, StoreErrorKind, Tenure};
use ploy_webhooks::{LeasedRun, NewEvent, Outcome, RunState};
use ploy_webhooks_engines::{Postgres, Proxy};
use ploy_webhooks_postgres::PostgresStore;

use crate::scene::{
    Database, LONG, WORKSPACE, claim, count, new_run, open, published, run, settings, soon,
    store_one, until,
};

const RUNS: usize = 32;

async fn claimed(store: &PostgresStore) -> Vec<LeasedRun> {
    let owes = (0..RUNS).map(|_| new_run()).collect();
    store_one(store, NewEvent { owes, ..published("{}") }).await;
    let leased = claim(store, 64, LONG).await;
    assert_eq!(leased.len(), RUNS);
    leased
}

fn done(number: usize) -> Outcome {
    Outcome::Succeed { output: format!("said {number}").into() }
}

/// Ends all of them at once, which fails for each; then again, until each is told. Whatever it is
/// told, what is on record is what was said the first time or the second, once.
async fn end_through(store: &PostgresStore, leased: &[LeasedRun], restore: impl FnOnce()) {
    let ends =
        leased.iter().enumerate().map(|(number, run)| store.finish(&run.lease, done(number)));
    let ended = soon("all are answered", futures_util::future::join_all(ends)).await;
    for end in ended {
        let error = end.expect_err("nothing is answered");
        let kind = error.kind();
        let is_known = [StoreErrorKind::Indeterminate, StoreErrorKind::Unavailable].contains(&kind);
        assert!(is_known, "{error}");
    }
    restore();
    for (number, run) in leased.iter().enumerate() {
        until("an attempt ends", async || match store.finish(&run.lease, done(number)).await {
            // Lost: it was recorded the first time.
            Ok(Tenure::Held | Tenure::Lost) => true,
            Err(_) => false,
        })
        .await;
        let kept = store.run(&WORKSPACE, &run.lease.run).await.expect("a run is read");
        let kept = kept.expect("it is there");
        assert_eq!((kept.state, kept.attempts.len()), (RunState::Succeeded, 1));
        let end = kept.attempts[0].end.as_ref().expect("it has ended");
        assert_eq!(end.outcome, done(number));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_that_end_over_a_connection_that_is_cut_are_in_doubt_each() {
    let database = Database::new().await;
    let proxy = Proxy::start(Postgres::shared().address());
    let store = open(settings(&proxy.url(&database.url))).await;
    let leased = claimed(&store).await;
    proxy.cut();
    end_through(&store, &leased, || proxy.restore()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_whose_answer_is_lost_are_in_doubt_each_and_recorded_once() {
    let database = Database::new().await;
    let proxy = Proxy::start(Postgres::shared().address());
    let mut settings = settings(&proxy.url(&database.url));
    settings.append_timeout = Duration::from_secs(1);
    let store = open(settings).await;
    let leased = claimed(&store).await;
    proxy.swallow_answers_to(b"settle_runs");
    end_through(&store, &leased, || proxy.restore()).await;
}

/// A batch shares a commit, not a fate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_lost_is_lost_alone() {
    let database = Database::new().await;
    let store = database.node().await;
    let leased = claimed(&store).await;
    for run in leased.iter().step_by(2) {
        let cancelled = store.cancel(&WORKSPACE, &run.lease.run).await.expect("it is cancelled");
        assert_eq!(cancelled, ploy_webhooks::store::Altered::Done);
    }
    // Each both extended, twice, and ended in one of three ways.
    let extended = leased.iter().chain(&leased).map(|run| store.extend(&run.lease, LONG));
    let ends = leased.iter().enumerate().map(|(number, run)| {
        let error = format!("no {number}");
        let outcome = match number % 3 {
            0 => done(number),
            1 => Outcome::Retry { error, after: LONG },
            _ => Outcome::Fail { error },
        };
        store.finish(&run.lease, outcome)
    });
    let (extended, ended) = tokio::join!(
        futures_util::future::join_all(extended),
        futures_util::future::join_all(ends)
    );
    let expected = |number: usize| match number % 2 {
        0 => Tenure::Lost,
        _ => Tenure::Held,
    };
    for (number, tenure) in ended.into_iter().enumerate() {
        assert_eq!(tenure.expect("it is answered"), expected(number), "the end of {number}");
    }
    // An extension may come after the end; of a cancelled run it is lost for certain.
    for (place, tenure) in extended.into_iter().enumerate() {
        let tenure = tenure.expect("it is answered");
        assert!(place % 2 == 1 || tenure == Tenure::Lost, "an extension of {place}");
    }
    for (number, run) in leased.iter().enumerate() {
        let kept = store.run(&WORKSPACE, &run.lease.run).await.expect("a run is read");
        let expected = match (number % 2, number % 3) {
            (0, _) => RunState::Cancelled,
            (_, 0) => RunState::Succeeded,
            (_, 1) => RunState::Retrying,
            _ => RunState::Failed,
        };
        assert_eq!(kept.expect("it is there").state, expected, "{number}");
    }
}

/// Who has gone does not carry the run out: its lease is not made longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_not_extended_for_one_who_has_gone() {
    let database = Database::new().await;
    let store = database.node().await;
    let leased = claimed(&store).await;
    let mut sql = database.sql().await;
    run(&mut sql, "BEGIN; LOCK TABLE ploy.open_runs IN EXCLUSIVE MODE").await;
    let (extending, lease) = (store.clone(), leased[0].lease);
    let extended = tokio::spawn(async move { extending.extend(&lease, LONG).await });
    const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut looking = database.sql().await;
    until("the first is under way", async || count(&mut looking, WAITING).await > 0).await;
    // It waits behind that one, and its caller goes. With no time left it would be due at once.
    assert!(store.extend(&leased[1].lease, Duration::ZERO).now_or_never().is_none());
    run(&mut sql, "COMMIT").await;
    let extended = soon("the first is extended", extended).await.expect("it ends");
    assert_eq!(extended.expect("there is no error"), Tenure::Held);
    // What came before this one has been settled.
    let last = soon("the last is extended", store.extend(&leased[2].lease, LONG)).await;
    assert_eq!(last.expect("there is no error"), Tenure::Held);
    assert!(claim(&store, 64, LONG).await.is_empty(), "its lease was changed");
}
