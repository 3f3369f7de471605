//! Nodes that start at the same time.

use std::num::NonZeroUsize;
use std::sync::Arc;

use ploy_webhooks::store::EventStore;
use ploy_webhooks_postgres::PostgresStore;
use tokio::task::JoinSet;

use crate::scene::{Database, WORKSPACE, count, published, soon, store_one};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_nodes_may_open_an_empty_database_at_once() {
    let database = Database::new().await;
    let mut opening = JoinSet::new();
    for _ in 0..8 {
        let mut settings = database.settings();
        settings.writers = NonZeroUsize::new(2).expect("two is not zero");
        opening.spawn(PostgresStore::open(settings));
    }
    let mut nodes = Vec::new();
    while let Some(opened) = soon("the nodes open", opening.join_next()).await {
        let opened = opened.expect("opening does not panic");
        nodes.push(Arc::new(opened.expect("every node opens")));
    }

    let mut sql = database.sql().await;
    let migrated = count(&mut sql, "SELECT count(*) FROM ploy.migrations").await;
    assert_eq!(migrated, 11, "the tables are made once");
    const GAPS: &str = "SELECT count(*) FROM ploy.partitions a
        WHERE NOT EXISTS (SELECT FROM ploy.partitions b WHERE b.from_ms = a.to_ms)";
    assert_eq!(count(&mut sql, GAPS).await, 1, "partitions join without a gap, up to the last");
    // Each writer of each node has a stream of its own.
    const STREAMS: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND classid = 1886154618";
    assert_eq!(count(&mut sql, STREAMS).await, 16);
    for store in &nodes {
        let id = store_one(store, published("{}")).await;
        for other in &nodes {
            let found = soon("a look-up", other.event(&WORKSPACE, &id)).await;
            assert!(found.expect("the look-up works").is_some(), "one schema holds all events");
        }
    }
}
