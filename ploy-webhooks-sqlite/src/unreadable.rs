//! Runs that cannot be read when it is their turn: they are taken out of the line, so that one
//! damaged row does not hold up all that stand behind it.

use ploy_webhooks::store::StoreError;
use ploy_webhooks::{RunState, Timestamp, WorkerName};
use rusqlite::{Connection, params};

use crate::error::is_of_a_row;
use crate::feed::Noted;

/// A run in line that cannot be handed out, and why.
pub(crate) struct Unreadable {
    place: i64,
    why: StoreError,
}

impl Unreadable {
    /// Sorts what is wrong with the rows of that run from what is wrong with the database, which
    /// is no reason to fail anything.
    pub(crate) fn or_failure(place: i64, why: StoreError) -> Result<Self, StoreError> {
        if is_of_a_row(&why) { Ok(Self { place, why }) } else { Err(why) }
    }

    /// Has it failed, with an attempt on record that says why; returns what is told of it.
    ///
    /// Attempts are counted by those on record: the run's own count may be what is damaged.
    pub(crate) fn fail(
        &self,
        connection: &Connection,
        worker: &WorkerName,
        now: Timestamp,
    ) -> rusqlite::Result<Noted> {
        let mut update = connection.prepare_cached(
            "-- unreadable()
             UPDATE runs SET state = ?2, due_at = ?3, attempt = 1 + min(?4,
                 coalesce((SELECT max(number) FROM attempts WHERE run = place), 0))
             WHERE place = ?1 RETURNING attempt",
        )?;
        let mut insert = connection.prepare_cached(
            "-- unreadable()
             INSERT OR REPLACE INTO attempts
                 (run, number, worker, started_at, ended_at, outcome, said)
             SELECT place, attempt, ?2, ?3, ?3, ?4, ?5 FROM runs WHERE place = ?1",
        )?;
        let (state, now) = (RunState::Failed.as_str(), now.as_millis());
        let values = params![self.place, state, now, u32::MAX - 1];
        let attempt = update.query_row(values, |row| row.get(0))?;
        let error = format!(
            "not carried out, because its record cannot be read: {}. Mend that row, or restore \
             the file from a backup, and requeue the run",
            self.why
        );
        insert.execute(params![self.place, worker.as_str(), now, state, error.as_bytes()])?;
        Ok(Noted { place: self.place, attempt, state: RunState::Failed })
    }
}
