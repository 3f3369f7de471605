//! [`FeedStore`]: events and what becomes of runs, in the order of the commits.
//!
//! One thread writes, so the places of events are that order, and what is told of them costs nothing.
//! What a commit does to runs is noted beside them in one row, which says between which events it
//! stands. A position is a place and the number of such a row: all up to both was told.

use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use ploy_webhooks::store::{
    Change, Changes, FeedQuery, FeedStore, Position, RunChange, StoreError, StoreErrorKind,
};
use ploy_webhooks::{EventId, EventSummary, RunId, RunState, WorkspaceId};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};
use tokio::time::timeout;

use crate::SqliteStore;
use crate::error::{corrupt, store_error};
use crate::events::{self, Origins};
use crate::runs::is_of;

/// So many rows about runs are kept: each is a claim, or what ended at the same time.
const KEPT_MAX: i64 = 1 << 16;
/// They are forgotten so many at a time.
const FORGOTTEN_AT_ONCE: i64 = 1 << 10;
/// A page looks at no more events and rows than this: those of other workspaces lie between.
const LOOKED_AT_MAX: usize = 1_024;

/// What has become of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noted {
    pub(crate) place: i64,
    pub(crate) attempt: u32,
    pub(crate) state: RunState,
}

impl Noted {
    const BYTES: usize = 13;

    fn to_bytes(self) -> Option<[u8; Self::BYTES]> {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.place.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.attempt.to_be_bytes());
        bytes[12] = letter_of(self.state)?;
        Some(bytes)
    }

    fn of_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let (place, rest) = bytes.split_first_chunk()?;
        let (attempt, letter) = rest.split_first_chunk()?;
        Some(Self {
            place: i64::from_be_bytes(*place),
            attempt: u32::from_be_bytes(*attempt),
            state: RunState::ALL.into_iter().find(|state| letter_of(*state) == Some(letter[0]))?,
        })
    }
}

/// What a state is called in a row. `None` for one that this version does not know, in which no run
/// is.
const fn letter_of(state: RunState) -> Option<u8> {
    Some(match state {
        RunState::Queued => b'q',
        RunState::Running => b'r',
        RunState::Retrying => b'w',
        RunState::Succeeded => b's',
        RunState::Failed => b'f',
        RunState::Cancelled => b'c',
        _ => return None,
    })
}

/// Notes what the transaction does to runs.
pub(crate) fn note(connection: &Connection, noted: &[Noted]) -> rusqlite::Result<()> {
    let runs: Vec<_> = noted.iter().filter_map(|noted| noted.to_bytes()).collect();
    if runs.is_empty() {
        return Ok(());
    }
    let mut insert = connection.prepare_cached(
        "-- note()
         INSERT INTO changes (seq, runs) SELECT coalesce(max(seq), 0), ?1 FROM events",
    )?;
    insert.execute(params![runs.as_flattened()])?;
    let number = connection.last_insert_rowid();
    if number % FORGOTTEN_AT_ONCE == 0 {
        let mut delete =
            connection.prepare_cached("-- note()\n DELETE FROM changes WHERE number <= ?1")?;
        delete.execute(params![number - KEPT_MAX])?;
    }
    Ok(())
}

#[async_trait]
impl FeedStore for SqliteStore {
    async fn changes(&self, query: &FeedQuery) -> Result<Changes, StoreError> {
        let (query, at) = (query.clone(), At::of(&query.after)?);
        self.look_ups.read(move |connection| changes(connection, &query, at)).await
    }

    async fn end(&self) -> Result<Position, StoreError> {
        let end = |connection: &mut Connection| Ok(Kept::read(connection).map_err(failed)?.end);
        Ok(self.look_ups.read(end).await?.position())
    }

    async fn changed(&self, after: &Position, at_most: Duration) -> Result<(), StoreError> {
        let after = At::of(after)?;
        let until_changed = async {
            loop {
                let mut fed = pin!(self.line.fed.notified());
                // From here on nothing is missed.
                fed.as_mut().enable();
                let end =
                    |connection: &mut Connection| Ok(Kept::read(connection).map_err(failed)?.end);
                if !self.look_ups.read(end).await?.is_where(after) {
                    return Ok(());
                }
                fed.await;
            }
        };
        // Nothing was changed in time, which is an answer too.
        timeout(at_most, until_changed).await.unwrap_or(Ok(()))
    }
}

/// A place in the feed: behind that event and that row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct At {
    /// That of the file: a copy has another, since what comes after it has the same places.
    epoch: i64,
    seq: i64,
    number: i64,
    /// Up to which event it was said that some are gone.
    told: i64,
}

impl At {
    fn of(position: &Position) -> Result<Self, StoreError> {
        let read = || {
            let (numbers, rest) = position.as_bytes().as_chunks();
            let [epoch, seq, number, told] = *<&[[u8; 8]; 4]>::try_from(numbers).ok()?;
            let [epoch, seq, number, told] = [epoch, seq, number, told].map(i64::from_be_bytes);
            let is_one = rest.is_empty() && seq >= 0 && number >= 0 && told >= 0;
            is_one.then_some(Self { epoch, seq, number, told })
        };
        read().ok_or_else(|| {
            StoreError::new(StoreErrorKind::Misuse, "the position is none of a SQLite store")
        })
    }

    fn position(self) -> Position {
        let Self { epoch, seq, number, told } = self;
        Position::from_bytes([epoch, seq, number, told].map(i64::to_be_bytes).concat())
    }

    /// Whether it is the same place, whatever was said there.
    fn is_where(self, other: Self) -> bool {
        Self { told: other.told, ..self } == other
    }
}

/// How far the feed reaches.
struct Kept {
    /// Some of what is up to there is gone.
    from: At,
    end: At,
}

impl Kept {
    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut select = connection.prepare_cached(
            "-- changes()
             SELECT seq, (SELECT max(seq) FROM events), (SELECT min(number) FROM changes),
                 (SELECT max(number) FROM changes), epoch
             FROM forgotten",
        )?;
        select.query_row([], |row| {
            let (forgotten, last): (i64, Option<i64>) = (row.get(0)?, row.get(1)?);
            let (first_row, last_row): (Option<i64>, Option<i64>) = (row.get(2)?, row.get(3)?);
            let (epoch, told) = (row.get(4)?, forgotten);
            let number = first_row.map_or(0, |number| number - 1);
            let from = At { epoch, seq: forgotten, number, told };
            let (seq, number) = (last.unwrap_or(0).max(forgotten), last_row.unwrap_or(0));
            Ok(Self { from, end: At { epoch, seq, number, told } })
        })
    }

    /// Whether what follows that place is here, or what is not was said already; and it is a place
    /// of this file.
    fn follows(&self, at: At) -> bool {
        at.seq.max(at.told) >= self.from.seq && at.number >= self.from.number && self.reaches(at)
    }

    const fn reaches(&self, at: At) -> bool {
        at.epoch == self.end.epoch && at.seq <= self.end.seq && at.number <= self.end.number
    }
}

fn changes(
    connection: &mut Connection,
    query: &FeedQuery,
    asked: At,
) -> Result<Changes, StoreError> {
    let snapshot = connection.transaction().map_err(failed)?;
    let kept = Kept::read(&snapshot).map_err(failed)?;
    // A file that was put back from a backup is another, or has not come as far: what is there from now
    // on is told.
    let mut at = if kept.reaches(asked) { asked } else { kept.end };
    at.number = at.number.max(kept.from.number);
    at.told = kept.from.seq;
    let mut telling = Telling::begin(&snapshot, query, at).map_err(failed)?;
    let is_end = telling.tell()?;
    let Telling { items, mut at, .. } = telling;
    if is_end {
        at.seq = at.seq.max(kept.end.seq);
    }
    Ok(Changes { items, next: at.position(), has_more: !is_end, has_gap: !kept.follows(asked) })
}

/// A page, as it is told.
struct Telling<'snapshot> {
    query: &'snapshot FeedQuery,
    events: CachedStatement<'snapshot>,
    rows: CachedStatement<'snapshot>,
    run: CachedStatement<'snapshot>,
    origins: Origins<'snapshot>,
    at: At,
    items: Vec<Change>,
    looked_at: usize,
}

impl<'snapshot> Telling<'snapshot> {
    fn begin(
        snapshot: &'snapshot Connection,
        query: &'snapshot FeedQuery,
        at: At,
    ) -> rusqlite::Result<Self> {
        Ok(Self {
            query,
            events: snapshot.prepare_cached(
                "-- changes()
                 SELECT seq, id, endpoint, workspace, type, source, length(payload) FROM events
                 WHERE seq > ?1 AND seq <= ?2 ORDER BY seq",
            )?,
            rows: snapshot.prepare_cached(
                "-- changes()
                 SELECT number, seq, runs FROM changes WHERE number > ?1 ORDER BY number LIMIT 1",
            )?,
            run: snapshot.prepare_cached(
                "-- changes()
                 SELECT r.id, e.id, e.endpoint, e.workspace FROM runs AS r
                 JOIN events AS e ON e.seq = r.place >> 20 WHERE r.place = ?1",
            )?,
            origins: Origins::new(snapshot)?,
            at,
            items: Vec::new(),
            looked_at: 0,
        })
    }

    fn is_full(&self) -> bool {
        self.items.len() >= self.query.limit.get() || self.looked_at >= LOOKED_AT_MAX
    }

    /// Tells row after row, each after the events before it. Whether that was all.
    fn tell(&mut self) -> Result<bool, StoreError> {
        loop {
            let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            let row = self.rows.query_row(params![self.at.number], read).optional();
            let row: Option<(i64, i64, Vec<u8>)> = row.map_err(failed)?;
            let before = row.as_ref().map_or(i64::MAX, |(_, seq, _)| *seq);
            if !self.tell_events(before)? || (row.is_some() && self.is_full()) {
                return Ok(false);
            }
            let Some((number, _, runs)) = row else { return Ok(true) };
            self.tell_runs(number, &runs)?;
            self.at.number = number;
        }
    }

    /// Tells the events up to that place. Whether those were all.
    fn tell_events(&mut self, up_to: i64) -> Result<bool, StoreError> {
        let Self { query, events, origins, at, items, looked_at, .. } = self;
        let mut rows = events.query(params![at.seq, up_to]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            if items.len() >= query.limit.get() || *looked_at >= LOOKED_AT_MAX {
                return Ok(false);
            }
            *looked_at += 1;
            at.seq = row.get(0).map_err(failed)?;
            items.extend(told(row, origins, query.workspace)?);
        }
        Ok(true)
    }

    fn tell_runs(&mut self, number: i64, runs: &[u8]) -> Result<(), StoreError> {
        let (runs, rest) = runs.as_chunks();
        if !rest.is_empty() {
            return Err(corrupt("changes", "runs", number));
        }
        for bytes in runs {
            let noted = Noted::of_bytes(bytes).ok_or_else(|| corrupt("changes", "runs", number))?;
            self.looked_at += 1;
            let change = self.run_change(noted).map_err(failed)?;
            self.items.extend(change.map(Change::Run));
        }
        Ok(())
    }

    /// What has become of that run, if it is the workspace's and still there.
    fn run_change(&mut self, noted: Noted) -> rusqlite::Result<Option<RunChange>> {
        let mut rows = self.run.query(params![noted.place])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let origin = self.origins.of(row, 2, 3)?;
        if !is_of(origin, self.query.workspace) {
            return Ok(None);
        }
        Ok(Some(RunChange {
            run: RunId::from_bytes(row.get(0)?),
            event: EventId::from_bytes(row.get(1)?),
            endpoint: origin.and_then(|origin| origin.endpoint),
            state: noted.state,
            attempt: noted.attempt,
        }))
    }
}

/// The event of that row, if it is the workspace's.
fn told(
    row: &Row<'_>,
    origins: &mut Origins<'_>,
    workspace: WorkspaceId,
) -> Result<Option<Change>, StoreError> {
    let origin = origins.of(row, 2, 3).map_err(failed)?;
    let Some(origin) = origin.filter(|_| is_of(origin, workspace)) else {
        return Ok(None);
    };
    let seq = row.get(0).map_err(failed)?;
    Ok(Some(Change::Accepted(EventSummary {
        id: EventId::from_bytes(row.get(1).map_err(failed)?),
        endpoint: origin.endpoint,
        event_type: events::event_type(row, 4, seq)?,
        source: events::source(row, 5, seq)?,
        size: row.get(6).map_err(failed)?,
    })))
}

fn failed(error: rusqlite::Error) -> StoreError {
    store_error("cannot read what has happened", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::database::MIGRATIONS;

    fn tables() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        MIGRATIONS.iter().for_each(|migration| connection.execute_batch(migration).unwrap());
        connection
    }

    fn read(connection: &mut Connection, at: At) -> Changes {
        let query = FeedQuery::after(WorkspaceId::DEFAULT, at.position());
        changes(connection, &query, at).unwrap()
    }

    /// A place of that file.
    fn place(connection: &Connection, seq: i64, number: i64) -> At {
        At { seq, number, told: 0, ..Kept::read(connection).unwrap().end }
    }

    fn add_event(connection: &Connection, seq: i64) {
        let workspace = WorkspaceId::DEFAULT;
        connection
            .execute(
                "INSERT INTO events (seq, id, workspace, payload) VALUES (?1, ?2, ?3, x'7b7d')",
                params![seq, [7_u8; 16], workspace.as_bytes()],
            )
            .unwrap();
    }

    #[test]
    fn rows_are_forgotten_and_who_asks_for_them_is_told_so() {
        let mut connection = tables();
        let noted = Noted { place: 1 << 20, attempt: 1, state: RunState::Running };
        let transaction = connection.transaction().unwrap();
        for _ in 0..KEPT_MAX + FORGOTTEN_AT_ONCE {
            note(&transaction, &[noted]).unwrap();
        }
        transaction.commit().unwrap();
        let kept = Kept::read(&connection).unwrap();
        assert_eq!(kept.end.number - kept.from.number, KEPT_MAX, "left: how many are kept");
        let begin = place(&connection, 0, 0);
        assert!(read(&mut connection, begin).has_gap);
        assert!(!read(&mut connection, kept.from).has_gap);
        assert!(!read(&mut connection, kept.end).has_gap);
    }

    #[test]
    fn what_is_deleted_before_it_is_told_is_a_gap_and_the_rest_is_told() {
        let mut connection = tables();
        (1..=4).for_each(|seq| add_event(&connection, seq));
        connection.execute("DELETE FROM events WHERE seq IN (2, 4)", []).unwrap();
        let first = place(&connection, 1, 0);
        let page = read(&mut connection, first);
        assert!(page.has_gap, "the second is gone");
        assert_eq!(page.items.len(), 1, "left: how many are told");
        let end = At::of(&page.next).unwrap();
        assert_eq!(end, Kept::read(&connection).unwrap().end, "left: where it ends");
        assert!(!read(&mut connection, end).has_gap, "it was said");
    }

    #[test]
    fn a_place_that_the_file_has_not_reached_is_a_gap() {
        let mut connection = tables();
        add_event(&connection, 1);
        for beyond in [place(&connection, 2, 0), place(&connection, 1, 1)] {
            let page = read(&mut connection, beyond);
            assert!(page.has_gap, "{beyond:?}");
            assert!(At::of(&page.next).unwrap().is_where(place(&connection, 1, 0)), "{page:?}");
        }
    }

    #[test]
    fn a_place_of_another_file_is_a_gap() {
        let mut connection = tables();
        (1..=3).for_each(|seq| add_event(&connection, seq));
        let second = place(&connection, 2, 0);
        assert!(!read(&mut connection, second).has_gap);
        let copied = At { epoch: second.epoch.wrapping_add(1), ..second };
        assert!(read(&mut connection, copied).has_gap);
    }

    #[test]
    fn a_gap_is_said_once() {
        let mut connection = tables();
        (1..=4).for_each(|seq| add_event(&connection, seq));
        connection.execute("DELETE FROM events WHERE seq = 3", []).unwrap();
        let first = place(&connection, 1, 0);
        let page = read(&mut connection, first);
        assert!(page.has_gap);
        let told = At { seq: 1, ..At::of(&page.next).unwrap() };
        assert!(!read(&mut connection, told).has_gap, "of what is behind the first, it was said");
        connection.execute("DELETE FROM events WHERE seq = 4", []).unwrap();
        assert!(read(&mut connection, told).has_gap, "more is gone");
    }

    #[test]
    fn what_is_noted_is_read_again() {
        for state in RunState::ALL {
            let noted = Noted { place: 7 << 20, attempt: 3, state };
            let bytes = noted.to_bytes().expect("every state has a letter");
            let read = Noted::of_bytes(&bytes).expect("it is one");
            assert_eq!((read.place, read.attempt, read.state), (7 << 20, 3, state));
        }
        assert!(Noted::of_bytes(&[b'x'; 13]).is_none());
    }
}
