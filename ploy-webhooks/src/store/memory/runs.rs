//! What events owe, in memory: on record, and in line.

use std::collections::{BTreeSet, HashMap};
use std::num::{NonZeroU16, NonZeroU32};
use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;

use super::{MemoryStore, State};
use crate::clock::Timestamp;
use crate::id::{EventId, RunId, WorkspaceId};
use crate::run::{
    Attempt, AttemptEnd, Lease, LeasedRun, NewRun, Outcome, RetryPolicy, Run, RunState,
};
use crate::store::{RunQueue, RunStore, StoreError, StoreErrorKind, Tenure};

/// The runs of a memory store.
#[derive(Debug, Default)]
pub(super) struct Runs {
    kept: HashMap<RunId, Kept>,
    of_events: BTreeSet<(EventId, RunId)>,
    /// Those that are not finished, by when they may be claimed: at the end of a delay, or of
    /// the lease that they are under. So a claim looks at nothing but what it takes.
    line: BTreeSet<(Timestamp, RunId)>,
    /// What attempts have said, in bytes.
    pub(super) outcome_bytes: u64,
}

#[derive(Debug)]
struct Kept {
    run: Run,
    retry: RetryPolicy,
    /// Its place in the line; `None` when it is finished.
    due_at: Option<Timestamp>,
}

impl Runs {
    /// Whether none of the ids is there, and each of them but once.
    pub(super) fn are_new(&self, runs: &[NewRun]) -> bool {
        let mut ids = BTreeSet::new();
        runs.iter().all(|run| !self.kept.contains_key(&run.id) && ids.insert(run.id))
    }

    pub(super) fn add(&mut self, event: EventId, run: NewRun, now: Timestamp) {
        let due_at = now.after(run.delay);
        let queued = Run::queued(run.id, event, run.trigger, now);
        self.of_events.insert((event, run.id));
        self.line.insert((due_at, run.id));
        self.kept.insert(run.id, Kept { run: queued, retry: run.retry, due_at: Some(due_at) });
    }

    /// Forgets what the event owes.
    pub(super) fn forget(&mut self, event: EventId) {
        let ids: Vec<_> = self.ids_of(event).collect();
        for id in ids {
            self.of_events.remove(&(event, id));
            let Some(kept) = self.kept.remove(&id) else { continue };
            if let Some(due_at) = kept.due_at {
                self.line.remove(&(due_at, id));
            }
            let ends = kept.run.attempts.iter().filter_map(|attempt| attempt.end.as_ref());
            self.outcome_bytes -= ends.map(|end| bytes_of(&end.outcome)).sum::<u64>();
        }
    }

    fn of_event(&self, event: EventId) -> impl Iterator<Item = &Run> {
        self.ids_of(event).filter_map(|id| self.kept.get(&id)).map(|kept| &kept.run)
    }

    fn ids_of(&self, event: EventId) -> impl Iterator<Item = RunId> {
        let least = RunId::from_bytes([0; 16]);
        let greatest = RunId::from_bytes([0xff; 16]);
        self.of_events.range((event, least)..=(event, greatest)).map(|(_, id)| *id)
    }

    /// When the first in line may be claimed.
    fn next_due(&self) -> Option<Timestamp> {
        self.line.first().map(|(due_at, _)| *due_at)
    }

    /// Takes the first that is due to the end of its new lease.
    fn claim(&mut self, now: Timestamp, until: Timestamp) -> Option<(Lease, &Kept)> {
        if self.next_due()? > now {
            return None;
        }
        let (_, id) = self.line.pop_first()?;
        let kept = self.kept.get_mut(&id).expect("who stands in line is kept");
        let earlier = u32::try_from(kept.run.attempts.len()).unwrap_or(u32::MAX);
        let number = NonZeroU32::MIN.saturating_add(earlier);
        kept.run.attempts.push(Attempt { number, started_at: now, end: None });
        kept.run.state = RunState::Running;
        // Where it stands from now on. It gets there when the claim is over, so that one claim
        // does not come by it twice.
        kept.due_at = Some(until);
        Some((Lease { run: id, attempt: number, place: 0 }, kept))
    }

    fn extend(&mut self, lease: &Lease, until: Timestamp) -> Tenure {
        match self.kept.get_mut(&lease.run) {
            Some(kept) if kept.is_under(lease) => {
                move_to(&mut self.line, kept, Some(until));
                Tenure::Held
            }
            _ => Tenure::Lost,
        }
    }

    fn finish(&mut self, lease: &Lease, outcome: Outcome, now: Timestamp) -> Tenure {
        let Some(kept) = self.kept.get_mut(&lease.run).filter(|kept| kept.is_under(lease)) else {
            return Tenure::Lost;
        };
        let due_at = match &outcome {
            Outcome::Retry { after, .. } => Some(now.after(*after)),
            Outcome::Succeed { .. } | Outcome::Fail { .. } => None,
        };
        move_to(&mut self.line, kept, due_at);
        kept.run.state = outcome.state();
        self.outcome_bytes += bytes_of(&outcome);
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

fn move_to(line: &mut BTreeSet<(Timestamp, RunId)>, kept: &mut Kept, due_at: Option<Timestamp>) {
    let id = kept.run.id;
    if let Some(before) = std::mem::replace(&mut kept.due_at, due_at) {
        line.remove(&(before, id));
    }
    line.extend(due_at.map(|due_at| (due_at, id)));
}

const fn bytes_of(outcome: &Outcome) -> u64 {
    let bytes = match outcome {
        Outcome::Succeed { output } => output.len(),
        Outcome::Retry { error, .. } | Outcome::Fail { error } => error.len(),
    };
    bytes as u64
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
}

#[async_trait]
impl RunQueue for MemoryStore {
    async fn claim(&self, max: NonZeroU16, lease: Duration) -> Result<Vec<LeasedRun>, StoreError> {
        let now = self.clock.now();
        let until = now.after(lease);
        let mut state = self.state();
        let State { runs, events, .. } = &mut *state;
        let mut leased = Vec::new();
        while leased.len() < max.get().into() {
            let Some((lease, kept)) = runs.claim(now, until) else { break };
            let place = events.binary_search_by_key(&kept.run.event, |event| event.id);
            leased.push(LeasedRun {
                lease,
                trigger: kept.run.trigger.clone(),
                retry: kept.retry,
                event: events[place.expect("a run goes with its event")].clone(),
            });
        }
        runs.line.extend(leased.iter().map(|leased| (until, leased.lease.run)));
        Ok(leased)
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
        let tenure = self.state().runs.finish(lease, outcome, now);
        if is_owed_again {
            self.owed.notify_waiters();
        }
        Ok(tenure)
    }

    async fn wait(&self, at_most: Duration) -> Result<(), StoreError> {
        let until_due = async {
            loop {
                let mut owed = pin!(self.owed.notified());
                // From here on nothing is missed.
                owed.as_mut().enable();
                let next_due = self.state().runs.next_due();
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
        if !state.has(workspace, event) {
            return Ok(false);
        }
        if !state.runs.are_new(&runs) {
            return Err(known_already());
        }
        for run in runs {
            state.runs.add(*event, run, now);
        }
        drop(state);
        self.owed.notify_waiters();
        Ok(true)
    }
}

impl State {
    fn has(&self, workspace: &WorkspaceId, event: &EventId) -> bool {
        self.event(event).is_some_and(|event| event.workspace == *workspace)
    }
}

/// What is said to a run whose id is another's.
pub(super) fn known_already() -> StoreError {
    StoreError::new(StoreErrorKind::Misuse, "a run with that id is stored already")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::endpoint::{Endpoint, EndpointConfig};
    use crate::event::{Fence, NewEvent};
    use crate::run::Trigger;
    use crate::store::{Appended, Created, EndpointStore, EventStore};

    const LONG: Duration = Duration::from_secs(3_600);

    fn owing(delay: Duration) -> NewEvent {
        let now = SystemClock.now();
        let run = NewRun {
            id: RunId::mint(now),
            trigger: Trigger { ploybook: "enrich".to_owned() },
            retry: RetryPolicy::default(),
            delay,
        };
        let event =
            NewEvent::published(EventId::mint(now), WorkspaceId::DEFAULT, vec![b'x'; 100].into());
        NewEvent { owes: vec![run], ..event }
    }

    async fn claim(store: &MemoryStore) -> Option<Lease> {
        let mut claimed = store.claim(NonZeroU16::MIN, LONG).await.unwrap();
        claimed.pop().map(|leased| leased.lease)
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
                store.wait(LONG).await.unwrap();
                if let Some(lease) = claim(&store).await {
                    return lease;
                }
            }
        };
        timeout(Duration::from_secs(60), claimed).await.expect("a delay is over");
    }
}
