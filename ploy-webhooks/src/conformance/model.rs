//! The promise of all promises: whatever sequence of calls, the store answers as a model does
//! that fits on a page.

mod runs;

use std::cell::RefCell;
use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use self::runs::Runs;
use super::Fixture;
use super::calls::{Call, Calls, Wanted, With, call};
use super::scene::{
    LONG, append, create, endpoint_of, event, event_type, everything, find_ids, keyed, list,
    look_up, look_up_id, look_up_slug, published, run, workspace,
};
use super::search::matches;
use crate::endpoint::{Endpoint, EndpointConfig, Revision};
use crate::event::NewEvent;
use crate::id::{EndpointId, EventId, WorkspaceId};
use crate::store::{
    Appended, Created, EndpointPatch, EndpointStore, EventQuery, EventStore, Needle, Order,
    PageSize, RunQueue, RunStore, Updated,
};

/// How many sequences are tried.
const CASES: u32 = 64;
/// How many calls a sequence has at most.
const CALLS_MAX: usize = 90;

/// Random sequences of calls on two workspaces: creations, changes, deletions, appends under
/// current and stale revisions with and without keys and runs, publications, look-ups, searches,
/// claims, ends of attempts under current and lost leases, runs added to events, and restarts. The store answers each as the model does, and in the end holds the same.
///
/// The sequence that fails is shrunk and printed.
pub async fn any_sequence_of_calls_does_as_the_model<F: Fixture>(fixture: &F) {
    let store = RefCell::new(Some(fixture.open().await));
    let mut runner = TestRunner::new(Config {
        cases: CASES,
        failure_persistence: None,
        max_shrink_iters: 1_000,
        ..Config::default()
    });
    // Every case has workspaces of its own, so that all can play in one store.
    let outcome = block_in_place(|| {
        runner.run(&vec(call(), 1..CALLS_MAX), |calls: Calls| {
            Handle::current().block_on(play(fixture, &store, &calls))
        })
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, calls)) => {
            panic!("the store and the model disagree: {reason}\nafter these calls: {calls:#?}")
        }
        Err(TestError::Abort(reason)) => panic!("no sequence of calls was made: {reason}"),
    }
}

async fn play<F: Fixture>(
    fixture: &F,
    slot: &RefCell<Option<Arc<F::Store>>>,
    calls: &[Call],
) -> Result<(), TestCaseError> {
    let mut model = Model::new();
    for call in calls {
        let store = slot.take().expect("the store is in its place");
        if let Call::Reopen = call {
            slot.replace(Some(fixture.reopen(store).await));
            continue;
        }
        slot.replace(Some(Arc::clone(&store)));
        model.play(&*store, call).await?;
    }
    let store = slot.borrow().clone().expect("the store is in its place");
    model.is_what_is_kept(&*store).await
}

/// What a store holds.
struct Model {
    workspaces: [WorkspaceId; 2],
    /// Those that there are, and those that there were.
    endpoints: Vec<(Endpoint, bool)>,
    /// Those that there are, and the ids of those that there were.
    events: Vec<NewEvent>,
    gone: Vec<NewEvent>,
    firsts: HashMap<(WorkspaceId, Option<EndpointId>, u8), EventId>,
    runs: Runs,
}

impl Model {
    fn new() -> Self {
        Self {
            workspaces: [workspace(), workspace()],
            endpoints: Vec::new(),
            events: Vec::new(),
            gone: Vec::new(),
            firsts: HashMap::new(),
            runs: Runs::default(),
        }
    }

    async fn play<S>(&mut self, store: &S, call: &Call) -> Result<(), TestCaseError>
    where
        S: EndpointStore + RunQueue + ?Sized,
    {
        match call {
            Call::Create { workspace } => {
                let made = endpoint_of(self.workspaces[usize::from(*workspace)]);
                create(store, made.clone(), Created::Created).await;
                self.endpoints.push((made, true));
            }
            Call::Update { endpoint, revisions_behind } => {
                return self.update(store, *endpoint, *revisions_behind).await;
            }
            Call::Delete { endpoint } => return self.delete(store, *endpoint).await,
            Call::Append { endpoint, revisions_behind, with } => {
                if let Some((endpoint, _)) = nth(&self.endpoints, *endpoint) {
                    let mut checked = endpoint.clone();
                    checked.revision = behind(endpoint.revision, *revisions_behind);
                    return self.append(store, event(&checked, with.payload), with).await;
                }
            }
            Call::Publish { workspace, with } => {
                let workspace = self.workspaces[usize::from(*workspace)];
                return self.append(store, published(workspace, with.payload), with).await;
            }
            Call::Search(wanted) => return self.search(store, wanted).await,
            Call::LookUp { event } => {
                let known = nth(&self.events, *event).into_iter().chain(nth(&self.gone, *event));
                for event in known {
                    self.look_up(store, event).await?;
                }
            }
            Call::Claim { max } => return self.runs.claim(store, *max).await,
            Call::Finish { run, attempts_behind, end } => {
                return self.runs.finish(store, *run, *attempts_behind, *end).await;
            }
            Call::Enqueue { workspace, event } => {
                let workspace = self.workspaces[usize::from(*workspace)];
                for (events, are_there) in [(&self.events, true), (&self.gone, false)] {
                    if let Some(event) = nth(events, *event) {
                        self.runs.enqueue(store, workspace, event, are_there).await?;
                    }
                }
            }
            Call::Reopen => unreachable!("the store is opened again by who holds it"),
        }
        Ok(())
    }

    async fn update<S>(
        &mut self,
        store: &S,
        which: u8,
        revisions_behind: u64,
    ) -> Result<(), TestCaseError>
    where
        S: EndpointStore + ?Sized,
    {
        let Some((endpoint, is_there)) = nth_mut(&mut self.endpoints, which) else {
            return Ok(());
        };
        let patch = EndpointPatch {
            config: Some(EndpointConfig {
                description: format!("after {}", endpoint.revision.get()),
                ..EndpointConfig::default()
            }),
            auth: None,
        };
        let expected = behind(endpoint.revision, revisions_behind);
        let updated =
            store.update(&endpoint.workspace, &endpoint.id, expected, patch.clone()).await;
        match updated.expect("update gives no error") {
            Updated::Missing => prop_assert!(!*is_there, "it is there, and is said to be missing"),
            Updated::Conflict(revision) => {
                prop_assert!(
                    *is_there && expected != endpoint.revision,
                    "a conflict without cause"
                );
                prop_assert_eq!(revision, endpoint.revision);
            }
            Updated::Updated(changed) => {
                prop_assert!(
                    *is_there && expected == endpoint.revision,
                    "a change of another state"
                );
                *endpoint = patch.apply(endpoint);
                prop_assert_eq!(&*changed, &*endpoint);
            }
        }
        Ok(())
    }

    async fn delete<S>(&mut self, store: &S, which: u8) -> Result<(), TestCaseError>
    where
        S: EndpointStore + ?Sized,
    {
        let Some((endpoint, is_there)) = nth_mut(&mut self.endpoints, which) else {
            return Ok(());
        };
        let deleted = store.delete(&endpoint.workspace, &endpoint.id).await;
        prop_assert_eq!(deleted.expect("delete gives no error"), *is_there);
        *is_there = false;
        let id = endpoint.id;
        self.runs.forget(id);
        let is_of_it = |event: &mut NewEvent| event.fence.is_some_and(|fence| fence.endpoint == id);
        self.gone.extend(self.events.extract_if(.., is_of_it));
        self.firsts.retain(|(_, endpoint, _), _| *endpoint != Some(id));
        Ok(())
    }

    async fn append<S>(
        &mut self,
        store: &S,
        base: NewEvent,
        with: &With,
    ) -> Result<(), TestCaseError>
    where
        S: EventStore + ?Sized,
    {
        let mut event = match with.key {
            Some(key) => keyed(base, key, LONG),
            None => base,
        };
        event.event_type = with.event_type.map(event_type);
        event.owes = (0..with.runs).map(|number| run(&format!("run {number}"))).collect();
        let endpoint = event.fence.map(|fence| fence.endpoint);
        let is_stale = event.fence.is_some_and(|fence| {
            !self.endpoints.iter().any(|(endpoint, is_there)| {
                *is_there && (endpoint.id, endpoint.revision) == (fence.endpoint, fence.checked_at)
            })
        });
        let key = with.key.map(|key| (event.workspace, endpoint, key));
        let first = key.and_then(|key| self.firsts.get(&key));
        match (append(store, event.clone()).await, first) {
            (Appended::Fenced(_), _) => prop_assert!(is_stale, "fenced, and not stale"),
            (Appended::Duplicate(id), first) => {
                prop_assert!(!is_stale, "a duplicate, and stale");
                prop_assert_eq!(Some(&id), first, "the duplicate of another");
            }
            (Appended::OverQuota { .. }, _) => prop_assert!(false, "no event has a quota"),
            (Appended::Stored, Some(first)) => prop_assert!(false, "stored, and repeats {first}"),
            (Appended::Stored, None) => {
                prop_assert!(!is_stale, "stored, and stale");
                self.firsts.extend(key.map(|key| (key, event.id)));
                self.runs.add(&event, &event.owes);
                self.events.push(event);
            }
        }
        Ok(())
    }

    async fn search<S>(&self, store: &S, wanted: &Wanted) -> Result<(), TestCaseError>
    where
        S: EventStore + ?Sized,
    {
        let time = |event: &NewEvent| event.id.timestamp();
        let nth_time = |number: Option<u8>| nth(&self.events, number?).map(time);
        let nth_id = |number: u8| nth(&self.endpoints, number).map(|(endpoint, _)| endpoint.id);
        let query = EventQuery {
            endpoint: wanted.endpoint.and_then(nth_id),
            event_type: wanted.event_type.map(event_type),
            from: nth_time(wanted.received_from),
            to: nth_time(wanted.received_before),
            contains: wanted.contains.map(|text| Needle::new(text).expect("a needle")),
            order: [Order::Ascending, Order::Descending][usize::from(wanted.descending)],
            limit: PageSize::new(wanted.limit).expect("a page size"),
            ..EventQuery::all(self.workspaces[usize::from(wanted.workspace)])
        };
        self.finds(store, &query).await
    }

    async fn finds<S>(&self, store: &S, query: &EventQuery) -> Result<(), TestCaseError>
    where
        S: EventStore + ?Sized,
    {
        let matching = self.events.iter().filter(|event| matches(event, query));
        let mut expected: Vec<_> = matching.map(|event| event.id).collect();
        expected.sort();
        if query.order == Order::Descending {
            expected.reverse();
        }
        let found = find_ids(store, query).await;
        prop_assert_eq!(found, expected, "left: found; right: expected of {:?}", query);
        Ok(())
    }

    /// The event and its runs are there, if they should be, and in no other workspace.
    async fn look_up<S>(&self, store: &S, event: &NewEvent) -> Result<(), TestCaseError>
    where
        S: RunStore + ?Sized,
    {
        let is_there = self.events.iter().any(|known| known.id == event.id);
        for workspace in self.workspaces {
            let shown = is_there && workspace == event.workspace;
            let expected = shown.then(|| event.clone().into());
            prop_assert_eq!(look_up(store, &workspace, &event.id).await, expected);
            self.runs.are_on_record(store, &workspace, event.id, shown).await?;
        }
        Ok(())
    }

    async fn is_what_is_kept<S>(&self, store: &S) -> Result<(), TestCaseError>
    where
        S: EndpointStore + RunStore + ?Sized,
    {
        for (endpoint, is_there) in &self.endpoints {
            let expected = is_there.then_some(endpoint);
            let by_slug = look_up_slug(store, &endpoint.slug).await;
            prop_assert_eq!(by_slug.as_deref(), expected);
            let by_id = look_up_id(store, endpoint).await;
            prop_assert_eq!(by_id.as_deref(), expected);
        }
        for event in self.events.iter().chain(&self.gone) {
            self.look_up(store, event).await?;
        }
        for workspace in self.workspaces {
            self.finds(store, &everything(workspace)).await?;
            let there = self
                .endpoints
                .iter()
                .filter(|(endpoint, is_there)| *is_there && endpoint.workspace == workspace);
            let mut expected: Vec<_> = there.map(|(endpoint, _)| endpoint.id).collect();
            expected.sort();
            prop_assert_eq!(list(store, workspace, NonZeroU16::MAX).await, expected);
        }
        Ok(())
    }
}

fn behind(revision: Revision, count: u64) -> Revision {
    Revision::new(revision.get().saturating_sub(count))
}

fn nth<T>(items: &[T], number: u8) -> Option<&T> {
    items.iter().cycle().nth(usize::from(number))
}

fn nth_mut<T>(items: &mut [T], number: u8) -> Option<&mut T> {
    let place = usize::from(number).checked_rem(items.len())?;
    items.get_mut(place)
}
