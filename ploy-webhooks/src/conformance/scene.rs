//! What promises are played out with: workspaces, endpoints, events, and the calls that every
//! one of them makes.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::{Clock, SystemClock};
use crate::endpoint::{Endpoint, EndpointConfig, Revision, Slug, Status};
use crate::event::{Dedup, DedupKey, Event, EventSummary, EventType, Fence, NewEvent};
use crate::id::{DestinationId, EndpointId, EventId, RunId, WorkspaceId};
use crate::run::{Lease, LeasedRun, NewRun, Outcome, Run};
use crate::store::{
    Appended, Claim, Created, EndpointPatch, EndpointStore, EventQuery, EventStore, KeyStore,
    Lanes, Order, PageSize, RunQueue, RunStore, Tenure, Updated,
};
use crate::task::{Action, Task, Trigger};

/// A window, a delay or a lease that no test outlives.
pub(super) const LONG: Duration = Duration::from_secs(86_400);

/// How many pages a search may have before it is taken for endless.
const PAGES_MAX: usize = 100_000;

/// A workspace that nothing else uses.
pub(super) fn workspace() -> WorkspaceId {
    WorkspaceId::mint(SystemClock.now())
}

/// A new active endpoint of a workspace of its own.
pub(super) fn endpoint() -> Endpoint {
    endpoint_of(workspace())
}

/// A new active endpoint of that workspace.
pub(super) fn endpoint_of(workspace: WorkspaceId) -> Endpoint {
    Endpoint::mint(workspace, EndpointConfig::default(), SystemClock.now()).0
}

/// An event that was checked against the endpoint as it is shown.
pub(super) fn event(endpoint: &Endpoint, payload: impl Into<Bytes>) -> NewEvent {
    NewEvent {
        fence: Some(Fence { endpoint: endpoint.id, checked_at: endpoint.revision }),
        ..published(endpoint.workspace, payload)
    }
}

/// An event that the app publishes itself.
pub(super) fn published(workspace: WorkspaceId, payload: impl Into<Bytes>) -> NewEvent {
    NewEvent::published(EventId::mint(SystemClock.now()), workspace, payload.into())
}

/// The same event, a repeat of any other with that key.
pub(super) fn keyed(event: NewEvent, key: u8, window: Duration) -> NewEvent {
    let key = DedupKey::from_bytes([key; 32]);
    NewEvent { dedup: Some(Dedup { key, window }), ..event }
}

/// The same event, checked against that revision.
pub(super) fn checked_at(event: NewEvent, revision: Revision) -> NewEvent {
    let fence = event.fence.map(|fence| Fence { checked_at: revision, ..fence });
    NewEvent { fence, ..event }
}

/// The type of an event.
pub(super) fn event_type(text: &str) -> EventType {
    EventType::try_from(text.to_owned()).expect("an event type")
}

/// A run of the Ploybook with that name.
pub(super) fn run(ploybook: &str) -> NewRun {
    NewRun {
        id: RunId::mint(SystemClock.now()),
        trigger: Trigger::ploybook(ploybook.parse().expect("the name of a Ploybook")),
        delay: Duration::ZERO,
    }
}

/// A run that delivers there.
pub(super) fn delivery(destination: DestinationId) -> NewRun {
    let action = Action::Destination(destination);
    let task = Task { action, subscription: None, draft: false };
    NewRun { trigger: Trigger::Task(task), ..run("replaced") }
}

/// The same event, owing these runs too.
pub(super) fn owing(mut event: NewEvent, runs: impl IntoIterator<Item = NewRun>) -> NewEvent {
    event.owes.extend(runs);
    event
}

/// Every event of the workspace, the oldest first, the largest pages.
pub(super) fn everything(workspace: WorkspaceId) -> EventQuery {
    EventQuery { order: Order::Ascending, limit: PageSize::MAX, ..EventQuery::all(workspace) }
}

/// What the store says to an event.
pub(super) async fn append<S: EventStore + ?Sized>(store: &S, event: NewEvent) -> Appended {
    store.append(event).await.expect("append gives no error")
}

/// Appends an event that must be stored, and names it.
pub(super) async fn store_one<S: EventStore + ?Sized>(store: &S, event: NewEvent) -> EventId {
    let id = event.id;
    match append(store, event).await {
        Appended::Stored => id,
        other => panic!("the event should have been stored, and the store says {other:?}"),
    }
}

/// The event, if the workspace has it.
pub(super) async fn look_up<S: EventStore + ?Sized>(
    store: &S,
    workspace: &WorkspaceId,
    id: &EventId,
) -> Option<Event> {
    let found = store.event(workspace, id).await;
    found.expect("a look-up of an event gives no error")
}

/// Everything that the query finds, page after page. Each page is held to what a page promises.
pub(super) async fn find<S: EventStore + ?Sized>(
    store: &S,
    query: &EventQuery,
) -> Vec<EventSummary> {
    let mut found: Vec<EventSummary> = Vec::new();
    let mut rest = Some(query.clone());
    for _ in 0..PAGES_MAX {
        let Some(query) = rest else {
            assert_is_sorted(&found, query.order);
            return found;
        };
        let page = store.search(&query).await.expect("search gives no error");
        assert!(
            page.items.len() <= query.limit.get(),
            "a page of at most {} events has {}",
            query.limit.get(),
            page.items.len(),
        );
        found.extend(page.items);
        rest = page.next;
    }
    panic!("the search does not end: after {PAGES_MAX} pages there is still a next one")
}

fn assert_is_sorted(found: &[EventSummary], order: Order) {
    let in_order = |a: &EventSummary, b: &EventSummary| match order {
        Order::Ascending => a.id < b.id,
        Order::Descending => a.id > b.id,
    };
    if let Some(pair) = found.windows(2).find(|pair| !in_order(&pair[0], &pair[1])) {
        panic!(
            "the pages of a search in {order:?} order have {} directly before {}",
            pair[0].id, pair[1].id,
        );
    }
}

/// The ids of everything that the query finds, in the order found.
pub(super) async fn find_ids<S: EventStore + ?Sized>(
    store: &S,
    query: &EventQuery,
) -> Vec<EventId> {
    let found = find(store, query).await;
    found.iter().map(|summary| summary.id).collect()
}

/// The ids of everything in the workspace.
pub(super) async fn all_ids<S: EventStore + ?Sized>(
    store: &S,
    workspace: WorkspaceId,
) -> BTreeSet<EventId> {
    let ids = find_ids(store, &everything(workspace)).await;
    ids.into_iter().collect()
}

/// Changes an endpoint that is at that revision, and shows the changed one.
pub(super) async fn change<S: EndpointStore + ?Sized>(
    store: &S,
    endpoint: &Endpoint,
    patch: EndpointPatch,
) -> Endpoint {
    let Endpoint { workspace, id, .. } = endpoint;
    let updated = store.update(workspace, id, endpoint.revision, patch).await;
    match updated.expect("update gives no error") {
        Updated::Updated(changed) => (*changed).clone(),
        other => panic!("the endpoint should have been changed, and the store says {other:?}"),
    }
}

/// The change that sets the status and leaves the rest.
pub(super) fn set_status(endpoint: &Endpoint, status: Status) -> EndpointPatch {
    EndpointPatch { config: Some(EndpointConfig { status, ..endpoint.config.clone() }), auth: None }
}

/// Every endpoint of the workspace, in pages of that size.
pub(super) async fn list<S: EndpointStore + ?Sized>(
    store: &S,
    workspace: WorkspaceId,
    limit: NonZeroU16,
) -> Vec<EndpointId> {
    let mut listed: Vec<EndpointId> = Vec::new();
    loop {
        let after = listed.last().copied();
        let page = store.endpoints(&workspace, after, limit).await;
        let page = page.expect("a list of endpoints gives no error");
        assert!(
            page.len() <= limit.get().into(),
            "a list of at most {limit} endpoints has {}",
            page.len(),
        );
        if page.is_empty() {
            return listed;
        }
        listed.extend(page.iter().map(|endpoint| endpoint.id));
    }
}

/// Makes an endpoint, of which that should come.
pub(super) async fn create<S>(store: &S, endpoint: Endpoint, expected: Created)
where
    S: EndpointStore + ?Sized,
{
    let created = store.create(endpoint).await.expect("create gives no error");
    assert_eq!(created, expected, "left: what came of the creation; right: what should");
}

/// Deletes an endpoint that is there or is not.
pub(super) async fn delete<S: EndpointStore + ?Sized>(
    store: &S,
    endpoint: &Endpoint,
    was_there: bool,
) {
    let deleted = store.delete(&endpoint.workspace, &endpoint.id).await;
    let deleted = deleted.expect("delete gives no error");
    assert_eq!(
        deleted, was_there,
        "left: whether `delete` says it was there; right: whether it was"
    );
}

/// The endpoint with that slug.
pub(super) async fn look_up_slug<S: KeyStore + ?Sized>(
    store: &S,
    slug: &Slug,
) -> Option<Arc<Endpoint>> {
    let found = store.endpoint(slug).await;
    found.expect("a look-up by slug gives no error")
}

/// The runs that an event is shown to owe.
pub(super) async fn runs_of<S: RunStore + ?Sized>(
    store: &S,
    workspace: &WorkspaceId,
    event: &EventId,
) -> Vec<Run> {
    store.runs(workspace, event).await.expect("runs gives no error")
}

/// The worker that the suite is.
pub(super) const WORKER: &str = "conformance-1:4711";

/// Room for whatever is due, in every lane.
pub(super) fn roomy() -> Lanes {
    Lanes::new(NonZeroU16::MAX)
}

/// How many runs may be claimed before the store is taken to give out the same ones for ever.
const CLAIMS_MAX: usize = 10_000;

/// Up to so many runs, claimed at once.
pub(super) async fn claim<S: RunQueue + ?Sized>(
    store: &S,
    max: u16,
    lease: Duration,
) -> Vec<LeasedRun> {
    claim_in(store, max, lease, &roomy()).await
}

/// Up to so many runs, claimed at once where there is room.
pub(super) async fn claim_in<S: RunQueue + ?Sized>(
    store: &S,
    max: u16,
    lease: Duration,
    lanes: &Lanes,
) -> Vec<LeasedRun> {
    let max = NonZeroU16::new(max).expect("at least one is claimed");
    let worker = WORKER.parse().expect("the name of a worker");
    let claimed = store.claim(&Claim { worker: &worker, max, lease, lanes }).await;
    let claimed = claimed.expect("claim gives no error");
    assert!(
        claimed.len() <= max.get().into(),
        "a claim of at most {max} runs gave {}",
        claimed.len(),
    );
    claimed
}

/// Every run that is due, claimed for so long.
pub(super) async fn claim_all<S: RunQueue + ?Sized>(store: &S, lease: Duration) -> Vec<LeasedRun> {
    let mut all = Vec::new();
    loop {
        let claimed = claim(store, 16, lease).await;
        if claimed.is_empty() {
            return all;
        }
        all.extend(claimed);
        assert!(all.len() <= CLAIMS_MAX, "claims do not end: {CLAIMS_MAX} runs, and still more");
    }
}

/// The one run that is due, claimed for so long.
pub(super) async fn claim_one<S: RunQueue + ?Sized>(store: &S, lease: Duration) -> LeasedRun {
    let mut claimed = claim_all(store, lease).await;
    let shown = names_of(&claimed);
    let one = claimed.pop().expect("one run is due, and none was claimed");
    assert!(claimed.is_empty(), "one run is due, and several were claimed: {shown:?}");
    one
}

/// Which runs were claimed, in which attempt, sorted.
pub(super) fn names_of(claimed: &[LeasedRun]) -> Vec<(RunId, u32)> {
    let name = |leased: &LeasedRun| (leased.lease.run, leased.lease.attempt.get());
    let mut names: Vec<_> = claimed.iter().map(name).collect();
    names.sort();
    names
}

/// Ends an attempt, and is told whether its lease held.
pub(super) async fn finish<S: RunQueue + ?Sized>(
    store: &S,
    lease: &Lease,
    outcome: Outcome,
) -> Tenure {
    store.finish(lease, outcome).await.expect("finish gives no error")
}

/// Has a lease end so long from now, and is told whether it held.
pub(super) async fn extend<S: RunQueue + ?Sized>(store: &S, lease: &Lease, by: Duration) -> Tenure {
    store.extend(lease, by).await.expect("extend gives no error")
}

/// Neither prolongs nor ends anything by a lease that is over.
pub(super) async fn assert_is_lost<S: RunQueue + ?Sized>(store: &S, lease: &Lease, why: &str) {
    // Taken at its word, this would have the run claimed again.
    let extended = extend(store, lease, Duration::ZERO).await;
    assert_eq!(extended, Tenure::Lost, "left: a lease, extended although {why}");
    let outcomes = [
        succeed("too late"),
        Outcome::Fail { error: "too late".to_owned() },
        Outcome::Retry { error: "too late".to_owned(), after: Duration::ZERO },
    ];
    for outcome in outcomes {
        let finished = finish(store, lease, outcome).await;
        assert_eq!(finished, Tenure::Lost, "left: a lease, finished although {why}");
    }
}

/// An attempt that is done, and said this.
pub(super) fn succeed(output: impl Into<Bytes>) -> Outcome {
    Outcome::Succeed { output: output.into() }
}

/// The endpoint as it is shown by its id.
pub(super) async fn look_up_id<S>(store: &S, endpoint: &Endpoint) -> Option<Arc<Endpoint>>
where
    S: EndpointStore + ?Sized,
{
    let found = store.endpoint_by_id(&endpoint.workspace, &endpoint.id).await;
    found.expect("a look-up by id gives no error")
}
