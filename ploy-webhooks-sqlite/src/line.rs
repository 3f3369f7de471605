//! [`RunQueue`]: the line of runs that may be claimed, now or later.
//!
//! Whatever changes it goes through the writer's queue, so that a claim, the end of an attempt
//! and the deletion of an endpoint each have their place between two batches of events. Only
//! waiting reads by itself.

use std::num::NonZeroU16;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ploy_webhooks::store::{RunQueue, StoreError, Tenure};
use ploy_webhooks::{
    Clock, EndpointId, Event, EventId, Lease, LeasedRun, NewRun, Outcome, RunId, SystemClock,
    Timestamp, WorkspaceId,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::SqliteStore;
use crate::error::{corrupt, store_error};
use crate::events::{event_type, headers, source};
use crate::runs::{insert_run, is_in_line};
use crate::search::{self, Place};
use crate::task;
use crate::tenure::{Said, Sayings};

/// A claim holds no more payload than this, but for the one that takes it past it: the caller
/// gets the rest by its next claim.
const CLAIM_BYTES_MAX: usize = 8 << 20;
/// A claim looks at no more runs than this: those of deleted endpoints are many at times.
const CLAIM_ROWS_MAX: usize = 4_096;
/// About what a claimed run, or an added one, adds to the log.
const RUN_LOG_BYTES: usize = 1 << 10;

/// What those who use the line share with the writer.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Pokes those who wait when a run is owed.
    pub(crate) owed: Notify,
    pub(crate) sayings: Arc<Sayings>,
}

#[async_trait]
impl RunQueue for SqliteStore {
    async fn claim(&self, max: NonZeroU16, lease: Duration) -> Result<Vec<LeasedRun>, StoreError> {
        loop {
            let log_bytes = RUN_LOG_BYTES * usize::from(max.get());
            let work = move |connection: &mut Connection| {
                let claimed = task::transact(connection, |connection| {
                    let now = SystemClock.now();
                    let found = Found::look(connection, now, max.get().into())?;
                    found.take(connection, now, now.after(lease)).map_err(failed)?;
                    Ok(found)
                })?;
                Ok((claimed, None))
            };
            let found = task::give(&self.queue, log_bytes, work)?.recv().await?;
            if !found.due.is_empty() || !found.there_is_more {
                return Ok(found.due);
            }
        }
    }

    async fn extend(&self, lease: &Lease, by: Duration) -> Result<Tenure, StoreError> {
        self.say(*lease, Said::Extend { by }).await
    }

    async fn finish(&self, lease: &Lease, outcome: Outcome) -> Result<Tenure, StoreError> {
        self.say(*lease, Said::Finish { outcome }).await
    }

    async fn wait(&self, at_most: Duration) -> Result<(), StoreError> {
        let until_due = async {
            loop {
                let mut owed = pin!(self.line.owed.notified());
                // From here on nothing is missed.
                owed.as_mut().enable();
                let next_due = self.look_ups.read(|connection| next_due(connection)).await?;
                let now = SystemClock.now();
                match next_due {
                    Some(due_at) if due_at <= now => return Ok(()),
                    Some(due_at) => {
                        // Whichever comes first: the line is looked at again.
                        let _ = timeout(due_at.since(now), owed).await;
                    }
                    None => owed.await,
                }
            }
        };
        // Nothing was due in time, which is an answer too.
        timeout(at_most, until_due).await.unwrap_or(Ok(()))
    }

    async fn enqueue(
        &self,
        workspace: &WorkspaceId,
        event: &EventId,
        runs: Vec<NewRun>,
    ) -> Result<bool, StoreError> {
        let (workspace, event, closed) = (*workspace, *event, self.closed_blocks.clone());
        let find =
            move |connection: &mut Connection| search::find(connection, &closed, workspace, event);
        let Some(Place { seq, .. }) = self.look_ups.read(find).await? else {
            return Ok(false);
        };
        let line = self.line.clone();
        let log_bytes = RUN_LOG_BYTES * runs.len();
        let work = move |connection: &mut Connection| {
            let is_there = task::commit(connection, |connection| add(connection, seq, &runs))?;
            line.owed.notify_waiters();
            Ok((is_there, None))
        };
        task::give(&self.queue, log_bytes, work)?.recv().await
    }
}

fn next_due(connection: &Connection) -> Result<Option<Timestamp>, StoreError> {
    let select = concat!(
        "-- wait()
         SELECT due_at FROM runs INDEXED BY runs_in_line WHERE ",
        is_in_line!(),
        " ORDER BY due_at LIMIT 1"
    );
    let mut select = connection.prepare_cached(select).map_err(failed)?;
    let next = select.query_row([], |row| row.get(0)).optional().map_err(failed)?;
    Ok(next.map(Timestamp::from_millis))
}

/// Adds runs to the event at that place, if it is still there.
fn add(connection: &Connection, seq: i64, runs: &[NewRun]) -> rusqlite::Result<bool> {
    let mut select = connection.prepare_cached(
        "-- enqueue()
         SELECT 1 FROM events WHERE seq = ?1
             AND (endpoint IS NULL OR endpoint IN (SELECT number FROM endpoints))",
    )?;
    if !select.exists(params![seq])? {
        return Ok(false);
    }
    let now = SystemClock.now();
    for run in runs {
        insert_run(connection, run, seq, now)?;
    }
    Ok(true)
}

/// What was found at the head of the line.
struct Found {
    due: Vec<LeasedRun>,
    /// Runs whose event is gone, or whose endpoint.
    orphans: Vec<(i64, RunId)>,
    /// Whether the look ended before the line did.
    there_is_more: bool,
}

impl Found {
    /// Looks for up to so many runs that are due, from the head of the line.
    fn look(connection: &Connection, now: Timestamp, max: usize) -> Result<Self, StoreError> {
        let select = concat!(
            "-- claim()
             SELECT r.event, r.id, r.trigger, r.retry, r.attempt, e.id, p.id,
                 coalesce(p.workspace, e.workspace), e.type, e.source, e.headers, e.payload
             FROM runs AS r INDEXED BY runs_in_line
             LEFT JOIN events AS e ON e.seq = r.event
             LEFT JOIN endpoints AS p ON p.number = e.endpoint
             WHERE ",
            is_in_line!(),
            " AND due_at <= ?1 ORDER BY due_at"
        );
        let mut select = connection.prepare_cached(select).map_err(failed)?;
        let mut rows = select.query(params![now.as_millis()]).map_err(failed)?;
        let mut found = Self { due: Vec::new(), orphans: Vec::new(), there_is_more: false };
        let mut bytes = 0;
        while let Some(row) = rows.next().map_err(failed)? {
            let looked_at = found.due.len() + found.orphans.len();
            if found.due.len() == max || bytes >= CLAIM_BYTES_MAX || looked_at >= CLAIM_ROWS_MAX {
                found.there_is_more = true;
                break;
            }
            let seq = row.get(0).map_err(failed)?;
            // Neither the event nor its endpoint says whose it is.
            if row.get::<_, Option<[u8; 16]>>(7).map_err(failed)?.is_none() {
                found.orphans.push((seq, RunId::from_bytes(row.get(1).map_err(failed)?)));
                continue;
            }
            let leased = leased(row, seq, found.due.last())?;
            bytes += leased.event.payload.len();
            found.due.push(leased);
        }
        Ok(found)
    }

    /// Counts an attempt of each that is due, and takes the others out of the line: the purge
    /// has not come to them yet.
    fn take(
        &self,
        connection: &Connection,
        now: Timestamp,
        until: Timestamp,
    ) -> rusqlite::Result<()> {
        let mut update = connection.prepare_cached(
            "-- claim()
             UPDATE runs SET state = 'running', attempt = ?3, due_at = ?4
             WHERE event = ?1 AND id = ?2",
        )?;
        let mut insert = connection.prepare_cached(
            "-- claim()
             INSERT INTO attempts (event, run, number, started_at) VALUES (?1, ?2, ?3, ?4)",
        )?;
        let mut delete = connection.prepare_cached(
            "-- claim()
             DELETE FROM runs WHERE event = ?1 AND id = ?2",
        )?;
        for LeasedRun { lease: Lease { run, attempt, place }, .. } in &self.due {
            update.execute(params![place, run.as_bytes(), attempt.get(), until.as_millis()])?;
            insert.execute(params![place, run.as_bytes(), attempt.get(), now.as_millis()])?;
        }
        for (seq, run) in &self.orphans {
            delete.execute(params![seq, run.as_bytes()])?;
        }
        Ok(())
    }
}

fn leased(row: &Row<'_>, seq: i64, before: Option<&LeasedRun>) -> Result<LeasedRun, StoreError> {
    let earlier: u32 = row.get(4).map_err(failed)?;
    let attempt = earlier.checked_add(1).and_then(|number| number.try_into().ok());
    let lease = Lease {
        run: RunId::from_bytes(row.get(1).map_err(failed)?),
        attempt: attempt.ok_or_else(|| corrupt("runs", "attempt", seq))?,
        place: u64::try_from(seq).map_err(|_| corrupt("runs", "event", seq))?,
    };
    Ok(LeasedRun {
        lease,
        trigger: from_json(row, 2, "trigger", seq)?,
        retry: from_json(row, 3, "retry", seq)?,
        event: match before {
            // Runs of one event mostly stand one behind the other: its payload is held once.
            Some(before) if before.lease.place == lease.place => before.event.clone(),
            _ => event(row, seq)?,
        },
    })
}

fn event(row: &Row<'_>, seq: i64) -> Result<Event, StoreError> {
    let endpoint: Option<[u8; 16]> = row.get(6).map_err(failed)?;
    Ok(Event {
        id: EventId::from_bytes(row.get(5).map_err(failed)?),
        workspace: WorkspaceId::from_bytes(row.get(7).map_err(failed)?),
        endpoint: endpoint.map(EndpointId::from_bytes),
        event_type: event_type(row, 8, seq)?,
        source: source(row, 9, seq)?,
        headers: headers(row, 10, seq)?,
        payload: Bytes::from(row.get::<_, Vec<u8>>(11).map_err(failed)?),
    })
}

fn from_json<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
    name: &str,
    seq: i64,
) -> Result<T, StoreError> {
    let text: String = row.get(column).map_err(failed)?;
    serde_json::from_str(&text).map_err(|error| corrupt("runs", name, seq).because(error))
}

fn failed(error: rusqlite::Error) -> StoreError {
    store_error("cannot claim runs", error)
}
