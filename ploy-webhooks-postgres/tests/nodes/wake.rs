//! What a node hears of the others.

use std::time::Duration;

use ploy_webhooks::store::{EndpointStore, KeyStore};
use ploy_webhooks::{Endpoint, Status};
use ploy_webhooks_postgres::{EndpointChange, EndpointChanges, PostgresStore};

use crate::scene::{Database, make_endpoint, run, soon, toggle, until};

/// How long a change is listened for before another one is made.
const A_MOMENT: Duration = Duration::from_millis(200);

/// Returns when the one node hears what the other one changes.
pub(super) async fn await_listening(listening: &PostgresStore, changing: &PostgresStore) {
    let mut endpoint = make_endpoint(changing).await;
    let mut changes = listening.endpoint_changes();
    let wanted = EndpointChange::Of(endpoint.slug.clone());
    until("a node listens", async || {
        endpoint = toggle(changing, &endpoint).await.expect("it is changed");
        let heard = async { while changes.next().await.as_ref() != Some(&wanted) {} };
        tokio::time::timeout(A_MOMENT, heard).await.is_ok()
    })
    .await;
    // The last change may have been heard of twice; nothing is left of it.
    tokio::time::timeout(A_MOMENT, async { while changes.next().await.is_some() {} }).await.ok();
}

async fn next(changes: &mut EndpointChanges) -> Option<EndpointChange> {
    soon("a change is heard of", changes.next()).await
}

async fn status(store: &PostgresStore, endpoint: &Endpoint) -> Option<Status> {
    let by_slug = store.endpoint(&endpoint.slug).await.expect("a look-up by slug");
    let by_id = store.endpoint_by_id(&endpoint.workspace, &endpoint.id).await;
    assert_eq!(by_slug, by_id.expect("a look-up by id"));
    by_slug.map(|endpoint| endpoint.config.status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_on_one_node_is_looked_up_on_another_at_once() {
    let database = Database::new().await;
    let (changing, looking) = (database.node().await, database.node().await);
    let mut endpoint = make_endpoint(&changing).await;
    for _ in 0..20 {
        assert_eq!(status(&looking, &endpoint).await, Some(endpoint.config.status));
        endpoint = toggle(&changing, &endpoint).await.expect("it is changed");
    }
    assert!(changing.delete(&endpoint.workspace, &endpoint.id).await.expect("it is deleted"));
    assert_eq!(status(&looking, &endpoint).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_hears_what_another_changes_and_deletes() {
    let database = Database::new().await;
    let (changing, listening) = (database.node().await, database.node().await);
    await_listening(&listening, &changing).await;
    let mut changes = listening.endpoint_changes();

    let endpoint = make_endpoint(&changing).await;
    toggle(&changing, &endpoint).await.expect("it is changed");
    let heard = EndpointChange::Of(endpoint.slug.clone());
    assert_eq!(next(&mut changes).await, Some(heard.clone()));
    assert!(changing.delete(&endpoint.workspace, &endpoint.id).await.expect("it is deleted"));
    assert_eq!(next(&mut changes).await, Some(heard));
}

/// Stores of other schemas of the database are other stores.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_does_not_hear_of_another_schema() {
    let database = Database::new().await;
    let mut settings = database.settings();
    settings.schema = "elsewhere".to_owned();
    let (elsewhere, listening) = (crate::scene::open(settings).await, database.node().await);
    await_listening(&listening, &listening).await;
    let mut changes = listening.endpoint_changes();
    let endpoint = make_endpoint(&elsewhere).await;
    toggle(&elsewhere, &endpoint).await.expect("it is changed");
    assert_eq!(status(&listening, &endpoint).await, None);

    let own = make_endpoint(&listening).await;
    toggle(&listening, &own).await.expect("it is changed");
    assert_eq!(next(&mut changes).await, Some(EndpointChange::Of(own.slug)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_whose_connection_is_ended_says_so_and_hears_again() {
    let database = Database::new().await;
    let (changing, listening) = (database.node().await, database.node().await);
    await_listening(&listening, &changing).await;
    let mut changes = listening.endpoint_changes();

    run(
        &mut database.sql().await,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND query LIKE 'LISTEN%'",
    )
    .await;
    assert_eq!(next(&mut changes).await, Some(EndpointChange::Unknown));
    // Said when the connection is lost, and again when there is a new one.
    assert_eq!(next(&mut changes).await, Some(EndpointChange::Unknown));
    let endpoint = make_endpoint(&changing).await;
    toggle(&changing, &endpoint).await.expect("it is changed");
    assert_eq!(next(&mut changes).await, Some(EndpointChange::Of(endpoint.slug)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_listens_is_told_when_the_store_is_closed() {
    let database = Database::new().await;
    let store = database.node().await;
    let mut changes = store.endpoint_changes();
    soon("the store closes", store.close()).await;
    soon("the changes end", async { while changes.next().await.is_some() {} }).await;
}
