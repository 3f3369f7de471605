//! [`RetentionStore`]: events that have been kept for long enough, removed behind the writes.
//!
//! A reader looks for them, block by block, as a search does, so the writer is given places and
//! looks at nothing else. It decides once more, in the transaction that removes them: whether the
//! endpoint is what the sweep takes it for, and whether all runs are over.
//!
//! Their pages are used again for what comes. A segment of the index goes with the last of its
//! events; but for the newest, which says what is indexed.

use async_trait::async_trait;
use ploy_webhooks::store::grams::{self, Probe};
use ploy_webhooks::store::{Expired, RetentionStore, StoreError, Sweep, SweepPlace};
use ploy_webhooks::{EventId, Fence, RunState};
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use crate::SqliteStore;
use crate::error::store_error;
use crate::index::{Block, ClosedBlocks, SegmentSpan, endpoint_term};
use crate::lane::OriginKey;
use crate::owed::{self, places_of};
use crate::search::passing;
use crate::task;

/// So many events are removed by one transaction, so that no batch waits long for it.
const EVENTS_AT_ONCE: usize = 256;
/// And of payloads so many bytes, and the last one: each of their pages is taken in hand.
const BYTES_AT_ONCE: u64 = 2 << 20;
/// So many stretches are looked at by one call.
const STRETCHES_AT_ONCE: usize = 64;
/// So many segments are opened by one call.
const SEGMENTS_AT_ONCE: usize = 1_024;
/// And so many deleted of which nothing was left before: each is more than a mebibyte.
const EMPTY_AT_ONCE: usize = 2;
/// What is in no block yet is looked at so many places a stretch.
const STRETCH_PLACES: i64 = 1_024;
/// About what a transaction adds to the log: where the events lie apart, a page each and its runs'.
const LOG_BYTES: usize = 2 << 20;

#[async_trait]
impl RetentionStore for SqliteStore {
    async fn expire(&self, sweep: &Sweep) -> Result<Expired, StoreError> {
        let Some(last) = sweep.last_at(self.clock.now()) else {
            return self.unless_fenced(sweep).await;
        };
        let (sweep, closed) = (*sweep, self.closed_blocks.clone());
        let look = move |connection: &mut Connection| {
            look(connection, &closed, &sweep, last)
                .map_err(|error| store_error("cannot look for old events", error))
        };
        let Some(found) = self.searches.read(look).await? else {
            return Ok(Expired::Fenced);
        };
        let next = found.next.map(place);
        if found.places.is_empty() && found.segments.is_empty() {
            return Ok(Expired::Swept { events: 0, next });
        }
        let work = move |connection: &mut Connection| {
            let removed = task::commit_unflushed(connection, |connection| {
                remove(connection, &sweep, &found)
            })?;
            Ok((removed, None))
        };
        let removed = task::give(&self.queue, LOG_BYTES, work)?.recv().await?;
        Ok(removed.map_or(Expired::Fenced, |events| Expired::Swept { events, next }))
    }
}

impl SqliteStore {
    /// What comes of a sweep that nothing is old enough for.
    async fn unless_fenced(&self, sweep: &Sweep) -> Result<Expired, StoreError> {
        let sweep = *sweep;
        let origin = self.look_ups.read(move |connection| {
            origin(connection, &sweep).map_err(|error| store_error("cannot read", error))
        });
        let nothing = Expired::Swept { events: 0, next: None };
        Ok(origin.await?.map_or(Expired::Fenced, |_| nothing))
    }
}

fn place(seq: i64) -> SweepPlace {
    SweepPlace::new(seq.unsigned_abs().into())
}

fn seq(place: SweepPlace) -> i64 {
    i64::try_from(place.get()).unwrap_or(i64::MAX)
}

/// Whose events are swept; `None` where the endpoint is not at that revision.
fn origin(connection: &Connection, sweep: &Sweep) -> rusqlite::Result<Option<OriginKey>> {
    let Some(Fence { endpoint, checked_at }) = sweep.endpoint else {
        return Ok(Some(OriginKey::Workspace(sweep.workspace)));
    };
    let mut select = connection.prepare_cached(
        "-- expire()
         SELECT number FROM endpoints WHERE id = ?1 AND workspace = ?2 AND revision = ?3",
    )?;
    let values = params![endpoint.as_bytes(), sweep.workspace.as_bytes(), checked_at.get()];
    let number = select.query_row(values, |row| row.get(0)).optional()?;
    Ok(number.map(OriginKey::Endpoint))
}

/// What a call has found to remove.
#[derive(Default)]
struct Found {
    places: Vec<i64>,
    bytes: u64,
    stretches: usize,
    /// The segments in which some of it lies, or nothing at all.
    segments: Vec<SegmentSpan>,
    next: Option<i64>,
}

/// Looks for events up to that id, from where the sweep goes on.
fn look(
    connection: &mut Connection,
    closed: &ClosedBlocks,
    sweep: &Sweep,
    last: EventId,
) -> rusqlite::Result<Option<Found>> {
    let probe = probe(sweep);
    // Before the snapshot: what becomes a segment in between is in both.
    let (in_memory, memory_end) = blocks_in_memory(closed, &probe);
    let snapshot = connection.transaction()?;
    let Some(origin) = origin(&snapshot, sweep)? else {
        return Ok(None);
    };
    let from = sweep.from.map_or(0, seq);
    let mut look =
        Look { select: select(&snapshot, origin)?, origin, from, last, found: Found::default() };
    let segments_end = look.look_at_segments(&snapshot, &probe)?;
    for block in in_memory.into_iter().filter(|block| block.first_seq > segments_end) {
        look.look_at(&block)?;
    }
    let tail = memory_end.max(segments_end) + 1;
    let end = snapshot
        .query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get::<_, i64>(0))?;
    for first in (tail.max(from)..=end).step_by(STRETCH_PLACES as usize) {
        look.look_between(first, end.min(first + STRETCH_PLACES - 1))?;
    }
    Ok(Some(look.found))
}

fn probe(sweep: &Sweep) -> Probe {
    let mut probe = Probe::new();
    match sweep.endpoint {
        Some(fence) => probe.add_term(endpoint_term(fence.endpoint.as_bytes())),
        None => probe.add_term(grams::workspace_term(&sweep.workspace)),
    }
    probe
}

/// Blocks in memory that may hold what is swept, and the last event of all that are in memory.
fn blocks_in_memory(closed: &ClosedBlocks, probe: &Probe) -> (Vec<Block>, i64) {
    let closed = closed.lock();
    let passing = closed.iter().filter(|closed| closed.filter.may_hold(probe));
    (
        passing.map(|closed| closed.block).collect(),
        closed.last().map_or(0, |closed| closed.block.last_seq),
    )
}

fn select(connection: &Connection, origin: OriginKey) -> rusqlite::Result<CachedStatement<'_>> {
    connection.prepare_cached(match origin {
        OriginKey::Endpoint(_) => {
            "-- expire()
             SELECT seq, length(payload) FROM events
             WHERE seq BETWEEN ?1 AND ?2 AND endpoint = ?3 AND id <= ?4 ORDER BY seq"
        }
        OriginKey::Workspace(_) => {
            "-- expire()
             SELECT seq, length(payload) FROM events
             WHERE seq BETWEEN ?1 AND ?2 AND endpoint IS NULL AND workspace = ?3 AND id <= ?4
             ORDER BY seq"
        }
    })
}

/// A look through the blocks, in the order of the commits.
struct Look<'snapshot> {
    select: CachedStatement<'snapshot>,
    origin: OriginKey,
    from: i64,
    last: EventId,
    found: Found,
}

impl Look<'_> {
    /// Looks at the blocks of segments that may hold what is swept; says where segments end.
    fn look_at_segments(&mut self, snapshot: &Connection, probe: &Probe) -> rusqlite::Result<i64> {
        let mut select = snapshot.prepare_cached(
            "-- expire()
             SELECT number, last_seq, blocks FROM segments
             WHERE last_seq >= ?1 AND min_id <= ?2 ORDER BY number",
        )?;
        let mut rows = select.query(params![self.from, self.last.as_bytes()])?;
        let mut opened = 0;
        while self.found.next.is_none()
            && let Some(row) = rows.next()?
        {
            let (number, last_seq): (i64, i64) = (row.get(0)?, row.get(1)?);
            let mask = passing(snapshot, number, probe)?;
            let before = self.found.places.len();
            let mut first_seq = last_seq;
            for (bit, block) in Block::read_all(row.get_ref(2)?.as_blob()?).enumerate() {
                first_seq = first_seq.min(block.first_seq);
                if mask & (1 << bit) != 0 {
                    self.look_at(&block)?;
                }
            }
            let segment = SegmentSpan { number, first_seq, last_seq };
            // One that was the newest when the last of it went is found here, when it is not.
            let has_some = self.found.places.len() > before;
            let has_room = self.found.segments.len() < EMPTY_AT_ONCE;
            if has_some || (has_room && segment.is_empty(snapshot)?) {
                self.found.segments.push(segment);
            }
            opened += 1;
            if opened == SEGMENTS_AT_ONCE {
                self.found.next = self.found.next.or(Some(last_seq + 1));
            }
        }
        snapshot.query_row("SELECT coalesce(max(last_seq), 0) FROM segments", [], |row| row.get(0))
    }

    fn look_at(&mut self, block: &Block) -> rusqlite::Result<()> {
        if block.min_id > self.last || block.last_seq < self.from {
            return Ok(());
        }
        self.look_between(block.first_seq.max(self.from), block.last_seq)
    }

    /// Looks at what lies between these places, or, where it has found enough, says that the sweep
    /// goes on there.
    fn look_between(&mut self, first: i64, last: i64) -> rusqlite::Result<()> {
        let found = &mut self.found;
        if found.next.is_some() {
            return Ok(());
        }
        if found.stretches == STRETCHES_AT_ONCE {
            found.next = Some(first);
            return Ok(());
        }
        found.stretches += 1;
        let mut rows = match &self.origin {
            OriginKey::Endpoint(number) => {
                self.select.query(params![first, last, number, self.last.as_bytes()])
            }
            OriginKey::Workspace(id) => {
                self.select.query(params![first, last, id.as_bytes(), self.last.as_bytes()])
            }
        }?;
        while let Some(row) = rows.next()? {
            let seq = row.get(0)?;
            if found.places.len() == EVENTS_AT_ONCE || found.bytes >= BYTES_AT_ONCE {
                found.next = Some(seq);
                return Ok(());
            }
            found.places.push(seq);
            found.bytes += row.get::<_, u64>(1)?;
        }
        Ok(())
    }
}

/// Removes those whose runs are over; how many. `None` where the endpoint has changed since they
/// were found.
fn remove(connection: &Connection, sweep: &Sweep, found: &Found) -> rusqlite::Result<Option<u64>> {
    let Some(origin) = origin(connection, sweep)? else {
        return Ok(None);
    };
    owed::file(connection)?;
    let mut removal = Removal::begin(connection, origin)?;
    let mut removed = 0;
    for seq in &found.places {
        removed += removal.remove(*seq)?;
    }
    let mut empty = 0;
    for segment in &found.segments {
        // What is left is found empty by a later look.
        if empty < EMPTY_AT_ONCE && segment.is_empty(connection)? {
            segment.delete(connection)?;
            empty += 1;
        }
    }
    Ok(Some(removed))
}

/// The statements that remove an event.
struct Removal<'transaction> {
    origin: OriginKey,
    select_unfinished: CachedStatement<'transaction>,
    delete_attempts: CachedStatement<'transaction>,
    delete_runs: CachedStatement<'transaction>,
    delete_event: CachedStatement<'transaction>,
}

impl<'transaction> Removal<'transaction> {
    fn begin(connection: &'transaction Connection, origin: OriginKey) -> rusqlite::Result<Self> {
        Ok(Self {
            origin,
            select_unfinished: connection.prepare_cached(
                "-- expire()
                 SELECT state FROM runs WHERE place BETWEEN ?1 AND ?2",
            )?,
            delete_attempts: connection.prepare_cached(
                "-- expire()
                 DELETE FROM attempts WHERE run BETWEEN ?1 AND ?2",
            )?,
            delete_runs: connection.prepare_cached(
                "-- expire()
                 DELETE FROM runs WHERE place BETWEEN ?1 AND ?2",
            )?,
            // That it is theirs is looked at once more: it costs nothing.
            delete_event: connection.prepare_cached(match origin {
                OriginKey::Endpoint(_) => {
                    "-- expire()
                     DELETE FROM events WHERE seq = ?1 AND endpoint = ?2"
                }
                OriginKey::Workspace(_) => {
                    "-- expire()
                     DELETE FROM events WHERE seq = ?1 AND endpoint IS NULL AND workspace = ?2"
                }
            })?,
        })
    }

    /// How many events went: one, or none.
    fn remove(&mut self, seq: i64) -> rusqlite::Result<u64> {
        let places = places_of(seq);
        let runs = params![places.start(), places.end()];
        let mut states = self.select_unfinished.query(runs)?;
        let mut owed = 0;
        while let Some(row) = states.next()? {
            owed += 1;
            let state = RunState::from_name(row.get_ref(0)?.as_str()?);
            if state.is_none_or(RunState::is_in_line) {
                return Ok(0);
            }
        }
        drop(states);
        if owed > 0 {
            self.delete_attempts.execute(runs)?;
            self.delete_runs.execute(runs)?;
        }
        let removed = match &self.origin {
            OriginKey::Endpoint(number) => self.delete_event.execute(params![seq, number]),
            OriginKey::Workspace(id) => self.delete_event.execute(params![seq, id.as_bytes()]),
        };
        Ok(removed? as u64)
    }
}
