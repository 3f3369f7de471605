//! Runs on their way into the tables: those that come with an event arrive in `owed`, which has
//! no index, and are filed under `runs` many at a time, which costs a third.
//!
//! The writer files them when there are many, and before whatever it does to runs: so only who
//! reads has to look into both tables. Runs that are added to a stored event are filed at once.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use ploy_webhooks::store::{StoreError, StoreErrorKind};
use ploy_webhooks::{NewRun, RunId, RunState, Timestamp};
use rusqlite::{CachedStatement, Connection, params};

use crate::feed::{self, Noted};
use crate::lane::OriginKey;
use crate::triggers::TriggerNumbers;

/// So many runs are filed at once, if nobody asks for it sooner. More, and a look-up that reads
/// them takes longer; fewer, and more pages are written for each.
pub(crate) const OWED_MAX: usize = 2_048;

/// How much of a run's place is its number among those of its event.
pub(crate) const NUMBER_BITS: u32 = 20;
/// How many runs an event can owe.
const RUNS_OF_EVENT_MAX: i64 = 1 << NUMBER_BITS;

/// The places of the runs that the event at that place owes.
pub(crate) fn places_of(seq: i64) -> RangeInclusive<i64> {
    let first = seq << NUMBER_BITS;
    first..=first + (RUNS_OF_EVENT_MAX - 1)
}

/// The place of the event that owes the run at that place.
pub(crate) const fn seq_of(place: i64) -> i64 {
    place >> NUMBER_BITS
}

/// Why an event cannot owe these runs, besides `owing` that it owes already; `None` where it can.
pub(crate) fn refusal(runs: &[NewRun], owing: &HashSet<RunId>) -> Option<StoreError> {
    // Nearly every event owes one, which is nobody's double.
    if runs.len() <= 1 && owing.is_empty() {
        return None;
    }
    let misuse = |message| Some(StoreError::new(StoreErrorKind::Misuse, message));
    let mut ids = HashSet::new();
    if !runs.iter().all(|run| !owing.contains(&run.id) && ids.insert(run.id)) {
        return misuse("the event owes a run of that id already");
    }
    if runs.len() + owing.len() > RUNS_OF_EVENT_MAX as usize {
        return misuse("an event owes 1,048,576 runs at most");
    }
    None
}

/// Writes runs that come with their events.
pub(crate) struct Arrivals<'batch> {
    connection: &'batch Connection,
    insert: CachedStatement<'batch>,
    triggers: &'batch mut TriggerNumbers,
    pub(crate) count: usize,
}

impl<'batch> Arrivals<'batch> {
    pub(crate) fn begin(
        connection: &'batch Connection,
        triggers: &'batch mut TriggerNumbers,
    ) -> rusqlite::Result<Self> {
        let insert = connection.prepare_cached(
            "-- append()
             INSERT INTO owed (place, id, trigger, lane, created_at, due_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        Ok(Self { connection, insert, triggers, count: 0 })
    }

    /// Writes the runs of an event that is written in the same transaction.
    pub(crate) fn write(
        &mut self,
        runs: &[NewRun],
        seq: i64,
        origin: OriginKey,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        for (place, run) in places_of(seq).zip(runs) {
            self.insert.execute(params![
                place,
                run.id.as_bytes(),
                self.triggers.of(self.connection, &run.trigger)?,
                origin.lane(&run.trigger),
                now.as_millis(),
                (!run.delay.is_zero()).then(|| now.after(run.delay).as_millis()),
            ])?;
        }
        self.count += runs.len();
        Ok(())
    }
}

/// How many runs have arrived and are not filed.
pub(crate) fn count(connection: &Connection) -> rusqlite::Result<usize> {
    connection.query_row("SELECT count(*) FROM owed", [], |row| row.get(0))
}

/// Files whatever has arrived.
pub(crate) fn file(connection: &Connection) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "-- file()
         INSERT INTO runs (place, id, trigger, lane, state, attempt, created_at, due_at)
         SELECT place, id, trigger, lane, 'queued', 0, created_at, coalesce(due_at, created_at)
         FROM owed",
    )?;
    if insert.execute([])? > 0 {
        connection.prepare_cached("-- file()\n DELETE FROM owed")?.execute([])?;
    }
    Ok(())
}

/// Adds runs to a stored event, of whose runs all are filed; or says why it cannot owe them.
pub(crate) fn add(
    connection: &Connection,
    runs: &[NewRun],
    seq: i64,
    origin: OriginKey,
    now: Timestamp,
) -> rusqlite::Result<Result<(), StoreError>> {
    let places = places_of(seq);
    let mut select = connection.prepare_cached(
        "-- enqueue()
         SELECT place, id FROM runs WHERE place BETWEEN ?1 AND ?2 ORDER BY place",
    )?;
    let owing = select.query_map(params![places.start(), places.end()], |row| {
        Ok((row.get::<_, i64>(0)?, RunId::from_bytes(row.get(1)?)))
    })?;
    let owing = owing.collect::<rusqlite::Result<Vec<_>>>()?;
    // Runs of an event go together or not at all: what is taken is taken from the start.
    let next = owing.last().map_or(*places.start(), |(place, _)| place + 1);
    let owing = owing.into_iter().map(|(_, id)| id).collect();
    if let Some(refusal) = refusal(runs, &owing) {
        return Ok(Err(refusal));
    }
    let mut triggers = TriggerNumbers::default();
    let mut insert = connection.prepare_cached(
        "-- enqueue()
         INSERT INTO runs (place, id, trigger, lane, state, attempt, created_at, due_at)
         VALUES (?1, ?2, ?3, ?4, 'queued', 0, ?5, ?6)",
    )?;
    let mut added = Vec::with_capacity(runs.len());
    for (place, run) in (next..=*places.end()).zip(runs) {
        insert.execute(params![
            place,
            run.id.as_bytes(),
            triggers.of(connection, &run.trigger)?,
            origin.lane(&run.trigger),
            now.as_millis(),
            now.after(run.delay).as_millis(),
        ])?;
        added.push(Noted { place, attempt: 0, state: RunState::Queued });
    }
    feed::note(connection, &added)?;
    Ok(Ok(()))
}
