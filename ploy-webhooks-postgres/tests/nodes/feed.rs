//! The feed, where transactions of others are under way, and where it has been forgotten.

use std::sync::Arc;

use ploy_webhooks::EventId;
use ploy_webhooks::store::{Appended, Change, Changes, EventStore, FeedQuery, FeedStore, Position};
use ploy_webhooks_postgres::PostgresStore;
use sqlx::PgConnection;

use crate::scene::{Database, WORKSPACE, published, run, soon};

async fn append(store: &PostgresStore) -> EventId {
    let event = published("{}");
    let id = event.id;
    let appended = soon("an append", store.append(event)).await.expect("the store works");
    assert!(matches!(appended, Appended::Stored), "{appended:?}");
    id
}

async fn end(store: &PostgresStore) -> Position {
    soon("the end of the feed", store.end()).await.expect("the store works")
}

async fn page(store: &PostgresStore, after: Position) -> Changes {
    let query = FeedQuery::after(WORKSPACE, after);
    soon("a page of the feed", store.changes(&query)).await.expect("the store works")
}

fn ids(page: &Changes) -> Vec<EventId> {
    let id = |change: &Change| match change {
        Change::Accepted(summary) => summary.id,
        other => panic!("nothing else happened: {other:?}"),
    };
    page.items.iter().map(id).collect()
}

/// The place behind the first page, taken while nothing was under way anywhere in the engine: what
/// is under way in other databases is a part of a place too, and may be what is missing later.
async fn place_in_quiet(store: &PostgresStore, begin: &Position) -> Position {
    loop {
        let place = page(store, begin.clone()).await.next;
        if place.as_bytes().len() == PLACE_IN_QUIET_BYTES {
            return place;
        }
    }
}

/// A version, a timeline, a number, and no transaction that was under way.
const PLACE_IN_QUIET_BYTES: usize = 1 + 4 + 8;

/// Puts an event into the tables as another node does, in a transaction that is not over.
async fn begin_to_store(connection: &mut PgConnection, id: EventId) {
    let hex = |bytes: &[u8; 16]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (id, workspace) = (hex(id.as_bytes()), hex(WORKSPACE.as_bytes()));
    let append = format!(
        "BEGIN; SET LOCAL search_path = ploy;
         SELECT append(1, NULL, '{{}}', '{{}}', '{{}}', '{{}}', ARRAY['{id}'::uuid], NULL,
             ARRAY['{workspace}'::uuid], NULL, NULL, NULL, ARRAY['x'::bytea],
             ARRAY['{workspace}'::uuid])"
    );
    run(connection, &append).await;
}

/// It has begun before all of them and commits after: the feed goes on without it, and tells it then.
/// So does one that begins in between.
#[tokio::test]
async fn who_commits_late_holds_up_nobody_and_is_not_passed_over() {
    let database = Database::new().await;
    let (one, other) = (database.node().await, database.node().await);
    let (mut first, mut second) = (database.sql().await, database.sql().await);
    let mut at = end(&one).await;
    let late = [published("{}").id, published("{}").id];
    begin_to_store(&mut first, late[0]).await;
    for (number, store) in [&one, &other, &one].into_iter().enumerate() {
        let id = append(store).await;
        if number == 1 {
            begin_to_store(&mut second, late[1]).await;
        }
        let told = page(&other, at).await;
        assert_eq!(ids(&told), [id], "left: what is told while others are under way");
        assert!(!told.has_gap && !told.has_more, "{told:?}");
        at = told.next;
    }
    run(&mut first, "COMMIT").await;
    let told = page(&one, at).await;
    assert_eq!(ids(&told), [late[0]], "left: what is told of the one that has committed");
    let before_the_last = told.next.clone();
    run(&mut second, "ROLLBACK").await;
    begin_to_store(&mut second, late[1]).await;
    run(&mut second, "COMMIT").await;
    let last = append(&one).await;
    let told = page(&other, before_the_last).await;
    assert_eq!(ids(&told), [late[1], last], "left: what is told in the end");
    assert_eq!(ids(&page(&one, told.next).await), [], "left: what is told when all was");
}

/// A node hears of what another has stored while it waits.
#[tokio::test]
async fn who_waits_hears_of_another_node() {
    let database = Database::new().await;
    let (one, other) = (database.node().await, database.node().await);
    let at = end(&other).await;
    let waiting = {
        let (other, at) = (Arc::clone(&other), at.clone());
        tokio::spawn(async move { other.changed(&at, std::time::Duration::MAX).await })
    };
    let id = append(&one).await;
    let waited = soon("the other node", waiting).await.expect("it does not panic");
    waited.expect("the store works");
    assert_eq!(ids(&page(&other, at).await), [id]);
}

#[tokio::test]
async fn what_is_forgotten_is_said_to_be_missing() {
    let database = Database::new().await;
    let (store, mut sql) = (database.node().await, database.sql().await);
    let begin = end(&store).await;
    append(&store).await;
    let middle = soon("a quiet moment", place_in_quiet(&store, &begin)).await;
    // Not over: what it does is forgotten by nobody.
    let late = published("{}").id;
    begin_to_store(&mut sql, late).await;
    let mut chores = database.sql().await;
    let forget = "SET search_path = ploy; SELECT forget_changes('0 seconds', 1000)";
    run(&mut chores, forget).await;
    let missed = page(&store, begin).await;
    assert!(missed.has_gap, "the first is forgotten");
    assert!(!page(&store, middle.clone()).await.has_gap, "it was told");
    run(&mut sql, "COMMIT").await;
    let told = page(&store, middle).await;
    assert_eq!((ids(&told), told.has_gap), (vec![late], false), "left: who committed after that");
}
