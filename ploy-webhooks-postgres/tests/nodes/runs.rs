//! Runs that several nodes claim.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use ploy_webhooks::store::{Altered, Claim, Lanes, RunQueue, RunStore, StoreErrorKind, Tenure};
use ploy_webhooks::{LeasedRun, NewEvent, Outcome, RunId, RunState};
use ploy_webhooks_postgres::PostgresStore;
use tokio::task::JoinSet;

use super::vanishing::Vanishing;
use super::wake::await_listening;
use crate::scene::{
    Database, LONG, WORKSPACE, claim, claim_in, count, event, make_endpoint, new_run, published,
    soon, store_one, until, wide,
};

/// An event that owes so many runs.
fn owing(runs: usize) -> NewEvent {
    NewEvent { owes: (0..runs).map(|_| new_run()).collect(), ..published("{}") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_run_is_claimed_once_whichever_node_claims() {
    const RUNS: usize = 500;
    let database = Database::new().await;
    let nodes = [database.node().await, database.node().await];
    for _ in 0..RUNS / 10 {
        store_one(&nodes[0], owing(10)).await;
    }
    let mut claimers = JoinSet::new();
    for number in 0..8 {
        let store = nodes[number % 2].clone();
        claimers.spawn(async move {
            let mut claimed = Vec::new();
            loop {
                let runs = claim(&store, 7, LONG).await;
                if runs.is_empty() {
                    return claimed;
                }
                for run in runs {
                    let done = Outcome::Succeed { output: "done".into() };
                    let held = store.finish(&run.lease, done).await.expect("a run is finished");
                    assert_eq!(held, Tenure::Held);
                    claimed.push(run.lease.run);
                }
            }
        });
    }
    let mut times: BTreeMap<RunId, usize> = BTreeMap::new();
    while let Some(claimed) = soon("the claims end", claimers.join_next()).await {
        for run in claimed.expect("no claim fails") {
            *times.entry(run).or_default() += 1;
        }
    }
    assert_eq!(times.len(), RUNS, "a run was not claimed");
    assert!(times.values().all(|times| *times == 1), "a run was claimed twice");
    const SUCCEEDED: &str = "SELECT count(*) FROM ploy.runs r JOIN ploy.attempts a
            ON a.run = r.number
        WHERE a.state = 'succeeded' AND a.number = 1 AND a.said = 'done'
            AND NOT EXISTS (SELECT FROM ploy.open_runs)";
    assert_eq!(count(&mut database.sql().await, SUCCEEDED).await, RUNS as i64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_of_a_node_that_is_gone_is_claimed_elsewhere_when_its_lease_ends() {
    const LEASE: Duration = Duration::from_millis(1_500);
    let database = Database::new().await;
    let mut sql = database.sql().await;
    let gone = Vanishing::open(database.settings(), &mut sql).await;
    let store = database.node().await;
    store_one(&store, owing(5)).await;
    let before = gone.run(|gone| async move { claim(&gone, 16, LEASE).await }).await;
    assert_eq!(before.len(), 5);
    gone.vanish(&mut sql).await;

    let mut again = Vec::new();
    until("the runs are claimed again", async || {
        soon("a wait", store.wait(LONG, &wide())).await.expect("waiting works");
        again.extend(claim(&store, 16, LONG).await);
        again.len() >= 5
    })
    .await;
    let names = |runs: &[LeasedRun]| {
        let mut names: Vec<_> = runs.iter().map(|run| run.lease.run).collect();
        names.sort();
        names
    };
    assert_eq!(names(&again), names(&before));
    assert!(again.iter().all(|run| run.lease.attempt.get() == 2 && run.is_after_loss));
    // What the one that is gone would say comes too late.
    let late = Outcome::Fail { error: "late".to_owned() };
    let held = store.finish(&before[0].lease, late).await.expect("the store works");
    assert_eq!(held, Tenure::Lost);
}

/// Returns when the node waits for runs: it has looked for one, and gone to sleep.
async fn begin_to_wait(store: &Arc<PostgresStore>, database: &Database) -> JoinSet<()> {
    const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND state = 'idle' AND query LIKE '%next_due%'
        AND pid <> pg_backend_pid()";
    let mut sql = database.sql().await;
    assert_eq!(count(&mut sql, WAITING).await, 0, "nobody has waited before");
    let mut waiting = JoinSet::new();
    let store = store.clone();
    waiting.spawn(async move { store.wait(LONG, &wide()).await.expect("waiting works") });
    until("a node waits", async || count(&mut sql, WAITING).await > 0).await;
    waiting
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_ends_when_another_node_stores_an_event_that_owes_a_run() {
    let database = Database::new().await;
    let (storing, waiting) = (database.node().await, database.node().await);
    // A connection that has just begun to listen ends every wait.
    await_listening(&waiting, &storing).await;
    let mut wait = begin_to_wait(&waiting, &database).await;

    store_one(&storing, published("{}")).await;
    assert!(wait.try_join_next().is_none(), "nothing is owed");
    store_one(&storing, owing(1)).await;
    soon("the wait ends", wait.join_next()).await.expect("there is one").expect("it ends well");
    assert_eq!(claim(&waiting, 16, LONG).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_ends_when_another_node_adds_a_run() {
    let database = Database::new().await;
    let (adding, waiting) = (database.node().await, database.node().await);
    let event = store_one(&adding, published("{}")).await;
    await_listening(&waiting, &adding).await;
    let mut wait = begin_to_wait(&waiting, &database).await;

    let added = adding.enqueue(&WORKSPACE, &event, vec![new_run()]).await;
    assert!(added.expect("the run is added"));
    soon("the wait ends", wait.join_next()).await.expect("there is one").expect("it ends well");
    assert_eq!(claim(&waiting, 16, LONG).await.len(), 1);
}

/// Wherever claims begin and whoever else claims: each run goes to one, and a claim takes no more
/// of a lane than it has room for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_claim_of_many_lanes_at_once_share_them() {
    const LANES: usize = 40;
    const OF_EACH: usize = 9;
    let database = Database::new().await;
    let nodes = [database.node().await, database.node().await];
    for _ in 0..LANES {
        let endpoint = make_endpoint(&nodes[0]).await;
        let owes = (0..OF_EACH).map(|_| new_run()).collect();
        store_one(&nodes[0], NewEvent { owes, ..event(&endpoint, "{}") }).await;
    }
    let mut claimers = JoinSet::new();
    for number in 0..6 {
        let store = nodes[number % 2].clone();
        claimers.spawn(async move {
            let lanes = Lanes::new(NonZeroU16::new(2).expect("it is not zero"));
            let mut claimed = Vec::new();
            loop {
                let runs = claim_in(&store, &lanes, 11, LONG).await;
                if runs.is_empty() {
                    return claimed;
                }
                let mut of_lane: BTreeMap<_, usize> = BTreeMap::new();
                for run in &runs {
                    *of_lane.entry(run.event.lane()).or_default() += 1;
                }
                assert!(of_lane.values().all(|runs| *runs <= 2), "{of_lane:?}");
                claimed.extend(runs.into_iter().map(|run| run.lease.run));
            }
        });
    }
    let mut claimed = Vec::new();
    while let Some(of_one) = soon("the claims end", claimers.join_next()).await {
        claimed.extend(of_one.expect("no claim fails"));
    }
    claimed.sort();
    assert!(claimed.is_sorted_by(|a, b| a < b), "a run was claimed twice");
    // One whose last claim passed over what another was taking may have ended early.
    claimed.extend(claim(&nodes[0], 64, LONG).await.into_iter().map(|run| run.lease.run));
    assert_eq!(claimed.len(), LANES * OF_EACH);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_ends_when_another_node_requeues_a_run() {
    let database = Database::new().await;
    let (asking, waiting) = (database.node().await, database.node().await);
    store_one(&asking, owing(1)).await;
    let leased = claim(&asking, 1, LONG).await.remove(0);
    let given_up = Outcome::Fail { error: "no".to_owned() };
    let held = asking.finish(&leased.lease, given_up).await.expect("an attempt ends");
    assert_eq!(held, Tenure::Held);
    await_listening(&waiting, &asking).await;
    let mut wait = begin_to_wait(&waiting, &database).await;

    let requeued = asking.requeue(&WORKSPACE, &leased.lease.run).await.expect("it is requeued");
    assert_eq!(requeued, Altered::Done);
    soon("the wait ends", wait.join_next()).await.expect("there is one").expect("it ends well");
    let again = claim(&waiting, 16, LONG).await;
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].lease.run, again[0].lease.attempt.get()), (leased.lease.run, 2));
    assert!(!again[0].is_after_loss, "its attempt was ended");
}

/// What a node has stored is owed, whoever enters it in the line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_put_down_and_did_not_enter_is_found_by_the_others() {
    let database = Database::new().await;
    let (gone, store) = (database.node().await, database.node().await);
    let mut sql = database.sql().await;
    // Who would enter it waits for this lock, and is gone before it is free.
    let locked = "BEGIN; SELECT pg_advisory_xact_lock(1886154620, 0)";
    crate::scene::run(&mut sql, locked).await;
    let event = store_one(&gone, owing(3)).await;
    const ENTERED: &str = "SELECT count(*) FROM ploy.open_runs";
    assert_eq!(count(&mut sql, ENTERED).await, 0);
    drop(gone);
    crate::scene::run(&mut sql, "COMMIT").await;

    let runs = soon("runs are read", store.runs(&WORKSPACE, &event)).await.expect("they are");
    assert_eq!(runs.len(), 3);
    assert!(runs.iter().all(|run| run.state == RunState::Queued));
    assert_eq!(claim(&store, 16, LONG).await.len(), 3);
    assert_eq!(count(&mut sql, "SELECT count(*) FROM ploy.owed").await, 0);
}

/// One that somebody has changed under the store is an error only where nothing else is claimed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_cannot_be_read_does_not_keep_the_others() {
    let database = Database::new().await;
    let store = database.node().await;
    let event = store_one(&store, owing(3)).await;
    let runs = store.runs(&WORKSPACE, &event).await.expect("runs are read");
    let broken = runs[1].id;
    let hex: String = broken.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut sql = database.sql().await;
    let spoil = format!("UPDATE ploy.runs SET trigger = 'nothing' WHERE id = '{hex}'");
    crate::scene::run(&mut sql, &spoil).await;

    let mut claimed: Vec<_> =
        claim(&store, 16, LONG).await.into_iter().map(|run| run.lease.run).collect();
    claimed.sort();
    assert_eq!(claimed, [runs[0].id, runs[2].id]);
    crate::scene::run(&mut sql, "UPDATE ploy.open_runs SET due_at = now()").await;
    crate::scene::run(
        &mut sql,
        "DELETE FROM ploy.open_runs o USING ploy.runs r
        WHERE r.id = o.run AND r.trigger <> 'nothing'",
    )
    .await;
    let (worker, lanes) = ("test".parse().expect("a name"), wide());
    let alone = Claim { worker: &worker, max: NonZeroU16::MAX, lease: LONG, lanes: &lanes };
    let error = store.claim(&alone).await.expect_err("nothing else is due");
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
}

/// So that it is not claimed again and again for nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_event_is_gone_goes_when_it_is_claimed() {
    let database = Database::new().await;
    let store = database.node().await;
    let stays = store_one(&store, owing(2)).await;
    store_one(&store, owing(3)).await;
    assert_eq!(store.runs(&WORKSPACE, &stays).await.expect("runs are read").len(), 2);
    let mut sql = database.sql().await;
    crate::scene::run(
        &mut sql,
        "DELETE FROM ploy.events WHERE id = (SELECT id FROM ploy.events ORDER BY id DESC LIMIT 1)",
    )
    .await;

    let claimed = claim(&store, 16, LONG).await;
    assert_eq!(claimed.len(), 2);
    assert!(claimed.iter().all(|run| run.event.id == stays));
    assert_eq!(count(&mut sql, "SELECT count(*) FROM ploy.runs").await, 2);
    assert_eq!(count(&mut sql, "SELECT count(*) FROM ploy.open_runs").await, 2);
}

/// What is added to an event's runs goes with it: a deletion waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_not_added_behind_the_deletion_of_its_endpoint() {
    let database = Database::new().await;
    let store = database.node().await;
    let endpoint = make_endpoint(&store).await;
    let taken = store_one(&store, event(&endpoint, "{}")).await;
    let mut sql = database.sql().await;
    // A deletion that is under way: it has the stripe.
    let stripe = endpoint.id.as_bytes()[15] % 64;
    let locked = format!(
        "BEGIN; SELECT pg_advisory_xact_lock(1886154617, {stripe});
         DELETE FROM ploy.endpoints"
    );
    crate::scene::run(&mut sql, &locked).await;
    let mut adding = JoinSet::new();
    let adder = store.clone();
    adding.spawn(async move { adder.enqueue(&WORKSPACE, &taken, vec![new_run()]).await });
    const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut looking = database.sql().await;
    until("it waits for the deletion", async || count(&mut looking, WAITING).await > 0).await;
    crate::scene::run(&mut sql, "COMMIT").await;
    let added = soon("it ends", adding.join_next()).await.expect("there is one");
    let added = added.expect("it ends well").expect("there is no error");
    assert!(!added, "its event is out of reach");
    assert_eq!(count(&mut sql, "SELECT count(*) FROM ploy.runs").await, 0);
}
