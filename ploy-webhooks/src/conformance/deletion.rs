//! Promises about deletion: what it takes along, and when it is over.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::scene::{
    LONG, all_ids, append, assert_is_lost, claim_all, claim_one, create, delete, endpoint,
    endpoint_of, event, everything, find, keyed, look_up, look_up_slug, names_of, owing, run,
    runs_of, store_one,
};
use super::{EventsFixture, Fixture};
use crate::endpoint::Endpoint;
use crate::store::{Appended, Created};

/// When a deletion returns, the endpoint takes no event, and its events, their runs and its
/// deduplication keys are gone; those of other endpoints stay. A new endpoint may have the slug,
/// and begins with no history.
pub async fn deletion_takes_the_history_along<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let endpoint = endpoint();
    let neighbour = endpoint_of(endpoint.workspace);
    for made in [&endpoint, &neighbour] {
        create(&*store, made.clone(), Created::Created).await;
    }
    let mut with_run = keyed(event(&endpoint, r#"{"to be":"forgotten"}"#), 1, LONG);
    with_run.owes = vec![run("enrich")];
    let gone = store_one(&*store, with_run).await;
    let stays = store_one(&*store, keyed(event(&neighbour, "{}"), 1, LONG)).await;

    delete(&*store, &endpoint, true).await;
    let workspace = endpoint.workspace;
    assert_eq!(look_up(&*store, &workspace, &gone).await, None, "its event is there");
    assert_eq!(all_ids(&*store, workspace).await, BTreeSet::from([stays]), "left: what is there");
    let mut of_endpoint = everything(workspace);
    of_endpoint.endpoint = Some(endpoint.id);
    assert_eq!(find(&*store, &of_endpoint).await, [], "its events are found by its id");
    let runs = runs_of(&*store, &workspace, &gone).await;
    assert_eq!(runs, [], "its runs are there");
    assert!(
        matches!(append(&*store, event(&endpoint, "{}")).await, Appended::Fenced(_)),
        "a deleted endpoint takes events"
    );
    delete(&*store, &endpoint, false).await;

    let heir = Endpoint { slug: endpoint.slug.clone(), ..endpoint_of(workspace) };
    create(&*store, heir.clone(), Created::Created).await;
    let found = look_up_slug(&*store, &heir.slug).await;
    assert_eq!(found.as_deref(), Some(&heir), "left: the new endpoint by the slug");
    of_endpoint.endpoint = Some(heir.id);
    assert_eq!(find(&*store, &of_endpoint).await, [], "a new endpoint has a history");
    let first = store_one(&*store, keyed(event(&heir, "{}"), 1, LONG)).await;
    assert_eq!(all_ids(&*store, workspace).await, BTreeSet::from([first, stays]));
}

/// While sixteen tasks append, the endpoint is deleted: when the deletion has returned nothing
/// of it is found, then or later.
pub async fn deletion_waits_for_appends_under_way<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    for _ in 0..8 {
        let endpoint = endpoint();
        create(&*store, endpoint.clone(), Created::Created).await;
        let start = Arc::new(Barrier::new(17));
        let mut appenders = JoinSet::new();
        for _ in 0..16 {
            let (store, start, endpoint) =
                (Arc::clone(&store), Arc::clone(&start), endpoint.clone());
            appenders.spawn(async move {
                start.wait().await;
                while let Appended::Stored = append(&*store, event(&endpoint, "{}")).await {
                    tokio::task::yield_now().await;
                }
            });
        }
        start.wait().await;
        delete(&*store, &endpoint, true).await;
        let left = all_ids(&*store, endpoint.workspace).await;
        assert_eq!(left, BTreeSet::new(), "events are there after the deletion returned");
        // Each ends with its first event that is fenced.
        appenders.join_all().await;
        let left = all_ids(&*store, endpoint.workspace).await;
        assert_eq!(left, BTreeSet::new(), "events came after the deletion had returned");
    }
}

/// When a deletion returns, no run of the endpoint's events is claimed any more, however many
/// wait, and leases that were held are lost; runs of other endpoints go on.
pub async fn runs_of_a_deleted_endpoint_are_not_claimed<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let neighbour = endpoint_of(endpoint.workspace);
    let store = fixture.open_with(vec![endpoint.clone(), neighbour.clone()]).await;
    let held = store_one(&*store, owing(event(&endpoint, "{}"), [run("enrich")])).await;
    let lease = claim_one(&*store, LONG).await.lease;
    for _ in 0..100 {
        store_one(&*store, owing(event(&endpoint, "{}"), [run("enrich"), run("score")])).await;
    }
    let stays = run("enrich");
    let stays_id = stays.id;
    store_one(&*store, owing(event(&neighbour, "{}"), [stays])).await;

    delete(&*store, &endpoint, true).await;
    assert_is_lost(&*store, &lease, "the endpoint is deleted").await;
    let claimed = names_of(&claim_all(&*store, LONG).await);
    assert_eq!(claimed, [(stays_id, 1)], "left: what was claimed after the deletion");
    let runs = runs_of(&*store, &endpoint.workspace, &held).await;
    assert_eq!(runs, [], "a run of the deleted endpoint is on record");
}
