//! Promises about workspaces: no call crosses from one into another.

use std::num::NonZeroU16;

use super::scene::{
    all_ids, endpoint, event, everything, find, list, look_up, look_up_slug, published, run,
    runs_of, set_status, store_one, workspace,
};
use super::{EventsFixture, Fixture};
use crate::endpoint::{Revision, Status};
use crate::store::{EndpointStore, Needle, Order, Updated};

/// Events of one workspace are neither looked up nor found in another, by whatever condition.
pub async fn events_stay_in_their_workspace<F: EventsFixture>(fixture: &F) {
    let (endpoint, alien) = (endpoint(), endpoint());
    let store = fixture.open_with(vec![endpoint.clone(), alien.clone()]).await;
    let mine = store_one(&*store, event(&endpoint, r#"{"needle":1}"#)).await;
    let published_here = published(endpoint.workspace, r#"{"needle":2}"#);
    let also_mine = store_one(&*store, published_here).await;
    let theirs = store_one(&*store, event(&alien, r#"{"needle":3}"#)).await;

    for (workspace, id) in [
        (alien.workspace, mine),
        (alien.workspace, also_mine),
        (endpoint.workspace, theirs),
        (workspace(), mine),
    ] {
        let found = look_up(&*store, &workspace, &id).await;
        assert_eq!(found, None, "an event was looked up from another workspace");
    }
    let here = all_ids(&*store, endpoint.workspace).await;
    assert_eq!(here, [mine, also_mine].into(), "left: what a search finds in one workspace");
    for order in [Order::Ascending, Order::Descending] {
        let mut across = everything(alien.workspace);
        across.order = order;
        across.contains = Some(Needle::new("needle").expect("a needle"));
        let found = find(&*store, &across).await;
        assert_eq!(found.len(), 1, "a search by content crosses workspaces");
        across.endpoint = Some(endpoint.id);
        let found = find(&*store, &across).await;
        assert_eq!(found, [], "a search by another workspace's endpoint finds something");
    }
    assert_eq!(find(&*store, &everything(workspace())).await, [], "an empty workspace");
}

/// Endpoints and runs of one workspace are not shown, changed or deleted from another.
pub async fn endpoints_stay_in_their_workspace<F: Fixture>(fixture: &F) {
    let (endpoint, alien) = (endpoint(), endpoint());
    let store = fixture.open_with(vec![endpoint.clone(), alien.clone()]).await;
    let mut with_run = event(&endpoint, "{}");
    with_run.owes = vec![run("enrich")];
    let owing = store_one(&*store, with_run).await;

    for elsewhere in [alien.workspace, workspace()] {
        let found = store.endpoint_by_id(&elsewhere, &endpoint.id).await;
        assert_eq!(found.expect("a look-up gives no error"), None, "it is looked up");
        let patch = set_status(&endpoint, Status::Paused);
        let updated = store.update(&elsewhere, &endpoint.id, Revision::FIRST, patch).await;
        let updated = updated.expect("update gives no error");
        assert!(matches!(updated, Updated::Missing), "a change from elsewhere is {updated:?}");
        let deleted = store.delete(&elsewhere, &endpoint.id).await;
        assert!(!deleted.expect("delete gives no error"), "it was deleted from elsewhere");
        let runs = runs_of(&*store, &elsewhere, &owing).await;
        assert_eq!(runs, [], "its runs are shown elsewhere");
    }
    let page = NonZeroU16::MIN;
    assert_eq!(list(&*store, alien.workspace, page).await, [alien.id], "the alien list");
    assert_eq!(list(&*store, workspace(), page).await, [], "the list of an empty workspace");

    let unharmed = look_up_slug(&*store, &endpoint.slug).await;
    assert_eq!(unharmed.as_deref(), Some(&endpoint), "it was changed from elsewhere");
    store_one(&*store, event(&endpoint, "{}")).await;
    let runs = runs_of(&*store, &endpoint.workspace, &owing).await;
    assert_eq!(runs.len(), 1, "its run is gone");
}
