//! Promises about what is left when the process has ended.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::scene::{
    LONG, all_ids, append, change, checked_at, claim_all, claim_one, delete, endpoint, endpoint_of,
    event, everything, find, finish, keyed, list, look_up, look_up_slug, names_of, owing, run,
    runs_of, set_status, store_one, succeed,
};
use super::{EventsFixture, Fixture};
use crate::endpoint::{Endpoint, Revision, Status};
use crate::run::{Outcome, RunState};
use crate::store::{Appended, EndpointStore, EventStore, Needle, Tenure};

/// Events whose append has returned `Stored` are there after a restart, as they were, and are
/// found; nothing else is.
pub async fn stored_events_survive_a_restart<F: EventsFixture>(fixture: &F) {
    let endpoint = endpoint();
    let mut store = fixture.open_with(vec![endpoint.clone()]).await;
    let mut all = Vec::new();
    for round in 0..3 {
        let mut appends = JoinSet::new();
        for number in 0..40 {
            let payload = format!(r#"{{"round":{round},"number":{number},"is":"a needle"}}"#);
            let (store, event) = (Arc::clone(&store), event(&endpoint, payload));
            all.push(event.clone());
            appends.spawn(async move { store_one(&*store, event).await });
        }
        appends.join_all().await;
        let stale = checked_at(event(&endpoint, "{}"), Revision::new(999));
        let _fenced = append(&*store, stale).await;
        store = fixture.reopen(store).await;

        for appended in &all {
            let kept = look_up(&*store, &endpoint.workspace, &appended.id).await;
            assert_eq!(kept, Some(appended.clone().into()), "left: the event after a restart");
        }
        let mut ids: Vec<_> = all.iter().map(|event| event.id).collect();
        ids.sort();
        let kept: Vec<_> = all_ids(&*store, endpoint.workspace).await.into_iter().collect();
        assert_eq!(kept, ids, "left: what a search finds after a restart");
        let mut query = everything(endpoint.workspace);
        query.contains = Some(Needle::new("a needle").expect("a needle"));
        let found = find(&*store, &query).await;
        assert_eq!(found.len(), all.len(), "a search by content after a restart");
    }
}

/// A deduplication key is known after a restart.
pub async fn deduplication_keys_survive_a_restart<F: EventsFixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let first = store_one(&*store, keyed(event(&endpoint, "{}"), 1, LONG)).await;
    let store = fixture.reopen(store).await;
    match append(&*store, keyed(event(&endpoint, "{}"), 1, LONG)).await {
        Appended::Duplicate(id) => assert_eq!(id, first, "the repeat was told another id"),
        outcome => panic!("a repeat within its window, after a restart, is {outcome:?}"),
    }
}

/// Endpoints, their revisions and fences, deletions, and the runs of events are the same after
/// a restart.
pub async fn changes_survive_a_restart<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let workspace = endpoint.workspace;
    let deleted = endpoint_of(workspace);
    let store = fixture.open_with(vec![endpoint.clone(), deleted.clone()]).await;
    let mut with_run = event(&endpoint, "{}");
    with_run.owes = vec![run("enrich")];
    let owing = store_one(&*store, with_run).await;
    let changed = change(&*store, &endpoint, set_status(&endpoint, Status::Paused)).await;
    let gone = store_one(&*store, event(&deleted, "{}")).await;
    delete(&*store, &deleted, true).await;
    let runs = runs_of(&*store, &workspace, &owing).await;

    let store = Fixture::reopen(fixture, store).await;
    let found = look_up_slug(&*store, &endpoint.slug).await;
    assert_eq!(found.as_deref(), Some(&changed), "left: the endpoint after a restart");
    let found = look_up_slug(&*store, &deleted.slug).await;
    assert_eq!(found, None, "a deleted endpoint is back after a restart");
    let listed = list(&*store, workspace, std::num::NonZeroU16::MAX).await;
    assert_eq!(listed, [endpoint.id], "left: the list of endpoints after a restart");
    assert_eq!(look_up(&*store, &workspace, &gone).await, None, "its event is back");
    let kept = runs_of(&*store, &workspace, &owing).await;
    assert_eq!(kept, runs, "left: the runs after a restart; right: before it");
    assert_fenced_then_stored(&*store, &endpoint, &changed).await;
}

/// Runs that wait, are under a lease or are finished are so after a restart, with what is on
/// record of them: a lease holds for as long as it lasts, and nobody else gets its run.
pub async fn leases_survive_a_restart<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let workspace = endpoint.workspace;
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let retry = Outcome::Retry { error: "later".to_owned(), after: LONG };
    let mut events = Vec::new();
    for outcome in [succeed("done"), retry, Outcome::Fail { error: "given up".to_owned() }] {
        events.push(store_one(&*store, owing(event(&endpoint, "{}"), [run("enrich")])).await);
        let lease = claim_one(&*store, LONG).await.lease;
        assert_eq!(finish(&*store, &lease, outcome).await, Tenure::Held);
    }
    let under_way = store_one(&*store, owing(event(&endpoint, "{}"), [run("enrich")])).await;
    let leased = claim_one(&*store, LONG).await.lease;
    let waiting = run("score");
    let waiting_id = waiting.id;
    events.push(under_way);
    events.push(store_one(&*store, owing(event(&endpoint, "{}"), [waiting])).await);
    let mut before = Vec::new();
    for event in &events {
        before.push(runs_of(&*store, &workspace, event).await);
    }

    let store = Fixture::reopen(fixture, store).await;
    for (event, before) in events.iter().zip(before) {
        let after = runs_of(&*store, &workspace, event).await;
        assert_eq!(after, before, "left: what is on record after a restart; right: before it");
    }
    let claimed = names_of(&claim_all(&*store, LONG).await);
    assert_eq!(claimed, [(waiting_id, 1)], "left: what is claimed after a restart");
    let tenure = finish(&*store, &leased, succeed("done")).await;
    assert_eq!(tenure, Tenure::Held, "left: a lease from before the restart, finished");
    let runs = runs_of(&*store, &workspace, &under_way).await;
    assert_eq!(runs[0].state, RunState::Succeeded, "left: the state of its run");
}

async fn assert_fenced_then_stored<S>(store: &S, before: &Endpoint, now: &Endpoint)
where
    S: EndpointStore + EventStore + ?Sized,
{
    let outcome = append(store, event(before, "{}")).await;
    assert!(matches!(outcome, Appended::Fenced(_)), "a stale event is {outcome:?}");
    store_one(store, event(now, "{}")).await;
}
