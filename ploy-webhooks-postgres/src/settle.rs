//! What becomes of leases: attempts end and leases are extended, many at once.
//!
//! A flush for each would bound how many runs a second are done. So whatever waits is taken, done
//! by one call in one transaction, and each is answered by itself; what comes meanwhile is the
//! next batch. A batch shares a commit, not a fate: a lease that is lost is lost alone, and where
//! the call fails because of one of them, each is tried by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ploy_webhooks::store::{StoreError, StoreErrorKind, Tenure};
use ploy_webhooks::{Lease, Outcome, RunId};
use sqlx::Row;
use sqlx::postgres::PgConnection;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::batch::millis;
use crate::database::within;
use crate::error::{is_deadlock, write_error};
use crate::wire::Uuid;
use crate::writer::Shared;

/// So many may wait; who comes later waits for a place.
const WAITING_MAX: usize = 8_192;
/// A commit of more keeps those behind it waiting for longer than it saves.
const BATCH_MAX: usize = 512;
/// A commit of more bytes, likewise.
const BATCH_BYTES_MAX: usize = 8 << 20;

const WHAT: &str = "cannot settle runs";

/// The way to the task that settles leases.
#[derive(Debug)]
pub(crate) struct Settler {
    waiting: mpsc::Sender<Waiting>,
    closing: Arc<Notify>,
}

/// What is to become of a lease, and who waits for it.
#[derive(Debug)]
struct Waiting {
    lease: Lease,
    change: Change,
    answer: Answer,
}

impl Waiting {
    /// What came of an attempt is worth recording, whoever hears that it is. A lease is not extended
    /// for one who has gone: nobody would carry the run out, nor claim it in that time.
    fn is_wanted(&self) -> bool {
        !matches!(self.change, Change::Extend(_)) || !self.answer.is_closed()
    }
}

type Answer = oneshot::Sender<Result<Tenure, StoreError>>;

#[derive(Clone, Debug)]
enum Change {
    /// It ends so many milliseconds from now.
    Extend(i64),
    /// The attempt has succeeded, and said this.
    Done(Bytes),
    /// It has failed with this, and is tried again after so many milliseconds or given up.
    Failed(Bytes, Option<i64>),
}

impl Change {
    fn bytes(&self) -> usize {
        match self {
            Self::Extend(_) => 0,
            Self::Done(said) | Self::Failed(said, _) => said.len(),
        }
    }
}

impl Settler {
    /// Begins to settle. The task ends when it is told to close or the settler is dropped, once
    /// nothing waits any more.
    pub(crate) fn begin(shared: Shared) -> (Self, JoinHandle<()>) {
        let (waiting, came) = mpsc::channel(WAITING_MAX);
        let closing = Arc::new(Notify::new());
        let task = tokio::spawn(run(shared, came, closing.clone()));
        (Self { waiting, closing }, task)
    }

    pub(crate) fn close(&self) {
        self.closing.notify_one();
    }

    pub(crate) async fn extend(&self, lease: &Lease, by: Duration) -> Result<Tenure, StoreError> {
        self.settle(lease, Change::Extend(millis(by))).await
    }

    pub(crate) async fn finish(
        &self,
        lease: &Lease,
        outcome: Outcome,
    ) -> Result<Tenure, StoreError> {
        let change = match outcome {
            Outcome::Succeed { output } => Change::Done(output),
            Outcome::Retry { error, after } => Change::Failed(error.into(), Some(millis(after))),
            Outcome::Fail { error } => Change::Failed(error.into(), None),
        };
        self.settle(lease, change).await
    }

    async fn settle(&self, lease: &Lease, change: Change) -> Result<Tenure, StoreError> {
        let closed = |kind| StoreError::new(kind, "the store is closed");
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { lease: *lease, change, answer };
        let sent = self.waiting.send(waiting).await;
        sent.map_err(|_| closed(StoreErrorKind::Unavailable))?;
        // The task ends without an answer only by a panic.
        answered.await.unwrap_or_else(|_| Err(closed(StoreErrorKind::Indeterminate)))
    }
}

async fn run(shared: Shared, mut came: mpsc::Receiver<Waiting>, closing: Arc<Notify>) {
    loop {
        let first = tokio::select! {
            first = came.recv() => first,
            () = closing.notified() => {
                // What waits is still received.
                came.close();
                continue;
            }
        };
        let Some(first) = first else {
            return;
        };
        let batch = take_batch(first, &mut came);
        if !batch.is_empty() {
            settle_all(&shared, batch).await;
        }
        // Those who were answered get to add to the next batch.
        tokio::task::yield_now().await;
    }
}

/// All that is wanted of what waits, or as much of it as makes one commit.
fn take_batch(first: Waiting, came: &mut mpsc::Receiver<Waiting>) -> Vec<Waiting> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    let mut next = Some(first);
    while let Some(waiting) = next {
        if waiting.is_wanted() {
            bytes += waiting.change.bytes();
            batch.push(waiting);
        }
        let is_full = batch.len() >= BATCH_MAX || bytes >= BATCH_BYTES_MAX;
        next = if is_full { None } else { came.try_recv().ok() };
    }
    batch
}

async fn settle_all(shared: &Shared, batch: Vec<Waiting>) {
    let (limit, late) = (shared.settings.append_timeout, StoreErrorKind::Indeterminate);
    let settled = within(&shared.pool, limit, WHAT, late, async |connection| {
        settle(connection, &Groups::of(&batch)).await
    });
    match settled.await {
        Ok(Settled { tenures, is_sooner }) => {
            for (waiting, tenure) in batch.into_iter().zip(tenures) {
                // One that has gone is not missed.
                let _ = waiting.answer.send(Ok(tenure));
            }
            shared.fed.notify_waiters();
            if is_sooner {
                shared.runs_due.notify_waiters();
            }
        }
        Err(error) if batch.len() > 1 && is_of_one(&error) => {
            for waiting in batch {
                Box::pin(settle_all(shared, vec![waiting])).await;
            }
        }
        Err(error) => {
            for waiting in batch {
                let error = StoreError::new(error.kind(), error.to_string());
                let _ = waiting.answer.send(Err(error));
            }
        }
    }
}

/// Whether the call failed, and wrote nothing, because of one of many.
fn is_of_one(error: &StoreError) -> bool {
    error.kind() == StoreErrorKind::Misuse || is_deadlock(error)
}

/// A batch in the order in which it is written.
#[derive(Default)]
struct Groups<'a> {
    /// How many there are in the batch.
    len: usize,
    /// Each lease once, with the last that was asked for: two that extend one both have it.
    extended: BTreeMap<Key, (i64, Vec<usize>)>,
    done: Vec<(Key, &'a [u8], usize)>,
    failed: Vec<(Key, &'a [u8], Option<i64>, usize)>,
}

/// A lease, as the function `settle_runs` has it.
type Key = (i64, RunId, i32);

impl<'a> Groups<'a> {
    fn of(batch: &'a [Waiting]) -> Self {
        let mut groups = Self { len: batch.len(), ..Self::default() };
        for (place, Waiting { lease, change, .. }) in batch.iter().enumerate() {
            let number = lease.place.cast_signed();
            let key = (number, lease.run, lease.attempt.get().cast_signed());
            match change {
                Change::Extend(by) => {
                    let (last, places) = groups.extended.entry(key).or_default();
                    *last = *by;
                    places.push(place);
                }
                Change::Done(said) => groups.done.push((key, &said[..], place)),
                Change::Failed(said, after) => {
                    groups.failed.push((key, &said[..], *after, place));
                }
            }
        }
        // In one order, so that two nodes never wait for each other; and of several ends of one
        // attempt one is recorded, the others being too late.
        groups.done.sort_by_key(|(key, ..)| *key);
        groups.done.dedup_by_key(|(key, ..)| *key);
        groups.failed.sort_by_key(|(key, ..)| *key);
        groups.failed.dedup_by_key(|(key, ..)| *key);
        groups
    }
}

struct Settled {
    /// In the order of the batch.
    tenures: Vec<Tenure>,
    is_sooner: bool,
}

const SETTLE: &str = "SELECT held_extended, held_done, held_failed, is_sooner
    FROM settle_runs($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";

async fn settle(connection: &mut PgConnection, groups: &Groups<'_>) -> Result<Settled, StoreError> {
    let Groups { len, extended, done, failed } = groups;
    let numbers = |keys: &mut dyn Iterator<Item = &Key>| {
        let leases = keys.map(|(number, run, attempt)| (*number, Uuid::from(*run), *attempt));
        let mut columns = (Vec::new(), Vec::new(), Vec::new());
        columns.extend(leases);
        columns
    };
    let extended_keys = numbers(&mut extended.keys());
    let done_keys = numbers(&mut done.iter().map(|(key, ..)| key));
    let failed_keys = numbers(&mut failed.iter().map(|(key, ..)| key));
    let row = sqlx::query(SETTLE)
        .bind(extended_keys.0)
        .bind(extended_keys.1)
        .bind(extended_keys.2)
        .bind(extended.values().map(|(by, _)| *by).collect::<Vec<_>>())
        .bind(done_keys.0)
        .bind(done_keys.1)
        .bind(done_keys.2)
        .bind(done.iter().map(|(_, said, _)| *said).collect::<Vec<_>>())
        .bind(failed_keys.0)
        .bind(failed_keys.1)
        .bind(failed_keys.2)
        .bind(failed.iter().map(|(_, said, ..)| *said).collect::<Vec<_>>())
        .bind(failed.iter().map(|(.., after, _)| *after).collect::<Vec<_>>())
        .fetch_one(connection)
        .await
        .map_err(|error| write_error(WHAT, error))?;
    let held = |column| {
        let held: sqlx::Result<Option<Vec<i64>>> = row.try_get(column);
        let held = held.map_err(|error| write_error(WHAT, error))?.unwrap_or_default();
        Ok::<_, StoreError>(
            held.into_iter().map(|place| usize::try_from(place - 1).unwrap_or(usize::MAX)),
        )
    };
    let mut tenures = vec![Tenure::Lost; *len];
    let extended: Vec<_> = extended.values().map(|(_, places)| places).collect();
    let held_extended =
        held(0)?.filter_map(|place| extended.get(place)).flat_map(|places| places.iter());
    let held_done = held(1)?.filter_map(|place| done.get(place)).map(|(.., place)| place);
    let held_failed = held(2)?.filter_map(|place| failed.get(place)).map(|(.., place)| place);
    for place in held_extended.chain(held_done).chain(held_failed) {
        tenures[*place] = Tenure::Held;
    }
    Ok(Settled { tenures, is_sooner: row.try_get(3).map_err(|error| write_error(WHAT, error))? })
}
