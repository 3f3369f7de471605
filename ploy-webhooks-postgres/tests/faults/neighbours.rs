//! Events that share a commit with one that is at fault.

use std::num::NonZeroUsize;

use ploy_webhooks::store::{Appended, EventStore, RunStore, StoreErrorKind};
use ploy_webhooks::{NewEvent, NewRun};
use tokio::task::JoinSet;

use crate::scene::{
    Database, WORKSPACE, append, count, event, keyed, make_endpoint, new_run, open, published,
    rows, soon, store_one, toggle,
};

fn owing(run: &NewRun) -> NewEvent {
    NewEvent { owes: vec![run.clone()], ..published("{}") }
}

/// So that what is appended at once makes one batch, or two.
async fn one_writer(database: &Database) -> std::sync::Arc<ploy_webhooks_postgres::PostgresStore> {
    let mut settings = database.settings();
    settings.writers = NonZeroUsize::MIN;
    open(settings).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_whose_run_is_there_already_is_refused_alone() {
    let database = Database::new().await;
    let store = one_writer(&database).await;
    let run = new_run();
    store_one(&store, owing(&run)).await;

    let mut events: Vec<_> = (0..30).map(|key| keyed(owing(&new_run()), key)).collect();
    events[15] = owing(&run);
    let appends = events.iter().map(|event| append(&store, event.clone()));
    let outcomes = futures_util::future::join_all(appends).await;
    for (place, (outcome, event)) in outcomes.into_iter().zip(events).enumerate() {
        let runs = store.runs(&WORKSPACE, &event.id).await.expect("the runs can be read");
        if place == 15 {
            let error = outcome.expect_err("its run belongs to another event");
            assert_eq!(error.kind(), StoreErrorKind::Misuse, "{error}");
            let kept = store.event(&WORKSPACE, &event.id).await.expect("a look-up");
            assert_eq!(kept, None);
            assert!(runs.is_empty());
        } else {
            assert!(matches!(outcome, Ok(Appended::Stored)), "{outcome:?}");
            assert_eq!(runs.len(), 1, "an event is stored without its run");
        }
    }
    assert_eq!(rows(&mut database.sql().await).await.len(), 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_events_that_owe_one_run_one_is_stored_and_their_neighbours_are() {
    let database = Database::new().await;
    let store = one_writer(&database).await;
    let run = new_run();
    let mut events: Vec<_> = (0..30).map(|_| owing(&new_run())).collect();
    events[7] = owing(&run);
    events[23] = owing(&run);
    let appends = events.iter().map(|event| append(&store, event.clone()));
    let outcomes = futures_util::future::join_all(appends).await;
    for (place, outcome) in outcomes.iter().enumerate() {
        match (place, outcome) {
            (23, Err(error)) => assert_eq!(error.kind(), StoreErrorKind::Misuse, "{error}"),
            (23, stored) => panic!("the second event of one run is {stored:?}"),
            (_, outcome) => assert!(matches!(outcome, Ok(Appended::Stored)), "{outcome:?}"),
        }
    }
    let mut sql = database.sql().await;
    assert_eq!(rows(&mut sql).await.len(), 29);
    // Who looks for runs enters them.
    assert!(store.run(&WORKSPACE, &run.id).await.expect("the run can be read").is_some());
    assert_eq!(count(&mut sql, "SELECT count(*) FROM ploy.runs").await, 29);
}

/// A sender that goes away takes nobody along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_that_are_dropped_harm_no_other() {
    let database = Database::new().await;
    let store = database.node().await;
    let endpoint = make_endpoint(&store).await;
    let mut dropped = JoinSet::new();
    let mut kept = JoinSet::new();
    for number in 0..400 {
        let store = store.clone();
        let event = keyed(event(&endpoint, "{}"), number);
        if number % 2 == 0 {
            dropped.spawn(async move { append(&store, event).await });
        } else {
            kept.spawn(async move { store_one(&store, event).await });
        }
    }
    soon("the first is stored", kept.join_next()).await.expect("there is one").expect("it is");
    soon("the others are dropped", dropped.shutdown()).await;
    while let Some(stored) = soon("the rest is stored", kept.join_next()).await {
        stored.expect("it is stored");
    }
    let changed = toggle(&store, &endpoint).await.expect("no lock is left behind");
    store_one(&store, event(&changed, "{}")).await;
    let there = rows(&mut database.sql().await).await.len();
    assert!((201..=401).contains(&there), "{there} events are there");
}
