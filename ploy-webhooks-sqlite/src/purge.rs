//! Frees the space of deleted endpoints, behind the writes.
//!
//! A deletion takes the endpoint's row away, and with it every way to its events. Their rows go
//! afterwards, a block at a time, each in a short transaction, so that no append waits for it;
//! and at last the texts of triggers that only its runs named, and the segments of the index of
//! which nothing is left.

use ploy_webhooks::store::StoreError;
use ploy_webhooks::store::grams::Probe;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::store_error;
use crate::index::{ClosedBlocks, ORPHAN_TERM, empty_segments, endpoint_term, write};
use crate::lane::LaneKey;
use crate::owed::{self, places_of};
use crate::progress::{Progress, Written};
use crate::queue::Queue;
use crate::search;
use crate::unnamed::delete_unnamed;

/// So many rows are looked at in one transaction.
const ROWS_AT_ONCE: i64 = 1_024;

/// About what that adds to the log: every page of a block, where the endpoint is in all of them.
const DELETION_LOG_BYTES: usize = 1 << 20;

/// Frees what is left of deleted endpoints, and between its steps has what was written meanwhile
/// indexed; stops early when the store is closed, and goes on
/// at its next start.
pub(crate) fn purge_deleted(
    reader: &mut Connection,
    queue: &Queue,
    closed: &ClosedBlocks,
    progress: &Progress,
    mut index: impl FnMut(Vec<Written>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let failed = |error| store_error("cannot free the space of a deleted endpoint", error);
    while let Some((number, id)) = next_purge(reader).map_err(failed)? {
        let mut has_taken_runs = false;
        let last_seq = last_seq(reader).map_err(failed)?;
        for term in [endpoint_term(&id), ORPHAN_TERM] {
            let mut probe = Probe::new();
            probe.add_term(term);
            for (first, last) in search::ranges(reader, closed, probe).map_err(failed)? {
                for first in (first..=last.min(last_seq)).step_by(ROWS_AT_ONCE as usize) {
                    if progress.is_closed() {
                        return Ok(());
                    }
                    let last = last.min(first + ROWS_AT_ONCE - 1);
                    has_taken_runs |= write(queue, DELETION_LOG_BYTES, move |connection| {
                        delete_events(connection, number, first, last)
                    })?;
                    index(progress.take())?;
                }
            }
        }
        // All runs are read for it, so it is not done for nothing. What a purge that was broken
        // off has left goes with the next one.
        let pause = || {
            index(progress.take())?;
            Ok(!progress.is_closed())
        };
        if has_taken_runs && !delete_unnamed(reader, queue, pause)? {
            return Ok(());
        }
        for segment in empty_segments(reader).map_err(failed)? {
            write(queue, DELETION_LOG_BYTES, move |connection| segment.delete(connection))?;
            index(progress.take())?;
        }
        write(queue, 0, move |connection| {
            connection.execute("DELETE FROM purges WHERE endpoint = ?1", params![number])
        })?;
    }
    Ok(())
}

fn next_purge(connection: &Connection) -> rusqlite::Result<Option<(i64, [u8; 16])>> {
    connection
        .query_row("SELECT endpoint, id FROM purges LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()
}

fn last_seq(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get(0))
}

/// Deletes those of the endpoint; whether there were runs among them.
fn delete_events(
    connection: &Connection,
    endpoint: i64,
    first: i64,
    last: i64,
) -> rusqlite::Result<bool> {
    owed::file(connection)?;
    let mut delete_attempts = connection.prepare_cached(
        "-- purge()
         DELETE FROM attempts WHERE run IN
             (SELECT place FROM runs
              WHERE place BETWEEN ?1 AND ?2 AND (lane = ?3 OR substr(lane, 17) = ?4))",
    )?;
    let mut delete_runs = connection.prepare_cached(
        "-- purge()
         DELETE FROM runs
         WHERE place BETWEEN ?1 AND ?2 AND (lane = ?3 OR substr(lane, 17) = ?4)",
    )?;
    let mut delete_events = connection.prepare_cached(
        "-- purge()
         DELETE FROM events WHERE seq BETWEEN ?1 AND ?2 AND endpoint = ?3",
    )?;
    let (first_run, last_run) = (*places_of(first).start(), *places_of(last).end());
    let piece = LaneKey::ending(endpoint);
    delete_attempts.execute(params![first_run, last_run, endpoint, piece])?;
    let runs = delete_runs.execute(params![first_run, last_run, endpoint, piece])?;
    delete_events.execute(params![first, last, endpoint])?;
    Ok(runs > 0)
}
