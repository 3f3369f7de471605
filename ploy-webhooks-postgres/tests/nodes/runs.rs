//! Runs that several nodes claim.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use ploy_webhooks::store::{RunQueue, Tenure};
use ploy_webhooks::{LeasedRun, NewEvent, Outcome, RunId};
use ploy_webhooks_postgres::PostgresStore;
use tokio::task::JoinSet;

use super::vanishing::Vanishing;
use super::wake::await_listening;
use crate::scene::{Database, LONG, count, new_run, published, soon, store_one, until};

/// An event that owes so many runs.
fn owing(runs: usize) -> NewEvent {
    NewEvent { owes: (0..runs).map(|_| new_run()).collect(), ..published("{}") }
}

async fn claim(store: &PostgresStore, max: u16, lease: Duration) -> Vec<LeasedRun> {
    let max = NonZeroU16::new(max).expect("at least one is claimed");
    soon("a claim", store.claim(max, lease)).await.expect("the claim works")
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
    const SUCCEEDED: &str = "SELECT count(*) FROM ploy.runs r JOIN ploy.attempts a ON a.run = r.id
        WHERE r.state = 'succeeded' AND r.attempt = 1 AND a.number = 1 AND a.said = 'done'";
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
        soon("a wait", store.wait(LONG)).await.expect("waiting works");
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
    assert!(again.iter().all(|run| run.lease.attempt.get() == 2));
    // What the one that is gone would say comes too late.
    let late = Outcome::Fail { error: "late".to_owned() };
    let held = store.finish(&before[0].lease, late).await.expect("the store works");
    assert_eq!(held, Tenure::Lost);
}

/// Returns when the node waits for runs: it has looked for one, and gone to sleep.
async fn begin_to_wait(store: &Arc<PostgresStore>, database: &Database) -> JoinSet<()> {
    const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND state = 'idle' AND query LIKE '%min(due_at)%'
        AND pid <> pg_backend_pid()";
    let mut sql = database.sql().await;
    assert_eq!(count(&mut sql, WAITING).await, 0, "nobody has waited before");
    let mut waiting = JoinSet::new();
    let store = store.clone();
    waiting.spawn(async move { store.wait(LONG).await.expect("waiting works") });
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

    let added = adding.enqueue(&crate::scene::WORKSPACE, &event, vec![new_run()]).await;
    assert!(added.expect("the run is added"));
    soon("the wait ends", wait.join_next()).await.expect("there is one").expect("it ends well");
    assert_eq!(claim(&waiting, 16, LONG).await.len(), 1);
}
