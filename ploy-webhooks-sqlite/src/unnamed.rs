//! Deletes the texts of triggers that no run names any more, after a purge took runs away.
//!
//! Runs have no index by what they carry out: every event would pay for it. So texts are marked
//! first, the reader goes through all runs, and what is still marked and was not met goes. Whoever
//! writes a run that names a marked text takes the mark away: what the writer remembers is
//! forgotten with the marking, so it looks the text up.

use std::collections::HashSet;

use ploy_webhooks::store::StoreError;
use rusqlite::{Connection, params};

use crate::error::store_error;
use crate::index::write;
use crate::owed;
use crate::queue::Queue;
use crate::task::{self, Change};

/// So many texts are marked in one transaction.
const MARKS_AT_ONCE: i64 = 1_024;
/// So many texts are deleted in one: they may be long.
const TEXTS_AT_ONCE: i64 = 64;
/// So many runs are read before what was written meanwhile is seen to.
const RUNS_AT_ONCE: i64 = 16_384;
/// About what marking or deleting adds to the log.
const LOG_BYTES: usize = 64 << 10;

/// Deletes them, with `pause` between its steps; `false` where that said to stop.
pub(crate) fn delete_unnamed(
    reader: &Connection,
    queue: &Queue,
    mut pause: impl FnMut() -> Result<bool, StoreError>,
) -> Result<bool, StoreError> {
    let mut after = 0;
    while let Some(last) = mark(queue, after)? {
        after = last;
    }
    let (mut named, mut after) = (HashSet::new(), -1);
    while let Some(last) = read_named(reader, after, &mut named).map_err(failed)? {
        after = last;
        if !pause()? {
            return Ok(false);
        }
    }
    loop {
        let marked = marked(reader).map_err(failed)?;
        if marked.is_empty() {
            return Ok(true);
        }
        let judged: Vec<_> =
            marked.into_iter().map(|number| (number, named.contains(&number))).collect();
        write(queue, LOG_BYTES, move |connection| delete(connection, &judged))?;
        if !pause()? {
            return Ok(false);
        }
    }
}

/// Marks some of those after that number; the last of them.
fn mark(queue: &Queue, after: i64) -> Result<Option<i64>, StoreError> {
    let work = move |connection: &mut Connection| {
        let last = task::commit_unflushed(connection, |connection| mark_some(connection, after))?;
        Ok((last, Some(Change::TriggersMarked)))
    };
    task::give(queue, LOG_BYTES, work)?.blocking_recv()
}

fn mark_some(connection: &Connection, after: i64) -> rusqlite::Result<Option<i64>> {
    // From here on, a run that is not filed yet takes the mark away.
    owed::file(connection)?;
    let last: Option<i64> = connection.query_row(
        "-- purge()
         SELECT max(number) FROM
             (SELECT number FROM triggers WHERE number > ?1 ORDER BY number LIMIT ?2)",
        params![after, MARKS_AT_ONCE],
        |row| row.get(0),
    )?;
    connection.execute(
        "-- purge()
         INSERT OR IGNORE INTO marked_triggers
         SELECT number FROM triggers WHERE number > ?1 AND number <= ?2",
        params![after, last],
    )?;
    Ok(last)
}

/// Adds what some of the runs after that place name; the last of them.
fn read_named(
    reader: &Connection,
    after: i64,
    named: &mut HashSet<i64>,
) -> rusqlite::Result<Option<i64>> {
    let mut select = reader.prepare_cached(
        "-- purge()
         SELECT place, trigger FROM runs WHERE place > ?1 ORDER BY place LIMIT ?2",
    )?;
    let mut rows = select.query(params![after, RUNS_AT_ONCE])?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        last = Some(row.get(0)?);
        named.insert(row.get(1)?);
    }
    Ok(last)
}

fn marked(reader: &Connection) -> rusqlite::Result<Vec<i64>> {
    let mut select =
        reader.prepare_cached("-- purge()\n SELECT number FROM marked_triggers LIMIT ?1")?;
    select.query_map(params![TEXTS_AT_ONCE], |row| row.get(0))?.collect()
}

/// Takes the marks away; and where a mark was still there, and no run names the text, that too.
fn delete(connection: &Connection, judged: &[(i64, bool)]) -> rusqlite::Result<()> {
    let mut unmark = connection.prepare_cached(UNMARK)?;
    let mut delete =
        connection.prepare_cached("-- purge()\n DELETE FROM triggers WHERE number = ?1")?;
    for (number, is_named) in judged {
        if unmark.execute(params![number])? > 0 && !is_named {
            delete.execute(params![number])?;
        }
    }
    Ok(())
}

/// Takes the mark of a text away, which is about to be named.
pub(crate) const UNMARK: &str = "-- unmark()\n DELETE FROM marked_triggers WHERE number = ?1";

fn failed(error: rusqlite::Error) -> StoreError {
    store_error("cannot tell which triggers are named", error)
}
