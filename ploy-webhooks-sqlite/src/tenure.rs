//! What is said under leases: that they last longer, and what came of attempts.
//!
//! Workers say much, each for itself, and a commit is flushed. So what waits is recorded in
//! groups, each by one task of the writer in one transaction, and everybody is answered at once:
//! as with events.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ploy_webhooks::store::{StoreError, StoreErrorKind, Tenure};
use ploy_webhooks::{Lease, Outcome, RunState, Timestamp};
use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use crate::SqliteStore;
use crate::feed::{self, Noted};
use crate::task::{self, OpenConnection, Task, TaskEnd};

/// About what the record of one saying adds to the log, besides what was said.
const SAYING_LOG_BYTES: usize = 512;

/// What is said under a lease.
#[derive(Debug)]
pub(crate) enum Said {
    Extend { by: Duration },
    Finish { outcome: Outcome },
}

/// A commit of more sayings keeps those behind it waiting for longer than it saves.
const GROUP_SAYINGS_MAX: usize = 512;
/// A commit of more bytes, likewise.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// What waits to be recorded: the group that takes on more.
#[derive(Debug, Default)]
pub(crate) struct Sayings(Mutex<Arc<Group>>);

/// What one task of the writer records. It takes on more until that takes it.
#[derive(Debug)]
struct Group(Mutex<Gathered>);

#[derive(Debug)]
struct Gathered {
    sayings: Vec<Saying>,
    bytes: usize,
    is_taken: bool,
}

#[derive(Debug)]
struct Saying {
    lease: Lease,
    said: Said,
    answer: oneshot::Sender<Result<Tenure, StoreError>>,
}

impl SqliteStore {
    /// Has it recorded, if the lease still holds.
    pub(crate) async fn say(&self, lease: Lease, said: Said) -> Result<Tenure, StoreError> {
        let (answer, answered) = oneshot::channel();
        // Whoever begins a group calls the writer, for all who come until that takes it.
        if let Some(group) = self.line.sayings.push(Saying { lease, said, answer }) {
            self.queue.push_task(self.record(group))?;
        }
        answered.await.unwrap_or_else(|_| {
            Err(StoreError::new(StoreErrorKind::Indeterminate, "the writer has stopped"))
        })
    }

    fn record(&self, group: Arc<Group>) -> Task {
        let waiting = Waiting(group);
        let (line, log_growth) = (self.line.clone(), self.log_growth.clone());
        let clock = self.clock.clone();
        let work = move |connection: OpenConnection<'_>| {
            let mut sayings = waiting.take();
            sayings.retain(Saying::is_worth_recording);
            log_growth.add(sayings.iter().map(Saying::log_bytes).sum());
            let may_move_it_forward = sayings.iter().any(Saying::may_move_it_forward);
            let end = match connection {
                Ok(connection) => record_all(connection, sayings, clock.now()),
                Err(error) => fail_all(sayings, &error),
            };
            if may_move_it_forward {
                line.owed.notify_waiters();
            }
            line.fed.notify_waiters();
            end
        };
        Task { work: Box::new(work), log_bytes: 0 }
    }
}

/// What the task takes. Where it is dropped undone, with a writer that stopped, nobody is left
/// waiting for it.
struct Waiting(Arc<Group>);

impl Waiting {
    /// From here on, whoever comes next begins another group.
    fn take(&self) -> Vec<Saying> {
        let mut gathered = self.0.gathered();
        gathered.is_taken = true;
        std::mem::take(&mut gathered.sayings)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl Sayings {
    /// Adds it; gives back the group that it begins, if it begins one.
    fn push(&self, saying: Saying) -> Option<Arc<Group>> {
        let mut open = self.0.lock().expect("no holder of the lock panics");
        let rest = open.gathered().add(saying)?;
        *open = Arc::new(Group::beginning_with(rest));
        Some(open.clone())
    }
}

impl Default for Group {
    /// One that takes on nothing.
    fn default() -> Self {
        Self(Mutex::new(Gathered { sayings: Vec::new(), bytes: 0, is_taken: true }))
    }
}

impl Group {
    fn beginning_with(saying: Saying) -> Self {
        let bytes = saying.log_bytes();
        Self(Mutex::new(Gathered { sayings: vec![saying], bytes, is_taken: false }))
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.0.lock().expect("no holder of the lock panics")
    }
}

impl Gathered {
    /// Adds it, or gives it back where there is no room.
    fn add(&mut self, saying: Saying) -> Option<Saying> {
        let bytes = self.bytes + saying.log_bytes();
        if self.is_taken || self.sayings.len() >= GROUP_SAYINGS_MAX || bytes > GROUP_BYTES_MAX {
            return Some(saying);
        }
        self.bytes = bytes;
        self.sayings.push(saying);
        None
    }
}

impl Saying {
    fn log_bytes(&self) -> usize {
        let said = match &self.said {
            Said::Extend { .. } => 0,
            Said::Finish { outcome } => text(outcome).len(),
        };
        SAYING_LOG_BYTES + said
    }

    /// An attempt that ended is put on record for a caller that has gone, too. A lease is not
    /// extended for it: nobody would know.
    fn is_worth_recording(&self) -> bool {
        matches!(self.said, Said::Finish { .. }) || !self.answer.is_closed()
    }

    fn answer_with(self, outcome: Result<Tenure, StoreError>) {
        // A caller that has gone is not missed: it is on record.
        let _ = self.answer.send(outcome);
    }

    /// What is told of it, if it was recorded.
    fn told(&self, tenure: Tenure) -> Option<Noted> {
        match (&self.said, tenure) {
            (Said::Finish { outcome }, Tenure::Held) => Some(Noted {
                place: self.lease.place.cast_signed(),
                attempt: self.lease.attempt.get(),
                state: outcome.state(),
            }),
            _ => None,
        }
    }

    /// Whether the run may be due sooner than those who wait believe.
    const fn may_move_it_forward(&self) -> bool {
        matches!(self.said, Said::Extend { .. } | Said::Finish { outcome: Outcome::Retry { .. } })
    }
}

fn text(outcome: &Outcome) -> &[u8] {
    match outcome {
        Outcome::Succeed { output } => output,
        Outcome::Retry { error, .. } | Outcome::Fail { error } => error.as_bytes(),
    }
}

/// Records them in one commit; where SQLite refuses one of them, which may be any, each in its
/// own, so that it fails alone.
fn record_all(connection: &mut Connection, sayings: Vec<Saying>, now: Timestamp) -> TaskEnd {
    if sayings.is_empty() {
        return TaskEnd::Done(None);
    }
    let recorded = task::commit(connection, |connection| {
        let tenures = sayings.iter().map(|saying| record(connection, saying, now));
        let tenures: Vec<_> = tenures.collect::<Result<_, _>>()?;
        let told = sayings.iter().zip(&tenures).filter_map(|(saying, tenure)| saying.told(*tenure));
        feed::note(connection, &told.collect::<Vec<_>>())?;
        Ok(tenures)
    });
    match recorded {
        Ok(tenures) => {
            for (saying, tenure) in sayings.into_iter().zip(tenures) {
                saying.answer_with(Ok(tenure));
            }
            TaskEnd::Done(None)
        }
        Err(error) if error.kind() == StoreErrorKind::Misuse => {
            record_each(connection, sayings, now)
        }
        Err(error) => fail_all(sayings, &error),
    }
}

fn record_each(connection: &mut Connection, sayings: Vec<Saying>, now: Timestamp) -> TaskEnd {
    let mut sayings = sayings.into_iter();
    while let Some(saying) = sayings.next() {
        let recorded = task::commit(connection, |connection| {
            let tenure = record(connection, &saying, now)?;
            feed::note(connection, saying.told(tenure).as_slice())?;
            Ok(tenure)
        });
        match recorded {
            Err(error) if error.kind() != StoreErrorKind::Misuse => {
                return fail_all(std::iter::once(saying).chain(sayings), &error);
            }
            // Refused or recorded, the connection is as it was: what was begun is undone.
            recorded => saying.answer_with(recorded),
        }
    }
    TaskEnd::Done(None)
}

fn fail_all(sayings: impl IntoIterator<Item = Saying>, error: &StoreError) -> TaskEnd {
    for saying in sayings {
        saying.answer_with(Err(StoreError::new(error.kind(), error.to_string())));
    }
    TaskEnd::Failed(error.kind())
}

fn record(
    connection: &Connection,
    Saying { lease, said, .. }: &Saying,
    now: Timestamp,
) -> rusqlite::Result<Tenure> {
    match said {
        Said::Extend { by } => hold(connection, lease, RunState::Running, now.after(*by)),
        Said::Finish { outcome } => finish(connection, lease, outcome, now),
    }
}

fn finish(
    connection: &Connection,
    lease: &Lease,
    outcome: &Outcome,
    now: Timestamp,
) -> rusqlite::Result<Tenure> {
    let after = match outcome {
        Outcome::Retry { after, .. } => Some(now.after(*after).since(now)),
        Outcome::Succeed { .. } | Outcome::Fail { .. } => None,
    };
    let due_at = now.after(after.unwrap_or_default());
    if hold(connection, lease, outcome.state(), due_at)? == Tenure::Lost {
        return Ok(Tenure::Lost);
    }
    let mut update = connection.prepare_cached(
        "-- finish()
         UPDATE attempts SET ended_at = ?3, outcome = ?4, after = ?5, said = ?6
         WHERE run = ?1 AND number = ?2",
    )?;
    update.execute(params![
        lease.place,
        lease.attempt.get(),
        now.as_millis(),
        outcome.state().as_str(),
        after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        text(outcome),
    ])?;
    Ok(Tenure::Held)
}

/// Brings the run into that state, if the lease holds: it is of the last attempt, which has not
/// ended, and the endpoint is not deleted.
fn hold(
    connection: &Connection,
    lease: &Lease,
    state: RunState,
    due_at: Timestamp,
) -> rusqlite::Result<Tenure> {
    let Ok(place) = i64::try_from(lease.place) else {
        return Ok(Tenure::Lost);
    };
    let mut update = connection.prepare_cached(
        "-- hold()
         UPDATE runs SET state = ?4, due_at = ?5
         WHERE place = ?1 AND id = ?2 AND attempt = ?3 AND state = 'running'
             AND CASE
                 WHEN typeof(lane) = 'integer' THEN lane IN (SELECT number FROM endpoints)
                 -- A destination's, by an endpoint.
                 WHEN length(lane) = 24 THEN (SELECT endpoint FROM events WHERE seq = place >> 20)
                     IN (SELECT number FROM endpoints)
                 ELSE TRUE END",
    )?;
    let updated = update.execute(params![
        place,
        lease.run.as_bytes(),
        lease.attempt.get(),
        state.as_str(),
        due_at.as_millis(),
    ])?;
    Ok(if updated == 0 { Tenure::Lost } else { Tenure::Held })
}
