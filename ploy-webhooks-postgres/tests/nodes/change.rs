//! Pause, rotate and delete on one node while others append.

use std::collections::BTreeSet;
use std::sync::Arc;

use ploy_webhooks::store::{Appended, EndpointPatch, EndpointStore, KeyStore, Updated};
use ploy_webhooks::{Auth, Endpoint, EventId, Secret};
use ploy_webhooks_postgres::PostgresStore;
use sqlx::PgConnection;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::scene::{Database, append, event, make_endpoint, run, soon, toggle};

const APPENDERS: usize = 32;
const ROUNDS: u64 = 4;

/// Lets every batch take a while between the look at its fences and its commit, so that a change
/// that does not wait for it is caught. And nobody does upkeep, which would purge what a deletion
/// left behind before it is looked at.
const ARRANGE: &str = "
    SELECT pg_advisory_lock(1886154619, 2);
    CREATE FUNCTION ploy.dawdle() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_sleep(0.01); RETURN NULL; END';
    CREATE TRIGGER dawdle AFTER INSERT ON ploy.events
        FOR EACH STATEMENT EXECUTE FUNCTION ploy.dawdle();";

async fn pause(store: &PostgresStore, endpoint: &Endpoint) {
    toggle(store, endpoint).await.expect("the endpoint is paused");
}

async fn rotate(store: &PostgresStore, endpoint: &Endpoint) {
    let auth = Auth::api_key(Secret::mint_api_key().digest());
    let patch = EndpointPatch { config: None, auth: Some(auth) };
    let Endpoint { workspace, id, revision, .. } = endpoint;
    let updated = soon("the key is rotated", store.update(workspace, id, *revision, patch)).await;
    assert!(matches!(updated, Ok(Updated::Updated(_))), "{updated:?}");
}

async fn delete(store: &PostgresStore, endpoint: &Endpoint) {
    let deleted = soon("the endpoint is deleted", store.delete(&endpoint.workspace, &endpoint.id));
    assert!(deleted.await.expect("the endpoint is deleted"));
}

/// Makes the change on one node while tasks append through so many others, some times.
async fn under_load(
    database: &Database,
    others: usize,
    change: impl AsyncFn(&PostgresStore, &Endpoint),
) {
    let changing = database.node().await;
    let mut appending = Vec::new();
    for _ in 0..others {
        appending.push(database.node().await);
    }
    let mut sql = database.sql().await;
    run(&mut sql, ARRANGE).await;
    for round in 0..ROUNDS {
        let endpoint = make_endpoint(&changing).await;
        let load = Load::default();
        let mut appenders = JoinSet::new();
        for number in 0..APPENDERS {
            let store = appending[number % others].clone();
            appenders.spawn(load.clone().append_until_changed(store, endpoint.clone()));
        }
        let number = number_of(&mut sql, &endpoint).await;
        // Each round lets a little more be stored before.
        load.await_stored(1 + 100 * round).await;

        change(&changing, &endpoint).await;
        load.changed.send_replace(true);
        let when_it_returned = ids_of(&mut sql, number).await;

        let mut said_to_be_stored = BTreeSet::new();
        while let Some(stored) = soon("the appenders end", appenders.join_next()).await {
            said_to_be_stored.extend(stored.expect("no append fails"));
        }
        let at_the_end = ids_of(&mut sql, number).await;
        let late: Vec<_> = at_the_end.difference(&when_it_returned).collect();
        assert!(late.is_empty(), "stored under the old state after the change: {late:?}");
        assert_eq!(at_the_end, said_to_be_stored, "left: there; right: said to be stored");
    }
}

async fn number_of(sql: &mut PgConnection, endpoint: &Endpoint) -> i64 {
    sqlx::query_scalar("SELECT number FROM ploy.endpoints WHERE slug = $1")
        .bind(endpoint.slug.as_str())
        .fetch_one(sql)
        .await
        .expect("the endpoint has a number")
}

async fn ids_of(sql: &mut PgConnection, endpoint: i64) -> BTreeSet<EventId> {
    let ids: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT uuid_send(id) FROM ploy.events WHERE endpoint = $1")
            .bind(endpoint)
            .fetch_all(sql)
            .await
            .expect("the events can be read");
    ids.into_iter().map(|id| EventId::from_bytes(id.try_into().expect("an id"))).collect()
}

/// Appends under one revision, from many tasks.
#[derive(Clone, Default)]
struct Load {
    stored: watch::Sender<u64>,
    changed: watch::Sender<bool>,
}

impl Load {
    /// Appends until the change has returned and a little longer; gives what was stored.
    async fn append_until_changed(
        self,
        store: Arc<PostgresStore>,
        endpoint: Endpoint,
    ) -> Vec<EventId> {
        let mut stored = Vec::new();
        let mut left = 3;
        while left > 0 {
            let is_changed = *self.changed.borrow();
            left -= u8::from(is_changed);
            let event = event(&endpoint, "{}");
            let id = event.id;
            match append(&store, event).await {
                Ok(Appended::Stored) => {
                    assert!(!is_changed, "an append that began after the change was stored");
                    self.stored.send_modify(|stored| *stored += 1);
                    stored.push(id);
                }
                Ok(Appended::Fenced(_)) => {}
                other => panic!("an event without a key is {other:?}"),
            }
        }
        stored
    }

    async fn await_stored(&self, count: u64) {
        let mut stored = self.stored.subscribe();
        let waited = soon("events are stored", stored.wait_for(|stored| *stored >= count)).await;
        drop(waited);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_stored_on_another_node_once_a_pause_has_returned() {
    under_load(&Database::new().await, 1, pause).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_stored_on_two_other_nodes_once_a_pause_has_returned() {
    under_load(&Database::new().await, 2, pause).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_stored_under_the_old_key_once_a_rotation_has_returned() {
    under_load(&Database::new().await, 2, rotate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_stored_for_a_deleted_endpoint_once_the_deletion_has_returned() {
    under_load(&Database::new().await, 2, delete).await;
}

/// In another isolation than the one it was written for, a batch would read the revisions as they
/// were before it had its locks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_is_now_whatever_isolation_the_database_defaults_to() {
    for isolation in ["repeatable read", "serializable"] {
        let database = Database::new().await;
        let set = format!(
            "DO $$ BEGIN EXECUTE format(
                 'ALTER DATABASE %I SET default_transaction_isolation = %L',
                 current_database(), '{isolation}'); END $$"
        );
        run(&mut database.sql().await, &set).await;
        under_load(&database, 1, pause).await;
    }
}

/// However many appends there are on however many nodes, a change has its turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_not_starved_by_appends_on_other_nodes() {
    let database = Database::new().await;
    let (changing, one, other) =
        (database.node().await, database.node().await, database.node().await);
    let mut endpoint = make_endpoint(&changing).await;
    let over = watch::Sender::new(false);
    let mut appenders = JoinSet::new();
    for number in 0..2 * APPENDERS {
        let store = [&one, &other][number % 2].clone();
        appenders.spawn(append_until_over(store, endpoint.clone(), over.subscribe()));
    }
    for _ in 0..20 {
        endpoint = toggle(&changing, &endpoint).await.expect("the endpoint is changed");
    }
    over.send_replace(true);
    while let Some(done) = soon("the appenders end", appenders.join_next()).await {
        done.expect("no append fails");
    }
}

/// Appends under the state that was seen last.
async fn append_until_over(
    store: Arc<PostgresStore>,
    mut endpoint: Endpoint,
    over: watch::Receiver<bool>,
) {
    while !*over.borrow() {
        match append(&store, event(&endpoint, "{}")).await {
            Ok(Appended::Stored) => {}
            Ok(Appended::Fenced(_)) => {
                let fresh = soon("a look-up", store.endpoint(&endpoint.slug)).await;
                let fresh = fresh.expect("the look-up works").expect("it is there");
                endpoint = (*fresh).clone();
            }
            other => panic!("an event without a key is {other:?}"),
        }
    }
}

/// Batches of many endpoints, in whatever order they came, and changes of these take their locks
/// so that nobody waits for nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_of_many_endpoints_and_changes_never_wait_in_a_circle() {
    let database = Database::new().await;
    let nodes = [database.node().await, database.node().await];
    let mut endpoints = Vec::new();
    for _ in 0..128 {
        endpoints.push(make_endpoint(&nodes[0]).await);
    }
    let over = watch::Sender::new(false);
    let mut appenders = JoinSet::new();
    for number in 0..APPENDERS {
        let (store, over) = (nodes[number % 2].clone(), over.subscribe());
        let mut endpoints = endpoints.clone();
        appenders.spawn(async move {
            while !*over.borrow() {
                fastrand::shuffle(&mut endpoints);
                let appends =
                    endpoints.iter().map(|endpoint| append(&store, event(endpoint, "{}")));
                for outcome in futures_util::future::join_all(appends).await {
                    let outcome = outcome.expect("an append does not fail");
                    assert!(!matches!(outcome, Appended::Duplicate(_)));
                }
            }
        });
    }
    let mut changers = JoinSet::new();
    for (number, mine) in endpoints.chunks(16).enumerate() {
        let (store, mut mine) = (nodes[number % 2].clone(), mine.to_vec());
        changers.spawn(async move {
            for _ in 0..2 {
                for endpoint in &mut mine {
                    *endpoint = toggle(&store, endpoint).await.expect("it is changed");
                }
            }
        });
    }
    while let Some(done) = soon("the changes end", changers.join_next()).await {
        done.expect("no change fails");
    }
    over.send_replace(true);
    while let Some(done) = soon("the appenders end", appenders.join_next()).await {
        done.expect("no append fails");
    }
}
