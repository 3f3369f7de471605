//! Promises about the line of runs: who gets which, for how long, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::append::{odd_payloads, varied_events};
use super::scene::{
    LONG, assert_is_lost, claim, claim_all, claim_one, endpoint, event, extend, finish, names_of,
    owing, published, roomy, run, runs_of, store_one, succeed, workspace,
};
use super::{EventsFixture, Fixture};
use crate::clock::{Clock, SystemClock};
use crate::event::Event;
use crate::id::{RunId, SubscriptionId};
use crate::ploybook::PloybookName;
use crate::run::{Lease, NewRun, Outcome, RunState};
use crate::store::{RunQueue, Tenure};
use crate::task::{Action, Route, Rule, Task, Trigger};

/// A delay or a lease that the suite lets pass.
pub(super) const SHORT: Duration = Duration::from_secs(1);
/// Enough for it to have passed by any clock.
pub(super) const PAST_SHORT: Duration = Duration::from_millis(1_300);

/// A run is claimed with all that its attempt needs: its trigger, of whatever form, and its
/// event as it was appended, payload and all, whether an endpoint took it or the app published
/// it. Its first attempt is number 1.
pub async fn claimed_runs_come_whole<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let odd = odd_payloads().into_iter().map(|payload| event(&endpoint, payload));
    let mut expected: BTreeMap<RunId, (NewRun, Event)> = BTreeMap::new();
    for (number, event) in (1..).zip(varied_events(&endpoint).into_iter().chain(odd)) {
        let owes: Vec<_> = (0..=number % 2).map(|of_event| varied_run(number, of_event)).collect();
        let kept = Event::from(event.clone());
        expected.extend(owes.iter().map(|run| (run.id, (run.clone(), kept.clone()))));
        store_one(&*store, owing(event, owes)).await;
    }
    loop {
        let claimed = claim(&*store, 3, LONG).await;
        if claimed.is_empty() {
            break;
        }
        for leased in claimed {
            let id = leased.lease.run;
            let Some((run, event)) = expected.remove(&id) else {
                panic!("{id} was claimed, and is not owed or was claimed before");
            };
            assert_eq!(leased.lease.attempt.get(), 1, "left: the number of a first attempt");
            assert!(!leased.is_after_loss, "a first attempt is said to come after a loss");
            assert_eq!(leased.trigger, run.trigger, "left: the trigger as it was claimed");
            assert!(
                leased.event == event,
                "the event of a claimed run is not the one that owes it: {:?} instead of {:?}",
                Event { payload: leased.event.payload.slice(..0), ..leased.event },
                Event { payload: event.payload.slice(..0), ..event },
            );
        }
    }
    let left: Vec<_> = expected.keys().collect();
    assert!(left.is_empty(), "these runs are due, and no claim gives them: {left:?}");
}

fn varied_run(number: u16, of_event: u16) -> NewRun {
    let ploybook: PloybookName =
        format!("Ploybook {number} → '{of_event}'").parse().expect("the name of a Ploybook");
    let subscription = SubscriptionId::mint(SystemClock.now());
    let rule = |condition| Rule {
        subscription,
        condition,
        action: Action::Ploybook(ploybook.clone()),
        draft: of_event == 0,
    };
    let trigger = match number % 3 {
        0 => Trigger::ploybook(ploybook),
        1 => Trigger::Task(Task {
            action: Action::Ploybook(ploybook),
            subscription: Some(subscription),
            draft: of_event == 0,
        }),
        _ => Trigger::FirstOf(Route {
            group: (of_event == 0).then(|| "leads \\ 'quoted'\u{0}".to_owned()),
            rules: [rule(Some("payload.a == \"\\u0000\"".to_owned())), rule(None)].into(),
        }),
    };
    NewRun { trigger, ..run("replaced") }
}

/// While sixteen tasks claim at the same time, each of 300 runs goes to one of them, and none is
/// left out.
pub async fn of_simultaneous_claims_each_run_goes_to_one<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let mut owed = BTreeSet::new();
    let mut appends = JoinSet::new();
    for number in 0..150 {
        let runs = [run("enrich"), run("score")];
        owed.extend(runs.iter().map(|run| run.id));
        let event = match number % 3 {
            0 => published(endpoint.workspace, "{}"),
            _ => event(&endpoint, "{}"),
        };
        let (store, event) = (Arc::clone(&store), owing(event, runs));
        appends.spawn(async move { store_one(&*store, event).await });
    }
    appends.join_all().await;

    let start = Arc::new(Barrier::new(16));
    let mut workers = JoinSet::new();
    for _ in 0..16 {
        let (store, start) = (Arc::clone(&store), Arc::clone(&start));
        workers.spawn(async move {
            start.wait().await;
            let mut mine = Vec::new();
            loop {
                let claimed = claim(&*store, 5, LONG).await;
                if claimed.is_empty() || mine.len() > 300 {
                    return mine;
                }
                mine.extend(claimed.iter().map(|leased| leased.lease.run));
            }
        });
    }
    let claimed: Vec<RunId> = workers.join_all().await.concat();
    let once: BTreeSet<_> = claimed.iter().copied().collect();
    assert_eq!(claimed.len(), once.len(), "a run was claimed twice: left of all, right of once");
    let (once, all) = (once.len(), owed.len());
    assert_eq!(once, all, "left: how many runs were claimed; right: how many are owed");
}

/// A run is not claimed before its delay is over, that of its first attempt or of a retry, and
/// is claimed then.
pub async fn runs_wait_for_their_delay<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let delayed = |delay| NewRun { delay, ..run("enrich") };
    let runs = [Duration::ZERO, Duration::ZERO, SHORT, LONG].map(delayed);
    let [again_soon, again_later, soon, later] = [0, 1, 2, 3].map(|place: usize| runs[place].id);
    store_one(&*store, owing(published(workspace(), "{}"), runs)).await;

    // Whatever has a short delay may be due by now: the store may be slow.
    let mut claimed = claim_all(&*store, LONG).await;
    for (id, after) in [(again_soon, SHORT), (again_later, LONG)] {
        let leased = claimed.iter().find(|leased| leased.lease.run == id);
        let leased = leased.expect("a run without a delay is due at once");
        let retry = Outcome::Retry { error: "not now".to_owned(), after };
        assert_eq!(finish(&*store, &leased.lease, retry).await, Tenure::Held);
    }
    fixture.elapse(PAST_SHORT).await;
    claimed.extend(claim_all(&*store, LONG).await);

    let claimed = names_of(&claimed);
    let mut expected = vec![(again_soon, 1), (again_soon, 2), (again_later, 1), (soon, 1)];
    expected.sort();
    assert_eq!(
        claimed, expected,
        "left: what was claimed after {PAST_SHORT:?}; right: what was due ({later} is not)"
    );
}

/// When a lease ends without a word, its run is claimed again, as the next attempt. The old
/// lease is lost: what is said by it is not recorded, and takes nothing from the new one.
pub async fn a_lease_that_ends_is_claimed_again<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let workspace = workspace();
    let owed = run("enrich");
    let id = owed.id;
    let event = store_one(&*store, owing(published(workspace, "{}"), [owed])).await;
    let first = claim_for_short(&*store).await;
    assert_eq!((first.run, first.attempt.get()), (id, 1), "left: what was claimed at first");
    fixture.elapse(PAST_SHORT).await;
    let second = claim_one(&*store, LONG).await;
    assert!(second.is_after_loss, "it is not said that the lease before ended without a word");
    let second = second.lease;
    assert_eq!((second.run, second.attempt.get()), (id, 2), "left: what was claimed then");

    assert_is_lost(&*store, &first, "the run was claimed again").await;
    assert!(claim_all(&*store, LONG).await.is_empty(), "a lost lease freed the run");
    let runs = runs_of(&*store, &workspace, &event).await;
    let shown: Vec<_> = runs[0].attempts.iter().map(|attempt| attempt.number.get()).collect();
    assert_eq!((runs[0].state, &shown[..]), (RunState::Running, &[1, 2][..]), "left: on record");
    let ends: Vec<_> = runs[0].attempts.iter().map(|attempt| &attempt.end).collect();
    assert_eq!(ends, [&None, &None], "left: the ends on record; nothing was said by a lease");

    assert_eq!(finish(&*store, &second, succeed("done")).await, Tenure::Held);
    assert_is_lost(&*store, &first, "the run was finished under another").await;
    let runs = runs_of(&*store, &workspace, &event).await;
    assert_eq!(runs[0].state, RunState::Succeeded, "left: the state on record");
    let [silent, done] = &runs[0].attempts[..] else {
        panic!("two attempts were made, and on record are {:?}", runs[0].attempts);
    };
    assert_eq!(silent.end, None, "left: the end of an attempt whose lease ended without a word");
    let outcome = done.end.as_ref().map(|end| &end.outcome);
    assert_eq!(outcome, Some(&succeed("done")), "left: the end of the other attempt");
}

/// A lease that is extended ends so long after that, and not when it would have ended: neither
/// before, where that is later, nor after, where that is sooner.
pub async fn extended_leases_hold<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let (longer, shorter) = (run("enrich"), run("score"));
    let (longer_id, shorter_id) = (longer.id, shorter.id);
    store_one(&*store, owing(published(workspace(), "{}"), [longer])).await;
    let longer = claim_for_short(&*store).await;
    assert_eq!(longer.run, longer_id, "left: the run that was claimed");
    let tenure = extend(&*store, &longer, LONG).await;
    assert_eq!(tenure, Tenure::Held, "left: a lease of {SHORT:?}, extended at once");
    store_one(&*store, owing(published(workspace(), "{}"), [shorter])).await;
    let shorter = claim_one(&*store, LONG).await.lease;
    assert_eq!(extend(&*store, &shorter, SHORT).await, Tenure::Held);

    fixture.elapse(PAST_SHORT).await;
    let claimed = names_of(&claim_all(&*store, LONG).await);
    assert_eq!(claimed, [(shorter_id, 2)], "left: what was claimed when {SHORT:?} had passed");
    let tenure = finish(&*store, &longer, succeed("")).await;
    assert_eq!(tenure, Tenure::Held, "left: an extended lease, finished");
    assert_is_lost(&*store, &longer, "the run is finished").await;
    assert_is_lost(&*store, &shorter, "the run was claimed again").await;
}

/// Whoever waits goes on soon when a run is owed: by a new event, by one that is stored already,
/// or by an attempt that is to be tried again. Where there is none, the wait ends when its time
/// is over.
pub async fn waiting_ends_when_a_run_is_owed<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    let workspace = workspace();
    wait(&*store, Duration::from_millis(50)).await;
    let event = store_one(&*store, published(workspace, "{}")).await;
    for round in 0..8 {
        // Now and then what is waited for comes just when the wait begins.
        let head_start = Duration::from_millis(40 * (round % 2));
        let by_append = owing(published(workspace, "{}"), [run("enrich")]);
        let ((), _) = tokio::join!(wait(&*store, A_WHILE), async {
            sleep(head_start).await;
            store_one(&*store, by_append).await
        });
        let leased = claim_next(&*store).await;
        let again = Outcome::Retry { error: "again".to_owned(), after: Duration::ZERO };
        let ((), tenure) = tokio::join!(wait(&*store, A_WHILE), async {
            sleep(head_start).await;
            finish(&*store, &leased, again).await
        });
        assert_eq!(tenure, Tenure::Held);
        claim_next(&*store).await;
        let ((), added) = tokio::join!(wait(&*store, A_WHILE), async {
            sleep(head_start).await;
            store.enqueue(&workspace, &event, vec![run("score")]).await
        });
        assert!(added.expect("enqueue gives no error"), "the event is there");
        // One that is due already is not waited for.
        wait(&*store, A_WHILE).await;
        claim_next(&*store).await;
    }
}

/// Longer than a test may take.
const A_WHILE: Duration = Duration::from_secs(30);

/// Waits, and sees to it that the wait ends soon.
async fn wait<S: RunQueue + ?Sized>(store: &S, at_most: Duration) {
    const SOON: Duration = Duration::from_secs(10);
    match timeout(SOON, store.wait(at_most, &roomy())).await {
        Ok(waited) => waited.expect("wait gives no error"),
        Err(_) => panic!("a wait of at most {at_most:?} had not ended after {SOON:?}"),
    }
}

async fn claim_next<S: RunQueue + ?Sized>(store: &S) -> Lease {
    claim_one(store, LONG).await.lease
}

/// Claims the run that is due, and does not look for another: the store may be so slow that the
/// lease ends meanwhile.
pub(super) async fn claim_for_short<S: RunQueue + ?Sized>(store: &S) -> Lease {
    let claimed = claim(store, 1, SHORT).await;
    claimed.first().expect("one run is due, and none was claimed").lease
}
