//! What events owe, in memory: on record, and in line.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::ops::Bound;
use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;

use super::{MemoryStore, State};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::id::{EndpointId, EventId, RunId, WorkspaceId};
use crate::run::{
    Attempt, AttemptEnd, Lane, Lease, LeasedRun, NewRun, Outcome, Run, RunState, WorkerName,
};
use crate::store::{
    Altered, Claim, Lanes, Page, RunQuery, RunQueue, RunStore, StoreError, StoreErrorKind, Tenure,
};

/// The runs of a memory store.
#[derive(Debug, Default)]
pub(super) struct Runs {
    kept: BTreeMap<RunId, Kept>,
    of_events: BTreeSet<(EventId, RunId)>,
    /// Those that are not finished, lane by lane, by when they may be claimed: at the end of a
    /// delay, or of the lease that they are under. No lane is empty.
    lines: BTreeMap<Lane, BTreeSet<(Timestamp, RunId)>>,
    /// The lane that a claim ended with: the next one begins after it.
    last_served: Option<Lane>,
    /// What attempts have said, in bytes.
    pub(super) outcome_bytes: u64,
}

#[derive(Debug)]
struct Kept {
    run: Run,
    lane: Lane,
    /// Its place in the line; `None` when it is finished.
    due_at: Option<Timestamp>,
    /// Of a run that was cancelled under a lease, when that lease is over.
    held_until: Option<Timestamp>,
}

impl Runs {
    /// Whether none of the ids is there, and each of them but once.
    pub(super) fn are_new(&self, runs: &[NewRun]) -> bool {
        let mut ids = BTreeSet::new();
        runs.iter().all(|run| !self.kept.contains_key(&run.id) && ids.insert(run.id))
    }

    pub(super) fn add(&mut self, event: EventId, origin: Lane, run: NewRun, now: Timestamp) {
        let lane = run.trigger.lane(origin);
        let due_at = now.after(run.delay);
        let queued = Run::queued(run.id, event, run.trigger, now);
        self.of_events.insert((event, run.id));
        self.lines.entry(lane).or_default().insert((due_at, run.id));
        self.kept
            .insert(run.id, Kept { run: queued, lane, due_at: Some(due_at), held_until: None });
    }

    /// Forgets what the event owes.
    pub(super) fn forget(&mut self, event: EventId) {
        let ids: Vec<_> = self.ids_of(event).collect();
        for id in ids {
            self.of_events.remove(&(event, id));
            let Some(mut kept) = self.kept.remove(&id) else { continue };
            move_to(&mut self.lines, &mut kept, None);
            self.outcome_bytes -= kept.run.outcome_bytes();
        }
    }

    /// Whether nothing that the event owes is to be carried out any more.
    pub(super) fn are_over(&self, event: EventId) -> bool {
        self.of_event(event).all(|run| !run.state.is_in_line())
    }

    fn of_event(&self, event: EventId) -> impl Iterator<Item = &Run> {
        self.ids_of(event).filter_map(|id| self.kept.get(&id)).map(|kept| &kept.run)
    }

    fn ids_of(&self, event: EventId) -> impl Iterator<Item = RunId> {
        let least = RunId::from_bytes([0; 16]);
        let greatest = RunId::from_bytes([0xff; 16]);
        self.of_events.range((event, least)..=(event, greatest)).map(|(_, id)| *id)
    }

    /// When the first may be claimed that stands in a lane with room.
    fn next_due(&self, lanes: &Lanes) -> Option<Timestamp> {
        let with_room = self.lines.iter().filter(|(lane, _)| lanes.room(lane) > 0);
        with_room.filter_map(|(_, line)| line.first()).map(|(due_at, _)| *due_at).min()
    }

    /// The lanes, each once, beginning after the one that was served last.
    fn lanes_in_turn(&self) -> Vec<Lane> {
        let begin = self.last_served.map_or(Bound::Unbounded, Bound::Excluded);
        let end = self.last_served.map_or(Bound::Excluded(LEAST_LANE), Bound::Included);
        let (rest, start) = ((begin, Bound::Unbounded), (Bound::Unbounded, end));
        self.lines.range(rest).chain(self.lines.range(start)).map(|(lane, _)| *lane).collect()
    }

    /// Takes what is due, as far as there is room for it, and says in which state it was.
    fn claim(&mut self, claim: &Claim<'_>, now: Timestamp) -> Vec<(Lease, RunState)> {
        let until = now.after(claim.lease);
        let mut leases = Vec::new();
        for lane in self.lanes_in_turn() {
            let room = usize::from(claim.lanes.room(&lane));
            let wanted = room.min(usize::from(claim.max.get()) - leases.len());
            let due = self.lines[&lane].iter().take_while(|(due_at, _)| *due_at <= now);
            let due: Vec<_> = due.take(wanted).map(|(_, id)| *id).collect();
            if !due.is_empty() {
                self.last_served = Some(lane);
            }
            leases.extend(due.into_iter().map(|id| self.lease(id, claim.worker, now, until)));
        }
        leases
    }

    /// Takes one run to the end of its new lease.
    fn lease(
        &mut self,
        id: RunId,
        worker: &WorkerName,
        now: Timestamp,
        until: Timestamp,
    ) -> (Lease, RunState) {
        let kept = self.kept.get_mut(&id).expect("who stands in line is kept");
        move_to(&mut self.lines, kept, Some(until));
        kept.held_until = None;
        let earlier = u32::try_from(kept.run.attempts.len()).unwrap_or(u32::MAX);
        let number = NonZeroU32::MIN.saturating_add(earlier);
        let worker = worker.clone();
        kept.run.attempts.push(Attempt { number, started_at: now, worker, end: None });
        let before = std::mem::replace(&mut kept.run.state, RunState::Running);
        (Lease { run: id, attempt: number, place: 0 }, before)
    }

    fn extend(&mut self, lease: &Lease, until: Timestamp) -> Tenure {
        match self.kept.get_mut(&lease.run) {
            Some(kept) if kept.is_under(lease) => {
                move_to(&mut self.lines, kept, Some(until));
                Tenure::Held
            }
            _ => Tenure::Lost,
        }
    }

    fn requeue(&mut self, id: RunId, now: Timestamp) -> Altered {
        let Some(kept) = self.kept.get_mut(&id) else {
            return Altered::Missing;
        };
        if !kept.run.state.may_be_requeued() {
            return Altered::Refused(kept.run.state);
        }
        kept.run.state = RunState::Queued;
        let due_at = kept.held_until.map_or(now, |held_until| held_until.max(now));
        move_to(&mut self.lines, kept, Some(due_at));
        Altered::Done
    }

    fn cancel(&mut self, id: RunId) -> Altered {
        let Some(kept) = self.kept.get_mut(&id) else {
            return Altered::Missing;
        };
        if !kept.run.state.is_in_line() {
            return Altered::Refused(kept.run.state);
        }
        if kept.run.state == RunState::Running {
            kept.held_until = kept.due_at;
        }
        kept.run.state = RunState::Cancelled;
        move_to(&mut self.lines, kept, None);
        Altered::Done
    }

    fn finish(&mut self, lease: &Lease, outcome: Outcome, now: Timestamp) -> Tenure {
        let Some(kept) = self.kept.get_mut(&lease.run).filter(|kept| kept.is_under(lease)) else {
            return Tenure::Lost;
        };
        let due_at = match &outcome {
            Outcome::Retry { after, .. } => Some(now.after(*after)),
            Outcome::Succeed { .. } | Outcome::Fail { .. } => None,
        };
        move_to(&mut self.lines, kept, due_at);
        kept.run.state = outcome.state();
        self.outcome_bytes += outcome.bytes();
        if let Some(attempt) = kept.run.attempts.last_mut() {
            attempt.end = Some(AttemptEnd { at: now, outcome });
        }
        Tenure::Held
    }
}

impl Kept {
    fn is_under(&self, lease: &Lease) -> bool {
        let last = self.run.attempts.last();
        self.run.state == RunState::Running
            && last.is_some_and(|attempt| attempt.number == lease.attempt)
    }
}

/// The lane before which there is none.
const LEAST_LANE: Lane = Lane::Endpoint(EndpointId::from_bytes([0; 16]));

/// Moves a run within its line, or out of it.
fn move_to(
    lines: &mut BTreeMap<Lane, BTreeSet<(Timestamp, RunId)>>,
    kept: &mut Kept,
    due_at: Option<Timestamp>,
) {
    let (id, before) = (kept.run.id, std::mem::replace(&mut kept.due_at, due_at));
    let line = lines.entry(kept.lane).or_default();
    if let Some(before) = before {
        line.remove(&(before, id));
    }
    line.extend(due_at.map(|due_at| (due_at, id)));
    if line.is_empty() {
        lines.remove(&kept.lane);
    }
}

#[async_trait]
impl RunStore for MemoryStore {
    async fn runs(&self, workspace: &WorkspaceId, event: &EventId) -> Result<Vec<Run>, StoreError> {
        let state = self.state();
        if !state.has(workspace, event) {
            return Ok(Vec::new());
        }
        Ok(state.runs.of_event(*event).cloned().collect())
    }

    async fn run(&self, workspace: &WorkspaceId, id: &RunId) -> Result<Option<Run>, StoreError> {
        let state = self.state();
        let found = state.runs.kept.get(id).map(|kept| &kept.run);
        Ok(found.filter(|run| state.has(workspace, &run.event)).cloned())
    }

    async fn list_runs(&self, query: &RunQuery) -> Result<Page<Run, RunQuery>, StoreError> {
        let end = query.below.map_or(Bound::Unbounded, Bound::Excluded);
        let state = self.state();
        let (mut items, mut scanned, mut bytes) = (Vec::new(), 0, 0);
        let mut rest = query.clone();
        for (id, Kept { run, .. }) in state.runs.kept.range((Bound::Unbounded, end)).rev() {
            let is_full = items.len() == query.limit.get() || bytes > Self::PAGE_BYTES_MAX;
            if is_full || scanned == Self::SCAN_SLICE {
                return Ok(Page { items, next: Some(rest) });
            }
            scanned += 1;
            rest.below = Some(*id);
            let matches = query.state.is_none_or(|wanted| wanted == run.state)
                && query.destination.is_none_or(|to| run.trigger.destination() == Some(to));
            if matches && state.has(&query.workspace, &run.event) {
                bytes += run.outcome_bytes();
                items.push(run.clone());
            }
        }
        Ok(Page { items, next: None })
    }
}

#[async_trait]
impl RunQueue for MemoryStore {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Vec<LeasedRun>, StoreError> {
        let now = self.clock.now();
        let mut state = self.state();
        let leases = state.runs.claim(claim, now);
        let leased = |(lease, before): (Lease, RunState)| {
            let run = &state.runs.kept[&lease.run].run;
            let event = state.event(&run.event).expect("a run goes with its event").clone();
            let is_after_loss = before == RunState::Running;
            LeasedRun { lease, is_after_loss, trigger: run.trigger.clone(), event }
        };
        let claimed: Vec<_> = leases.into_iter().map(leased).collect();
        for LeasedRun { lease, event, .. } in &claimed {
            state.feed.run(lease.run, event.id, RunState::Running, lease.attempt.get());
        }
        self.changed_in(state);
        Ok(claimed)
    }

    async fn extend(&self, lease: &Lease, by: Duration) -> Result<Tenure, StoreError> {
        let until = self.clock.now().after(by);
        let tenure = self.state().runs.extend(lease, until);
        // It may end earlier than who waits believes.
        self.owed.notify_waiters();
        Ok(tenure)
    }

    async fn finish(&self, lease: &Lease, outcome: Outcome) -> Result<Tenure, StoreError> {
        let is_owed_again = matches!(outcome, Outcome::Retry { .. });
        let now = self.clock.now();
        let mut state = self.state();
        let tenure = state.runs.finish(lease, outcome, now);
        if tenure == Tenure::Held {
            state.tell_of(lease.run);
        }
        self.changed_in(state);
        if is_owed_again {
            self.owed.notify_waiters();
        }
        Ok(tenure)
    }

    async fn wait(&self, at_most: Duration, lanes: &Lanes) -> Result<(), StoreError> {
        let until_due = async {
            loop {
                let mut owed = pin!(self.owed.notified());
                // From here on nothing is missed.
                owed.as_mut().enable();
                let next_due = self.state().runs.next_due(lanes);
                let now = self.clock.now();
                match next_due {
                    Some(due_at) if due_at <= now => break,
                    Some(due_at) => {
                        // Whichever comes first: the line is looked at again.
                        let _ = timeout(due_at.since(now), owed).await;
                    }
                    None => owed.await,
                }
            }
        };
        // Nothing was due in time, which is an answer too.
        let _ = timeout(at_most, until_due).await;
        Ok(())
    }

    async fn enqueue(
        &self,
        workspace: &WorkspaceId,
        event: &EventId,
        runs: Vec<NewRun>,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let mut state = self.state();
        let Some(origin) = state.find(workspace, event).map(Event::lane) else {
            return Ok(false);
        };
        if !state.runs.are_new(&runs) {
            return Err(known_already());
        }
        for run in runs {
            state.feed.run(run.id, *event, RunState::Queued, 0);
            state.runs.add(*event, origin, run, now);
        }
        self.changed_in(state);
        self.owed.notify_waiters();
        Ok(true)
    }

    async fn requeue(&self, workspace: &WorkspaceId, run: &RunId) -> Result<Altered, StoreError> {
        let now = self.clock.now();
        let mut state = self.state();
        let altered = state.alter(workspace, run, |runs| runs.requeue(*run, now));
        self.changed_in(state);
        self.owed.notify_waiters();
        Ok(altered)
    }

    async fn cancel(&self, workspace: &WorkspaceId, run: &RunId) -> Result<Altered, StoreError> {
        let mut state = self.state();
        let altered = state.alter(workspace, run, |runs| runs.cancel(*run));
        self.changed_in(state);
        Ok(altered)
    }
}

impl State {
    fn find(&self, workspace: &WorkspaceId, event: &EventId) -> Option<&Event> {
        self.event(event).filter(|event| event.workspace == *workspace)
    }

    fn has(&self, workspace: &WorkspaceId, event: &EventId) -> bool {
        self.find(workspace, event).is_some()
    }

    fn alter(
        &mut self,
        workspace: &WorkspaceId,
        run: &RunId,
        alter: impl FnOnce(&mut Runs) -> Altered,
    ) -> Altered {
        let event = self.runs.kept.get(run).map(|kept| kept.run.event);
        if event.is_none_or(|event| !self.has(workspace, &event)) {
            return Altered::Missing;
        }
        let altered = alter(&mut self.runs);
        if altered == Altered::Done {
            self.tell_of(*run);
        }
        altered
    }

    /// Notes where a run stands now.
    fn tell_of(&mut self, id: RunId) {
        if let Some(Kept { run, .. }) = self.runs.kept.get(&id) {
            let attempt = u32::try_from(run.attempts.len()).unwrap_or(u32::MAX);
            self.feed.run(id, run.event, run.state, attempt);
        }
    }
}

/// What is said to a run whose id is another's.
pub(super) fn known_already() -> StoreError {
    StoreError::new(StoreErrorKind::Misuse, "a run with that id is stored already")
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::endpoint::{Endpoint, EndpointConfig};
    use crate::event::{Fence, NewEvent};
    use crate::store::{Appended, Created, EndpointStore, EventStore};
    use crate::task::Trigger;

    const LONG: Duration = Duration::from_secs(3_600);

    fn owing(delay: Duration) -> NewEvent {
        let now = SystemClock.now();
        let run = NewRun {
            id: RunId::mint(now),
            trigger: Trigger::ploybook("enrich".parse().unwrap()),
            delay,
        };
        let event =
            NewEvent::published(EventId::mint(now), WorkspaceId::DEFAULT, vec![b'x'; 100].into());
        NewEvent { owes: vec![run], ..event }
    }

    async fn claim(store: &MemoryStore) -> Option<Lease> {
        let (worker, lanes) = ("test".parse().unwrap(), Lanes::new(NonZeroU16::MAX));
        let claim = Claim { worker: &worker, max: NonZeroU16::MIN, lease: LONG, lanes: &lanes };
        store.claim(&claim).await.unwrap().pop().map(|leased| leased.lease)
    }

    #[tokio::test]
    async fn outputs_are_taken_past_the_bound_and_keep_events_out_until_they_are_deleted() {
        let store = MemoryStore::with_parts(1_000, std::sync::Arc::new(SystemClock));
        let config = EndpointConfig::default();
        let (endpoint, _) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
        let fence = Some(Fence { endpoint: endpoint.id, checked_at: endpoint.revision });
        assert_eq!(store.create(endpoint.clone()).await.unwrap(), Created::Created);
        let appended = store.append(NewEvent { fence, ..owing(Duration::ZERO) }).await.unwrap();
        assert!(matches!(appended, Appended::Stored));

        let lease = claim(&store).await.unwrap();
        let output = vec![b'y'; 2_000].into();
        let tenure = store.finish(&lease, Outcome::Succeed { output }).await.unwrap();
        assert_eq!(tenure, Tenure::Held);
        let refused = store.append(owing(Duration::ZERO)).await.unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Refused);
        assert!(store.delete(&endpoint.workspace, &endpoint.id).await.unwrap());
        let appended = store.append(owing(Duration::ZERO)).await.unwrap();
        assert!(matches!(appended, Appended::Stored));
    }

    #[tokio::test]
    async fn a_run_that_is_there_already_is_refused_with_its_event() {
        let store = MemoryStore::new();
        let event = owing(Duration::ZERO);
        let runs = event.owes.clone();
        let again = NewEvent { owes: runs.clone(), ..owing(Duration::ZERO) };
        let (workspace, id, id_again) = (event.workspace, event.id, again.id);
        assert!(matches!(store.append(event).await.unwrap(), Appended::Stored));
        let refused = store.append(again).await.unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Misuse);
        assert!(store.event(&workspace, &id_again).await.unwrap().is_none());
        let refused = store.enqueue(&workspace, &id, runs).await.unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Misuse);
        assert_eq!(store.runs(&workspace, &id).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn waiting_ends_when_a_delay_is_over() {
        let store = MemoryStore::new();
        let appended = store.append(owing(Duration::from_millis(200))).await.unwrap();
        assert!(matches!(appended, Appended::Stored));
        let claimed = async {
            loop {
                store.wait(LONG, &Lanes::new(NonZeroU16::MAX)).await.unwrap();
                if let Some(lease) = claim(&store).await {
                    return lease;
                }
            }
        };
        timeout(Duration::from_secs(60), claimed).await.expect("a delay is over");
    }
}
