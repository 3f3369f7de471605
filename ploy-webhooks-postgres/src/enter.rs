//! What is owed, entered in the line: behind the writers, who put it down as it came.
//!
//! An append pays for one row a batch; the rows and index entries of each run are made here, over
//! a connection of its own. Nothing depends on it: whoever looks for runs enters them first where
//! that is not done yet, whichever node has stored them.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use ploy_webhooks::store::{StoreError, StoreErrorKind};
use ploy_webhooks::{NewEvent, RunId};
use sqlx::postgres::PgConnection;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::database;
use crate::error::{store_error, timed_out};
use crate::writer::Shared;

/// The batches that are entered by one transaction: whoever claims may wait for it.
const SHEETS: i32 = 64;
/// Between two transactions at least. Nobody waits for it: who looks for runs enters them.
const GAP: Duration = Duration::from_millis(10);
/// How long after a failure it is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

const WHAT: &str = "cannot enter runs";

/// What this node's writers have put down and is not known to be entered: so long no index knows
/// the ids.
#[derive(Debug, Default)]
pub(crate) struct PutDown {
    ids: Mutex<Ids>,
    /// One permit: there is something to enter.
    filled: Notify,
}

#[derive(Debug, Default)]
struct Ids {
    waiting: HashSet<RunId>,
    /// Those of which an attempt to enter them is under way.
    entering: HashSet<RunId>,
}

/// Where so many cannot be entered, more are not remembered.
const IDS_MAX: usize = 1 << 20;

impl PutDown {
    /// Takes the events out of a batch that owe a run of another one, or of one that was put down
    /// before: what they are told depends on what becomes of that.
    pub(crate) fn split<T>(
        &self,
        batch: Vec<T>,
        event: impl Fn(&T) -> &NewEvent,
    ) -> (Vec<T>, Vec<T>) {
        if batch.iter().all(|waiting| event(waiting).owes.is_empty()) {
            return (batch, Vec::new());
        }
        let ids = self.ids();
        let mut seen = HashSet::new();
        batch.into_iter().partition(|waiting| {
            let mut owes = event(waiting).owes.iter();
            owes.all(|run| !ids.has(&run.id) && seen.insert(run.id))
        })
    }

    /// Whether a run of the event was put down before, or is owed twice.
    pub(crate) fn knows(&self, event: &NewEvent) -> bool {
        let ids = self.ids();
        let mut seen = HashSet::new();
        event.owes.iter().any(|run| ids.has(&run.id) || !seen.insert(run.id))
    }

    pub(crate) fn add(&self, runs: impl Iterator<Item = RunId>) {
        let mut ids = self.ids();
        if ids.waiting.len() < IDS_MAX {
            ids.waiting.extend(runs);
        }
        drop(ids);
        self.filled.notify_one();
    }

    fn begin(&self) {
        let mut ids = self.ids();
        let waiting = std::mem::take(&mut ids.waiting);
        // What the last attempt has left is still to be entered.
        ids.entering.extend(waiting);
    }

    fn end(&self) {
        self.ids().entering.clear();
    }

    fn ids(&self) -> MutexGuard<'_, Ids> {
        self.ids.lock().expect("no holder of the lock panics")
    }
}

impl Ids {
    fn has(&self, id: &RunId) -> bool {
        self.waiting.contains(id) || self.entering.contains(id)
    }
}

/// Enters for good what this node's writers put down, one part after another, with pauses between:
/// a burst of appends shares the server with half of it at most, and what is left over is entered
/// after the burst.
pub(crate) async fn run(shared: Shared) {
    let mut connection = None;
    loop {
        shared.put_down.filled.notified().await;
        shared.put_down.begin();
        let (limit, begun) = (shared.settings.call_timeout, Instant::now());
        let entered = timeout(limit, enter(&shared, &mut connection)).await;
        let entered =
            entered.unwrap_or_else(|_| Err(timed_out(StoreErrorKind::Unavailable, WHAT, limit)));
        match entered {
            Ok(SHEETS) => {
                shared.put_down.filled.notify_one();
                sleep(GAP.max(begun.elapsed())).await;
            }
            // With fewer than that, it was all that there was.
            Ok(_) => {
                shared.put_down.end();
                sleep(GAP.max(begun.elapsed())).await;
            }
            Err(error) => {
                tracing::debug!(%error, "runs are left to whoever looks for them");
                connection = None;
                sleep(AGAIN_AFTER).await;
                shared.put_down.filled.notify_one();
            }
        }
    }
}

async fn enter(shared: &Shared, kept: &mut Option<PgConnection>) -> Result<i32, StoreError> {
    let connection = match kept {
        Some(connection) => connection,
        none => none.insert(database::connect_enterer(&shared.settings).await?),
    };
    enter_some(connection).await
}

/// Enters all that was put down before, by whichever node.
pub(crate) async fn enter_all(connection: &mut PgConnection) -> Result<(), StoreError> {
    // With fewer than that, it was all that there was: what comes meanwhile is not waited for.
    while enter_some(connection).await? == SHEETS {}
    Ok(())
}

async fn enter_some(connection: &mut PgConnection) -> Result<i32, StoreError> {
    sqlx::query_scalar("SELECT enter_runs($1)")
        .bind(SHEETS)
        .fetch_one(connection)
        .await
        .map_err(|error| store_error(WHAT, error))
}
