//! Promises about what is told as it happens.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Fixture;
use super::scene::{
    LONG, append, checked_at, claim_all, claim_one, delete, endpoint, endpoint_of, event,
    event_type, finish, keyed, owing, published, run, store_one, succeed, workspace,
};
use crate::endpoint::Revision;
use crate::event::{EventSummary, NewEvent};
use crate::id::{EventId, RunId, WorkspaceId};
use crate::run::{Outcome, RunState};
use crate::store::{
    Altered, Appended, Change, Changes, FeedQuery, FeedStore, PageSize, Position, RunChange,
    RunQueue, StoreErrorKind, Tenure,
};

/// How many pages there may be before the feed is taken for endless.
const PAGES_MAX: usize = 100_000;

async fn end<S: FeedStore + ?Sized>(store: &S) -> Position {
    store.end().await.expect("the end of the feed gives no error")
}

/// One page, without a gap.
async fn page<S: FeedStore + ?Sized>(
    store: &S,
    workspace: WorkspaceId,
    after: &Position,
    limit: u16,
) -> Changes {
    let limit = PageSize::new(limit).expect("a size of a page");
    let query = FeedQuery { limit, ..FeedQuery::after(workspace, after.clone()) };
    let page = store.changes(&query).await.expect("changes gives no error");
    assert!(!page.has_gap, "a gap is told, where all is kept");
    page
}

/// All that was committed since, in pages of about that size, and the place behind it.
async fn since<S: FeedStore + ?Sized>(
    store: &S,
    workspace: WorkspaceId,
    after: &Position,
    limit: u16,
) -> (Vec<Change>, Position) {
    let (mut told, mut at) = (Vec::new(), after.clone());
    for _ in 0..PAGES_MAX {
        let page = page(store, workspace, &at, limit).await;
        told.extend(page.items);
        at = page.next;
        if !page.has_more {
            return (told, at);
        }
    }
    panic!("the feed does not end: after {PAGES_MAX} pages there is still a next one")
}

fn accepted(event: &NewEvent) -> Change {
    Change::Accepted(EventSummary::from(event))
}

fn ids_of(told: &[Change]) -> Vec<EventId> {
    let id = |change: &Change| match change {
        Change::Accepted(summary) => Some(summary.id),
        Change::Run(_) => None,
    };
    told.iter().filter_map(id).collect()
}

/// Events are told as their summaries, in the order in which they were stored, each once, however
/// the pages are cut; those that were not stored are not told. What came after any of the places
/// between is told again from there.
pub async fn the_feed_tells_every_commit_once_in_order<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = super::EventsFixture::open_with(fixture, vec![endpoint.clone()]).await;
    store_one(&*store, event(&endpoint, "before")).await;
    let begin = end(&*store).await;
    assert_eq!(since(&*store, endpoint.workspace, &begin, 50).await.0, [], "of nothing new");

    let mut expected = Vec::new();
    for number in 0..23 {
        let mut event = event(&endpoint, format!(r#"{{"number":{number}}}"#));
        event.event_type = (number % 2 == 0).then(|| event_type("order.paid"));
        event.source = (number % 3 == 0).then(|| [192, 0, 2, 7].into());
        let event = keyed(event, number, LONG);
        expected.push(accepted(&event));
        store_one(&*store, event.clone()).await;
        let again = NewEvent { id: super::scene::event(&endpoint, "").id, ..event };
        let repeated = append(&*store, again).await;
        assert!(matches!(repeated, Appended::Duplicate(_)), "a repeat is {repeated:?}");
        let stale = checked_at(super::scene::event(&endpoint, "{}"), Revision::new(999));
        let fenced = append(&*store, stale).await;
        assert!(matches!(fenced, Appended::Fenced(_)), "a stale event is {fenced:?}");
    }
    for limit in [1, 7, 200] {
        let (told, _) = since(&*store, endpoint.workspace, &begin, limit).await;
        assert_eq!(told, expected, "left: what is told in pages of about {limit}");
    }
    let mut at = begin;
    let mut told = 0;
    while told < expected.len() {
        let page = page(&*store, endpoint.workspace, &at, 4).await;
        told += page.items.len();
        at = page.next;
        let (rest, _) = since(&*store, endpoint.workspace, &at, 50).await;
        assert_eq!(rest, expected[told..], "left: what is told from the place after {told}");
    }
}

/// While events are stored by many at once, whose ids were made long before and come in no order,
/// who follows the feed is told of each, once: none is passed over because a later one was told
/// first. And so is who follows from the begin afterwards.
pub async fn the_feed_skips_no_late_commit<F: Fixture>(fixture: &F) {
    const WRITERS: usize = 8;
    const OF_EACH: usize = 24;
    let endpoint = endpoint();
    let store = super::EventsFixture::open_with(fixture, vec![endpoint.clone()]).await;
    let begin = end(&*store).await;
    let mut events: Vec<_> = (0..WRITERS * OF_EACH)
        .map(|number| event(&endpoint, format!(r#"{{"number":{number}}}"#)))
        .collect();
    let all: BTreeSet<_> = events.iter().map(|event| event.id).collect();
    // The youngest ids first, and those of the writers interleaved.
    events.reverse();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let of_writer: Vec<_> = events.iter().skip(writer).step_by(WRITERS).cloned().collect();
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for event in of_writer {
                store_one(&*store, event).await;
            }
        });
    }
    let mut writers = Some(tokio::spawn(writers.join_all()));
    let (mut told, mut at) = (Vec::new(), begin.clone());
    loop {
        let page = page(&*store, endpoint.workspace, &at, 5).await;
        told.extend(ids_of(&page.items));
        at = page.next;
        if !page.has_more {
            let Some(writing) = &mut writers else { break };
            tokio::select! {
                waited = store.changed(&at, LONG) => waited.expect("changed gives no error"),
                written = writing => {
                    written.expect("no writer panics");
                    writers = None;
                }
            }
        }
    }
    let once: BTreeSet<_> = told.iter().copied().collect();
    assert_eq!(once, all, "left: the events that were told; right: those that were stored");
    assert_eq!(told.len(), all.len(), "left: how often events were told");
    assert_eq!(since(&*store, endpoint.workspace, &at, 50).await.0, [], "when all was told");
    let (told, _) = since(&*store, endpoint.workspace, &begin, 50).await;
    assert_eq!(told.len(), all.len(), "left: how often events are told from the begin");
    let again: BTreeSet<_> = ids_of(&told).into_iter().collect();
    assert_eq!(again, all, "left: what is told from the begin");
}

/// Every step of a run is told after its event and in order: that it was claimed, what came of the
/// attempt, that it was called off or is tried again, and that it was added.
pub async fn the_feed_tells_what_becomes_of_runs<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = super::EventsFixture::open_with(fixture, vec![endpoint.clone()]).await;
    let workspace = endpoint.workspace;
    let begin = end(&*store).await;
    let owed = run("enrich");
    let id = owed.id;
    let new = owing(event(&endpoint, "{}"), [owed]);
    let mut expected = vec![accepted(&new)];
    let of = store_one(&*store, new).await;
    let step = |run, state, attempt| {
        Change::Run(RunChange { run, event: of, endpoint: Some(endpoint.id), state, attempt })
    };

    let lease = claim_one(&*store, LONG).await.lease;
    expected.push(step(id, RunState::Running, 1));
    let retry = Outcome::Retry { error: "later".to_owned(), after: LONG };
    assert_eq!(finish(&*store, &lease, retry).await, Tenure::Held);
    expected.push(step(id, RunState::Retrying, 1));
    alter(&*store, workspace, id, RunState::Queued).await;
    expected.push(step(id, RunState::Queued, 1));
    let lease = claim_one(&*store, LONG).await.lease;
    expected.push(step(id, RunState::Running, 2));
    let given_up = Outcome::Fail { error: "no".to_owned() };
    assert_eq!(finish(&*store, &lease, given_up).await, Tenure::Held);
    expected.push(step(id, RunState::Failed, 2));
    // Nothing comes of a lease that is lost, and nothing is told of it.
    assert_eq!(finish(&*store, &lease, succeed("too late")).await, Tenure::Lost);

    let added = run("score");
    let id = added.id;
    let enqueued = store.enqueue(&workspace, &of, vec![added]).await;
    assert!(enqueued.expect("enqueue gives no error"), "the event is there");
    expected.push(step(id, RunState::Queued, 0));
    alter(&*store, workspace, id, RunState::Cancelled).await;
    expected.push(step(id, RunState::Cancelled, 0));
    alter(&*store, workspace, id, RunState::Queued).await;
    expected.push(step(id, RunState::Queued, 0));
    let lease = claim_one(&*store, LONG).await.lease;
    expected.push(step(id, RunState::Running, 1));
    assert_eq!(finish(&*store, &lease, succeed("done")).await, Tenure::Held);
    expected.push(step(id, RunState::Succeeded, 1));

    for limit in [1, 200] {
        let (told, _) = since(&*store, workspace, &begin, limit).await;
        assert_eq!(told, expected, "left: what is told of a run in pages of about {limit}");
    }
}

async fn alter<S>(store: &S, workspace: WorkspaceId, run: RunId, to: RunState)
where
    S: RunQueue + ?Sized,
{
    let altered = match to {
        RunState::Queued => store.requeue(&workspace, &run).await,
        _ => store.cancel(&workspace, &run).await,
    };
    assert_eq!(altered.expect("it gives no error"), Altered::Done, "left: a run made {to:?}");
}

/// Of what was stored and carried out in several workspaces, each is told its own, whether an
/// endpoint took it or the app published it.
pub async fn the_feed_keeps_workspaces_apart<F: Fixture>(fixture: &F) {
    let (first, second, app) = (endpoint(), endpoint(), workspace());
    let store = super::EventsFixture::open_with(fixture, vec![first.clone(), second.clone()]).await;
    let begin = end(&*store).await;
    let mut expected = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..12 {
        let three = [event(&first, "{}"), event(&second, "{}"), published(app, "{}")];
        for (new, expected) in three.into_iter().zip(&mut expected) {
            expected.push(store_one(&*store, owing(new, [run("enrich")])).await);
        }
    }
    for leased in claim_all(&*store, LONG).await {
        assert_eq!(finish(&*store, &leased.lease, succeed("")).await, Tenure::Held);
    }
    let workspaces = [first.workspace, second.workspace, app];
    for (workspace, expected) in workspaces.into_iter().zip(&expected) {
        let (told, _) = since(&*store, workspace, &begin, 7).await;
        assert_eq!(ids_of(&told), *expected, "left: the events that a workspace is told of");
        let of_runs = told.iter().filter_map(|change| match change {
            Change::Run(of_run) => Some(of_run.event),
            Change::Accepted(_) => None,
        });
        let of_runs: Vec<_> = of_runs.collect();
        assert_eq!(of_runs.len(), 2 * expected.len(), "left: how many steps of runs are told");
        let strange = of_runs.iter().find(|event| !expected.contains(event));
        assert_eq!(strange, None, "left: the event of a run that is another workspace's");
    }
    let (told, _) = since(&*store, workspace(), &begin, 50).await;
    assert_eq!(told, [], "left: what a workspace is told in which nothing happened");
}

/// What an endpoint took is not told any more when it is deleted, nor what became of its runs; the
/// others go on as before.
pub async fn the_feed_tells_nothing_of_deleted_endpoints<F: Fixture>(fixture: &F) {
    let deleted = endpoint();
    let kept = endpoint_of(deleted.workspace);
    let store = super::EventsFixture::open_with(fixture, vec![deleted.clone(), kept.clone()]).await;
    let begin = end(&*store).await;
    store_one(&*store, owing(event(&deleted, "{}"), [run("enrich")])).await;
    let leased = claim_one(&*store, LONG).await;
    assert_eq!(finish(&*store, &leased.lease, succeed("")).await, Tenure::Held);
    let stays = store_one(&*store, event(&kept, "{}")).await;
    delete(&*store, &deleted, true).await;
    let later = store_one(&*store, event(&kept, "{}")).await;
    let (mut told, mut at) = (Vec::new(), begin);
    loop {
        // What is gone may be said to be a gap, which it is.
        let page = store.changes(&FeedQuery::after(kept.workspace, at.clone())).await;
        let page = page.expect("changes gives no error");
        told.extend(page.items);
        at = page.next;
        if !page.has_more {
            break;
        }
    }
    assert_eq!(ids_of(&told), [stays, later], "left: the events that are told");
    assert_eq!(told.len(), 2, "left: how many changes are told");
}

/// Who waits at the end is woken by an event, and by what becomes of a run. Who waits at a place
/// that is not the end does not wait.
pub async fn waiting_for_the_feed_ends_when_something_is_stored<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = super::EventsFixture::open_with(fixture, vec![endpoint.clone()]).await;
    let begin = end(&*store).await;
    let wait = |after: Position| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.changed(&after, LONG).await })
    };
    let ended = async |waiting: tokio::task::JoinHandle<Result<(), _>>, why: &str| {
        let ended = timeout(Duration::from_secs(60), waiting).await;
        let ended = ended.unwrap_or_else(|_| panic!("waiting goes on, although {why}"));
        ended.expect("waiting does not panic").expect("waiting gives no error");
    };
    let waiting = wait(begin.clone());
    store_one(&*store, owing(event(&endpoint, "{}"), [run("enrich")])).await;
    ended(waiting, "an event was stored").await;
    let at = end(&*store).await;
    let waiting = wait(at);
    let lease = claim_one(&*store, LONG).await.lease;
    ended(waiting, "a run was claimed").await;
    let at = end(&*store).await;
    let waiting = wait(at);
    assert_eq!(finish(&*store, &lease, succeed("")).await, Tenure::Held);
    ended(waiting, "an attempt has ended").await;
    ended(wait(begin), "there is something").await;
    let at = end(&*store).await;
    let waited = store.changed(&at, Duration::from_millis(1)).await;
    waited.expect("waiting in vain gives no error");
}

/// A place from before a restart is one after it: what was told is not told again, and what was not
/// is, in the same order.
pub async fn the_feed_goes_on_after_a_restart<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let workspace = endpoint.workspace;
    let store = super::EventsFixture::open_with(fixture, vec![endpoint.clone()]).await;
    let begin = end(&*store).await;
    let mut expected = Vec::new();
    for _ in 0..5 {
        let new = owing(event(&endpoint, "{}"), [run("enrich")]);
        expected.push(store_one(&*store, new).await);
    }
    let leased = claim_all(&*store, LONG).await;
    let (before, _) = since(&*store, workspace, &begin, 50).await;
    let Changes { items: told, next: at, .. } = page(&*store, workspace, &begin, 3).await;
    let store = Fixture::reopen(fixture, store).await;
    let (rest, _) = since(&*store, workspace, &at, 50).await;
    assert_eq!(rest, before[told.len()..], "left: what is told after a restart");
    for leased in leased {
        assert_eq!(finish(&*store, &leased.lease, succeed("")).await, Tenure::Held);
    }
    expected.push(store_one(&*store, event(&endpoint, "{}")).await);
    let (all, _) = since(&*store, workspace, &begin, 50).await;
    assert_eq!(ids_of(&all), expected, "left: the events that are told from the begin");
    assert_eq!(all.len(), 6 + 2 * 5, "left: how many changes are told from the begin");
}

/// What is no position of the store is refused as a mistake, not answered from anywhere.
pub async fn the_feed_refuses_what_is_no_position<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    for bytes in [&b""[..], b"\xff", b"not a position of any store there is"] {
        let position = Position::from_bytes(bytes);
        let refused = store.changes(&FeedQuery::after(workspace(), position.clone())).await;
        let refused = refused.expect_err("nonsense was taken for a position");
        assert_eq!(refused.kind(), StoreErrorKind::Misuse, "left: how {bytes:?} was refused");
        let refused = store.changed(&position, LONG).await;
        let refused = refused.expect_err("nonsense was waited after");
        assert_eq!(refused.kind(), StoreErrorKind::Misuse, "left: how {bytes:?} was refused");
    }
}
