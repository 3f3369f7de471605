//! Deliveries: what stands in the lane of a destination, wherever it came from.

use std::num::NonZeroU16;

use ploy_webhooks::store::{EndpointStore, Lanes, PageSize, RunQuery, RunQueue, RunStore, Tenure};
use ploy_webhooks::{
    Action, Clock, DestinationId, Endpoint, Lane, NewEvent, NewRun, Outcome, Run, RunState,
    SystemClock, Task, Trigger,
};
use ploy_webhooks_postgres::PostgresStore;
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::task::JoinSet;

use crate::scene::{
    Database, LONG, WORKSPACE, claim_in, count, event, make_endpoint, new_run, published, run,
    soon, store_one, until, wide,
};

fn destination() -> DestinationId {
    DestinationId::mint(SystemClock.now())
}

/// A new run that delivers there.
fn delivery(destination: DestinationId) -> NewRun {
    let action = Action::Destination(destination);
    let task = Task { action, subscription: None, draft: false };
    NewRun { trigger: Trigger::Task(task), ..new_run() }
}

/// Stores events that owe so many deliveries in all: of each endpoint in turn, and of the app.
async fn owe(
    store: &PostgresStore,
    endpoints: &[Endpoint],
    destination: DestinationId,
    deliveries: usize,
) {
    const OF_AN_EVENT: usize = 1_000;
    for (turn, begin) in (0..deliveries).step_by(OF_AN_EVENT).enumerate() {
        let of_this = OF_AN_EVENT.min(deliveries - begin);
        let owes: Vec<NewRun> = (0..of_this).map(|_| delivery(destination)).collect();
        let from = match endpoints.get(turn % (endpoints.len() + 1)) {
            Some(endpoint) => event(endpoint, "{}"),
            None => published("{}"),
        };
        store_one(store, NewEvent { owes, ..from }).await;
    }
}

/// How many blocks the server looks at for a call that it has planned before.
async fn blocks_of(connection: &mut PgConnection, call: &str) -> u64 {
    let explain = format!("EXPLAIN (ANALYZE, BUFFERS, SUMMARY OFF) {call}");
    let mut lines: Vec<String> = Vec::new();
    for _ in 0..2 {
        let explained =
            sqlx::query_scalar(AssertSqlSafe(explain.clone())).fetch_all(&mut *connection);
        lines = soon(call, explained).await.expect("the call is explained");
    }
    let buffers = lines.iter().find(|line| line.contains("Buffers:")).expect("it says so");
    let counts = buffers.split_whitespace().filter_map(|word| {
        let (what, count) = word.split_once('=')?;
        matches!(what, "hit" | "read").then(|| count.parse::<u64>().expect("a count"))
    });
    counts.sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_destination_without_room_costs_claims_and_waits_nothing() {
    let database = Database::new().await;
    let store = database.node().await;
    let endpoints = [make_endpoint(&store).await, make_endpoint(&store).await];
    let down = destination();
    owe(&store, &endpoints, down, 100_000).await;
    let mut lanes = wide();
    lanes.bound(Lane::Destination(down), 0);
    assert!(claim_in(&store, &lanes, 64, LONG).await.is_empty(), "there is no room");
    store_one(&store, NewEvent { owes: vec![new_run()], ..event(&endpoints[0], "{}") }).await;
    soon("a wait", store.wait(LONG, &lanes)).await.expect("waiting works");
    let claimed = claim_in(&store, &lanes, 64, LONG).await;
    let of: Vec<_> = claimed.iter().map(|leased| leased.lane()).collect();
    assert_eq!(of, [Lane::Endpoint(endpoints[0].id)]);

    // They fill far more blocks than these.
    const FEW: u64 = 100;
    let mut sql = database.sql().await;
    run(&mut sql, "SET search_path = ploy").await;
    run(&mut sql, "VACUUM ANALYZE").await;
    let hex: String = down.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let down = format!("ARRAY['{hex}'::uuid]");
    for call in [
        format!("SELECT * FROM claim_runs('test', 64, 1000, 16, 1, {down}, ARRAY[0], NULL)"),
        format!("SELECT next_due({down})"),
        // With room for one, what waits behind it costs nothing either.
        "SELECT * FROM claim_runs('test', 64, 1000, 16, 1, '{}', '{}', NULL)".to_owned(),
        "SELECT next_due('{}')".to_owned(),
    ] {
        let blocks = blocks_of(&mut sql, &call).await;
        assert!(blocks < FEW, "{blocks} blocks are looked at for {call}");
    }
}

/// Whoever claims: each goes to one, and a claim takes no more than there is room for in all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_claim_of_a_destination_at_once_share_its_lane() {
    const EVENTS: usize = 60;
    let database = Database::new().await;
    let nodes = [database.node().await, database.node().await];
    let busy = destination();
    for number in 0..EVENTS {
        let from = match number % 3 {
            0 => published("{}"),
            _ => event(&make_endpoint(&nodes[0]).await, "{}"),
        };
        store_one(&nodes[0], NewEvent { owes: vec![delivery(busy)], ..from }).await;
    }
    let mut claimers = JoinSet::new();
    for number in 0..4 {
        let store = nodes[number % 2].clone();
        claimers.spawn(async move {
            let two = NonZeroU16::new(2).expect("it is not zero");
            let lanes = wide().with_destinations(two);
            let mut claimed = Vec::new();
            loop {
                let runs = claim_in(&store, &lanes, 11, LONG).await;
                if runs.is_empty() {
                    return claimed;
                }
                assert!(runs.len() <= 2, "{} were claimed at once", runs.len());
                claimed.extend(runs.into_iter().map(|leased| leased.lease.run));
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
    claimed.extend(claim_in(&nodes[0], &wide(), 64, LONG).await.into_iter().map(|r| r.lease.run));
    assert_eq!(claimed.len(), EVENTS);
}

/// From the deletion on, and not only once they are purged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_of_a_deleted_endpoint_are_out_of_reach_and_go() {
    let database = Database::new().await;
    let store = database.node().await;
    let [stays, goes, calls] =
        [make_endpoint(&store).await, make_endpoint(&store).await, make_endpoint(&store).await];
    let shared = destination();
    // Those that go are first in line.
    for endpoint in [&goes, &goes, &stays] {
        let event = store_one(&store, event(endpoint, "{}")).await;
        let added = store.enqueue(&WORKSPACE, &event, vec![delivery(shared)]).await;
        assert!(added.expect("a run is added"));
    }
    let leased = claim_in(&store, &wide().with_destinations(NonZeroU16::MIN), 64, LONG).await;
    assert_eq!(leased.len(), 1, "there is room for one");
    let mut sql = database.sql().await;
    // Who would purge it waits for its turn.
    run(&mut sql, "SELECT pg_advisory_lock(1886154619, 2)").await;
    assert!(store.delete(&WORKSPACE, &goes.id).await.expect("a deletion"));

    let done = Outcome::Succeed { output: "done".into() };
    let held = store.finish(&leased[0].lease, done).await.expect("the store works");
    assert_eq!(held, Tenure::Lost);
    let mut of_shared = RunQuery::all(WORKSPACE);
    of_shared.destination = Some(shared);
    let listed = list(&store, of_shared).await;
    // With room for one, which the one before it does not take.
    let claimed = claim_in(&store, &wide().with_destinations(NonZeroU16::MIN), 64, LONG).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].event.endpoint, Some(stays.id));
    assert_eq!(listed.iter().map(|run| run.id).collect::<Vec<_>>(), [claimed[0].lease.run]);

    run(&mut sql, "SELECT pg_advisory_unlock(1886154619, 2)").await;
    // A deletion has the chores done at once.
    assert!(store.delete(&WORKSPACE, &calls.id).await.expect("a deletion"));
    const LEFT: &str = "SELECT count(*) FROM ploy.runs";
    until("they are purged", async || count(&mut sql, LEFT).await == 1).await;
    assert_eq!(count(&mut sql, "SELECT count(*) FROM ploy.open_runs").await, 1);
}

async fn list(store: &PostgresStore, query: RunQuery) -> Vec<Run> {
    let (mut listed, mut next) = (Vec::new(), Some(query));
    while let Some(query) = next {
        let page = soon("a page", store.list_runs(&query)).await.expect("runs are listed");
        listed.extend(page.items);
        next = page.next;
    }
    listed
}

/// However much else there is, above it and below: what has failed for good is one page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_are_listed_behind_many_of_another_destination() {
    let database = Database::new().await;
    let store = database.node().await;
    let endpoint = make_endpoint(&store).await;
    let [wanted, other] = [destination(), destination()];
    let deliveries = [(wanted, 3), (other, 1_500), (wanted, 2), (other, 1_500)];
    for (destination, deliveries) in deliveries {
        owe(&store, std::slice::from_ref(&endpoint), destination, deliveries).await;
    }
    let mut query = RunQuery::all(WORKSPACE);
    query.destination = Some(wanted);
    query.limit = PageSize::MAX;
    let in_state = |state| {
        let mut query = query.clone();
        query.state = Some(state);
        query
    };
    let queued = list(&store, in_state(RunState::Queued)).await;
    assert_eq!(queued.len(), 5);
    assert_eq!(list(&store, query.clone()).await, queued);

    let lanes = Lanes::new(NonZeroU16::MAX);
    loop {
        let claimed = claim_in(&store, &lanes, 64, LONG).await;
        if claimed.is_empty() {
            break;
        }
        let ends = claimed
            .iter()
            .map(|leased| store.finish(&leased.lease, Outcome::Fail { error: "410".to_owned() }));
        for held in futures_util::future::join_all(ends).await {
            assert_eq!(held.expect("an attempt ends"), Tenure::Held);
        }
    }
    let page = store.list_runs(&in_state(RunState::Failed)).await.expect("a page");
    let ids = |runs: &[Run]| runs.iter().map(|run| run.id).collect::<Vec<_>>();
    assert_eq!(ids(&page.items), ids(&queued));
    assert_eq!(page.next, None);
}
