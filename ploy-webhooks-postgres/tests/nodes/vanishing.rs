//! A node that is gone without a word, as with its process.

use std::sync::Arc;

use ploy_webhooks::NewEvent;
use ploy_webhooks::store::{Appended, RunStore};
use ploy_webhooks_postgres::{PostgresSettings, PostgresStore};
use sqlx::PgConnection;
use tokio::runtime::{Builder, Runtime};

use crate::scene::{
    Database, WORKSPACE, append, count, event, everything, find, keyed, make_endpoint, new_run,
    open, rows, soon, toggle, until,
};

/// A node that runs by itself, and can vanish: nothing that it has begun is finished.
pub(super) struct Vanishing {
    runtime: Runtime,
    store: Arc<PostgresStore>,
    /// The server's ends of its writers' connections.
    writers: Vec<i32>,
}

impl Vanishing {
    /// Opened while no other node is.
    pub(super) async fn open(settings: PostgresSettings, sql: &mut PgConnection) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime starts");
        let store = runtime.spawn(open(settings)).await.expect("the store opens");
        let writers = writers(sql).await;
        assert!(!writers.is_empty(), "every writer has a stream");
        Self { runtime, store, writers }
    }

    /// Does this on the node.
    pub(super) async fn run<F>(&self, work: impl FnOnce(Arc<PostgresStore>) -> F) -> F::Output
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let done = self.runtime.spawn(work(self.store.clone()));
        soon("work on the node", done).await.expect("the work does not panic")
    }

    /// Begins this on the node, and does not wait for it.
    pub(super) fn begin<F>(&self, work: impl FnOnce(Arc<PostgresStore>) -> F)
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.runtime.spawn(work(self.store.clone()));
    }

    /// Returns when the server has noticed, too.
    pub(super) async fn vanish(self, sql: &mut PgConnection) {
        let Self { runtime, store, writers: gone } = self;
        runtime.shutdown_background();
        drop(store);
        until("the server notices", async || {
            let writers = writers(sql).await;
            !gone.iter().any(|pid| writers.contains(pid))
        })
        .await;
    }
}

/// The backends that hold streams of this database.
async fn writers(sql: &mut PgConnection) -> Vec<i32> {
    sqlx::query_scalar(
        "SELECT DISTINCT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = 1886154618
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .fetch_all(sql)
    .await
    .expect("the locks can be read")
}

/// Neither the fence, nor keys, nor streams are held by what is no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_vanishes_amid_its_appends_leaves_the_store_usable() {
    const KEYS: u64 = 2_000;
    let database = Database::new().await;
    let mut sql = database.sql().await;
    let gone = Vanishing::open(database.settings(), &mut sql).await;
    let store = database.node().await;
    let endpoint = make_endpoint(&store).await;
    let events: Vec<NewEvent> = (0..KEYS)
        .map(|key| {
            let event = keyed(event(&endpoint, format!(r#"{{"key":{key}}}"#)), key);
            NewEvent { owes: vec![new_run()], ..event }
        })
        .collect();
    for event in events.clone() {
        gone.begin(|gone| async move { append(&gone, event).await });
    }
    const EVENTS: &str = "SELECT count(*) FROM ploy.events";
    until("some are stored", async || count(&mut sql, EVENTS).await > 0).await;
    gone.vanish(&mut sql).await;

    let mut ids = Vec::new();
    for chunk in events.chunks(500) {
        let again = chunk.iter().map(|event| append(&store, event.clone()));
        for (outcome, event) in futures_util::future::join_all(again).await.into_iter().zip(chunk) {
            match outcome.expect("the event is taken") {
                Appended::Stored => {}
                Appended::Duplicate(first) => assert_eq!(first, event.id, "it is its own first"),
                Appended::Fenced(_) => panic!("nobody changed the endpoint"),
                Appended::OverQuota { .. } => panic!("no event has a quota"),
            }
            ids.push(event.id);
        }
    }
    ids.sort();
    let there: Vec<_> = rows(&mut sql).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(there, ids, "left: what is there; right: each event once");
    assert_eq!(find(&store, everything()).await, ids);
    // Who looks for runs enters them.
    assert_eq!(store.runs(&WORKSPACE, &ids[0]).await.expect("runs are read").len(), 1);
    let runs = count(&mut sql, "SELECT count(DISTINCT event) FROM ploy.runs").await;
    assert_eq!(runs as u64, KEYS, "each event owes its run");
    toggle(&store, &endpoint).await.expect("the endpoint is changed");
}
