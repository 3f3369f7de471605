//! Deliveries in order: of events that share a key, none is sent before those that came before it
//! are delivered or given up.
//!
//! What comes before is told by the ids of runs, which are made as events are accepted: strictly in
//! order on one node, and as good as their clocks on several. On one node runs wait for each other;
//! for what another node has under way, or what waits for another attempt, a run is held back for a
//! while.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ploy_webhooks::store::{RunQuery, RunStore};
use ploy_webhooks::trigger::{Job, RunError};
use ploy_webhooks::{AttemptEnd, JsonPointer, Outcome, Run, RunId, RunState, Timestamp};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::known::Entry;
use super::{failed, held};

/// How long a run waits for another one of this node.
const TURN_MAX: Duration = Duration::from_secs(20);
/// So many runs are looked at that come before one. With more, it waits until there are fewer.
const BEFORE_MAX: usize = 200;
/// How long a run is held back for one that is under way: longer each time, up to so much. For one
/// that is to be tried again, it is until then, and a little longer.
const HOLD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));

/// What events share that are in order, as it is written in their payloads.
type Key = Box<str>;

/// The runs of one destination that are on this node, by their keys.
#[derive(Debug, Default)]
pub(super) struct Turns {
    present: Mutex<HashMap<Key, BTreeSet<RunId>>>,
    moved: Notify,
}

/// The turn of a run. When it is dropped, the next one has it.
#[derive(Debug)]
pub(super) struct Turn {
    entry: Arc<Entry>,
    key: Key,
    run: RunId,
}

/// Waits for the turn of that job. An event without the key is in no order.
pub(super) async fn turn<S: RunStore>(
    store: &S,
    entry: &Arc<Entry>,
    pointer: &JsonPointer,
    job: &Job,
    now: Timestamp,
) -> Result<Option<Turn>, RunError> {
    let Some(key) = key_of(pointer, &job.event.payload) else { return Ok(None) };
    let turn = Turn::wait_for(entry, key, job.run);
    if timeout(TURN_MAX, turn.comes()).await.is_err() {
        return Err(held("another event of the same key is being delivered", HOLD.0));
    }
    match first_before(store, pointer, &turn, job).await? {
        None => Ok(Some(turn)),
        Some(before) => {
            let reason = format!("{} comes before it, and is not delivered yet", before.id);
            Err(held(reason, hold(&before, job, now)))
        }
    }
}

/// How long what comes after that run is held back.
fn hold(before: &Run, job: &Job, now: Timestamp) -> Duration {
    let end = before.attempts.last().and_then(|attempt| attempt.end.as_ref());
    match end {
        Some(AttemptEnd { at, outcome: Outcome::Retry { after, .. } }) => {
            at.after(*after).since(now) + HOLD.0
        }
        _ => (HOLD.0 * (1 << job.attempt.get().saturating_sub(1).min(6))).min(HOLD.1),
    }
}

fn key_of(pointer: &JsonPointer, payload: &[u8]) -> Option<Key> {
    let payload = std::str::from_utf8(payload).ok()?;
    pointer.follow(payload).map(Into::into)
}

/// A run that comes before that one and is not at its end.
async fn first_before<S: RunStore>(
    store: &S,
    pointer: &JsonPointer,
    turn: &Turn,
    job: &Job,
) -> Result<Option<Run>, RunError> {
    let workspace = job.event.workspace;
    let mut looked_at = 0;
    for state in [RunState::Running, RunState::Retrying, RunState::Queued] {
        let mut query = RunQuery::all(workspace).below(turn.run);
        (query.state, query.destination) = (Some(state), Some(turn.entry.id));
        let mut rest = Some(query);
        while let Some(query) = rest {
            let page = store.list_runs(&query).await.map_err(failed)?;
            for run in page.items {
                let event = store.event(&workspace, &run.event).await.map_err(failed)?;
                let key = event.and_then(|event| key_of(pointer, &event.payload));
                looked_at += 1;
                if key.as_ref() == Some(&turn.key) || looked_at >= BEFORE_MAX {
                    return Ok(Some(run));
                }
            }
            rest = page.next;
        }
    }
    Ok(None)
}

impl Turn {
    fn wait_for(entry: &Arc<Entry>, key: Key, run: RunId) -> Self {
        entry.turns.present().entry(key.clone()).or_default().insert(run);
        Self { entry: entry.clone(), key, run }
    }

    /// Waits until no other run of this node comes before.
    async fn comes(&self) {
        loop {
            // What moves from here on is not missed.
            let moved = self.entry.turns.moved.notified();
            if self.entry.turns.first_of(&self.key) == Some(self.run) {
                return;
            }
            moved.await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut present = self.entry.turns.present();
        if let Some(runs) = present.get_mut(&self.key) {
            runs.remove(&self.run);
            if runs.is_empty() {
                present.remove(&self.key);
            }
        }
        drop(present);
        self.entry.turns.moved.notify_waiters();
    }
}

impl Turns {
    fn first_of(&self, key: &Key) -> Option<RunId> {
        self.present().get(key).and_then(BTreeSet::first).copied()
    }

    fn present(&self) -> MutexGuard<'_, HashMap<Key, BTreeSet<RunId>>> {
        self.present.lock().expect("no holder of the lock panics")
    }
}
