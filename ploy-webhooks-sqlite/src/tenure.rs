//! What is said under leases: that they last longer, and what came of attempts.
//!
//! Workers say much, each for itself, and a commit is flushed. So what waits is recorded by one
//! task of the writer, in one transaction, and everybody is answered at once: as with events.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ploy_webhooks::store::{StoreError, StoreErrorKind, Tenure};
use ploy_webhooks::{Clock, Lease, Outcome, RunState, SystemClock, Timestamp};
use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use crate::SqliteStore;
use crate::task::{self, OpenConnection, Task, TaskEnd};

/// About what the record of one saying adds to the log, besides what was said.
const SAYING_LOG_BYTES: usize = 512;

/// What is said under a lease.
#[derive(Debug)]
pub(crate) enum Said {
    Extend { by: Duration },
    Finish { outcome: Outcome },
}

/// What waits to be recorded.
#[derive(Debug, Default)]
pub(crate) struct Sayings(Mutex<Vec<Saying>>);

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
        let is_first = self.line.sayings.push(Saying { lease, said, answer });
        // Whoever comes first calls the writer, for all who come until it takes what waits.
        if is_first {
            self.queue.push_task(self.record_what_waits())?;
        }
        answered.await.unwrap_or_else(|_| {
            Err(StoreError::new(StoreErrorKind::Indeterminate, "the writer has stopped"))
        })
    }

    fn record_what_waits(&self) -> Task {
        let waiting = Waiting(Some(self.line.sayings.clone()));
        let (line, log_growth) = (self.line.clone(), self.log_growth.clone());
        let work = move |connection: OpenConnection<'_>| {
            let sayings = waiting.take();
            let recorded = connection.and_then(|connection| {
                task::commit(connection, |connection| record_all(connection, &sayings))
            });
            match recorded {
                Ok(tenures) => {
                    log_growth.add(sayings.iter().map(Saying::log_bytes).sum());
                    if sayings.iter().any(Saying::may_move_it_forward) {
                        line.owed.notify_waiters();
                    }
                    for (saying, tenure) in sayings.into_iter().zip(tenures) {
                        // A caller that has gone is not missed: it is on record.
                        let _ = saying.answer.send(Ok(tenure));
                    }
                    TaskEnd::Done(None)
                }
                Err(error) => {
                    for saying in sayings {
                        let again = StoreError::new(error.kind(), error.to_string());
                        let _ = saying.answer.send(Err(again));
                    }
                    TaskEnd::Failed(error.kind())
                }
            }
        };
        Task { work: Box::new(work), log_bytes: 0 }
    }
}

/// What the task takes. Where it is dropped undone, with a writer that stopped, nobody is left
/// waiting for it.
struct Waiting(Option<Arc<Sayings>>);

impl Waiting {
    /// From here on, whoever comes first calls the writer again.
    fn take(mut self) -> Vec<Saying> {
        self.0.take().map(|sayings| sayings.take()).unwrap_or_default()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.0.take().map(|sayings| sayings.take()));
    }
}

impl Sayings {
    /// Whether it is the first that waits.
    fn push(&self, saying: Saying) -> bool {
        let mut waiting = self.waiting();
        waiting.push(saying);
        waiting.len() == 1
    }

    fn take(&self) -> Vec<Saying> {
        std::mem::take(&mut self.waiting())
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Saying>> {
        self.0.lock().expect("no holder of the lock panics")
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

fn record_all(connection: &Connection, sayings: &[Saying]) -> rusqlite::Result<Vec<Tenure>> {
    let now = SystemClock.now();
    sayings
        .iter()
        .map(|Saying { lease, said, .. }| match said {
            Said::Extend { by } => hold(connection, lease, RunState::Running, now.after(*by)),
            Said::Finish { outcome } => finish(connection, lease, outcome, now),
        })
        .collect()
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
             AND (typeof(lane) = 'blob' OR lane IN (SELECT number FROM endpoints))",
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
