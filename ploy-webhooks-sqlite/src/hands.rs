//! What is done to runs by hand: added to a stored event, tried again, called off.
//!
//! Each is a task of the writer, which files what has arrived before it looks for a run.

use ploy_webhooks::store::{Altered, StoreError};
use ploy_webhooks::{NewRun, RunId, RunState, Timestamp, WorkspaceId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::events::Origins;
use crate::feed::{self, Noted};
use crate::lane::OriginKey;
use crate::owed;
use crate::runs::{every_state, is_of};

/// Adds runs to the event at that place, if it is still there; or says why it cannot owe them.
pub(crate) fn add(
    connection: &Connection,
    seq: i64,
    runs: &[NewRun],
    now: Timestamp,
) -> rusqlite::Result<Result<bool, StoreError>> {
    owed::file(connection)?;
    let mut select = connection.prepare_cached(
        "-- enqueue()
         SELECT coalesce(endpoint, workspace) FROM events WHERE seq = ?1",
    )?;
    let origin: Option<OriginKey> = select.query_row(params![seq], |row| row.get(0)).optional()?;
    let Some(origin) = origin else {
        return Ok(Ok(false));
    };
    if Origins::new(connection)?.of_key(origin)?.is_none() {
        return Ok(Ok(false));
    }
    let added = owed::add(connection, runs, seq, origin, now)?;
    Ok(added.map(|()| true))
}

/// What is done to a run that stands on record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hand {
    Requeue,
    Cancel,
}

impl Hand {
    const fn may_touch(self, state: RunState) -> bool {
        match self {
            Self::Requeue => state.may_be_requeued(),
            Self::Cancel => state.is_in_line(),
        }
    }
}

/// Does it, if the workspace has such a run and it is in a state in which that can be.
pub(crate) fn alter(
    connection: &Connection,
    workspace: WorkspaceId,
    id: RunId,
    hand: Hand,
    now: Timestamp,
) -> rusqlite::Result<Altered> {
    owed::file(connection)?;
    let Some(Found { place, state, attempt }) = find(connection, workspace, id)? else {
        return Ok(Altered::Missing);
    };
    if !hand.may_touch(state) {
        return Ok(Altered::Refused(state));
    }
    let state = match hand {
        Hand::Requeue => {
            requeue(connection, place, now)?;
            RunState::Queued
        }
        Hand::Cancel => {
            cancel(connection, place)?;
            RunState::Cancelled
        }
    };
    feed::note(connection, &[Noted { place, attempt, state }])?;
    Ok(Altered::Done)
}

/// Has it due at once; or, after it was called off, when nobody can be at work on it any more.
fn requeue(connection: &Connection, place: i64, now: Timestamp) -> rusqlite::Result<()> {
    let mut update = connection.prepare_cached(
        "-- requeue()
         UPDATE runs SET state = 'queued',
             due_at = CASE state WHEN 'cancelled' THEN max(?2, due_at) ELSE ?2 END
         WHERE place = ?1",
    )?;
    update.execute(params![place, now.as_millis()])?;
    Ok(())
}

/// Keeps the end of a lease that may not be over, in `due_at`: the place in the line, which is
/// left. Not by the state: a run that was called off under a lease, requeued and is called off
/// once more waits for the end of the same lease. Its last attempt has no end either way.
fn cancel(connection: &Connection, place: i64) -> rusqlite::Result<()> {
    let mut update = connection.prepare_cached(
        "-- cancel()
         UPDATE runs SET state = 'cancelled',
             due_at = CASE WHEN EXISTS
                     (SELECT 1 FROM attempts AS a
                      WHERE a.run = place AND a.number = attempt AND a.ended_at IS NULL)
                 THEN due_at ELSE 0 END
         WHERE place = ?1",
    )?;
    update.execute(params![place])?;
    Ok(())
}

/// Where a run lies, and where it stands.
struct Found {
    place: i64,
    state: RunState,
    attempt: u32,
}

/// The workspace's run with that id.
fn find(
    connection: &Connection,
    workspace: WorkspaceId,
    id: RunId,
) -> rusqlite::Result<Option<Found>> {
    let mut origins = Origins::new(connection)?;
    let mut select = connection.prepare_cached(&format!(
        "-- alter()
         SELECT place, lane, state, attempt FROM runs WHERE id = ?1 AND state IN ({})",
        every_state()
    ))?;
    let mut rows = select.query(params![id.as_bytes()])?;
    while let Some(row) = rows.next()? {
        let state = RunState::from_name(row.get_ref(2)?.as_str()?);
        if let Some(state) = state
            && is_of(origins.of_lane(row.get(1)?)?, workspace)
        {
            return Ok(Some(Found { place: row.get(0)?, state, attempt: row.get(3)? }));
        }
    }
    Ok(None)
}
