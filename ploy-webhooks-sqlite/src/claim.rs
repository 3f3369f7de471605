//! A claim: a walk from lane to lane, by seeks in the index of the line, so that what waits in a
//! full lane costs nothing, however much it is.
//!
//! The lane of a destination lies there in pieces (see `lane.rs`): the walk comes to the first of
//! them, and then goes past all others, or gathers them where there is room.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use ploy_webhooks::store::{Lanes, StoreError};
use ploy_webhooks::{
    Event, EventId, Lane, Lease, LeasedRun, RunId, RunState, Timestamp, WorkerName,
};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use crate::error::{corrupt, store_error};
use crate::events::{Origin, Origins, event_type, headers, source};
use crate::feed::{self, Noted};
use crate::lane::LaneKey;
use crate::owed::{self, NUMBER_BITS, seq_of};
use crate::triggers::TriggersRead;
use crate::unreadable::Unreadable;

/// A claim holds no more payload than this, but for the one that takes it past it: the caller
/// gets the rest by its next claim.
const CLAIM_BYTES_MAX: usize = 8 << 20;
/// A claim takes no more runs than this, so that no batch of events waits long for it.
const CLAIM_RUNS_MAX: usize = 1_024;
/// So many runs that cannot be read are taken out of a lane before it is looked at again.
const UNREADABLE_AT_ONCE: usize = 64;
/// So many lanes are looked at before a batch of events passes, the pieces of destinations' lanes
/// each for itself. The last one may have more of them.
const LANES_AT_ONCE: usize = 1_024;

/// A run in this state may be claimed, now or later. To be written as it is: this is how SQLite
/// knows that the index of the line is meant.
macro_rules! is_in_line {
    () => {
        "state IN ('queued', 'running', 'retrying')"
    };
}

const NEXT_LANE: &str = concat!(
    "-- claim()
     SELECT lane, due_at FROM runs INDEXED BY runs_in_line WHERE ",
    is_in_line!(),
    " AND lane > ?1 ORDER BY lane, due_at LIMIT 1"
);

const NEXT_LANE_UP_TO: &str = concat!(
    "-- claim()
     SELECT lane, due_at FROM runs INDEXED BY runs_in_line WHERE ",
    is_in_line!(),
    " AND lane > ?1 AND lane <= ?2 ORDER BY lane, due_at LIMIT 1"
);

/// What is due in a lane.
const DUE: &str = concat!(
    "-- claim()
     SELECT r.place, r.id, r.trigger, r.attempt, r.state,
         e.id, e.type, e.source, e.headers, e.payload
     FROM runs AS r INDEXED BY runs_in_line
     LEFT JOIN events AS e ON e.seq = r.place >> 20
     WHERE r.",
    is_in_line!(),
    " AND r.lane = ?1 AND r.due_at <= ?2 ORDER BY r.due_at LIMIT ?3"
);

/// The lane that a claim ended with: the next one begins after it.
#[derive(Debug)]
pub(crate) struct LastServed(Mutex<LaneKey>);

impl Default for LastServed {
    fn default() -> Self {
        Self(Mutex::new(LaneKey::BEFORE_ALL))
    }
}

impl LastServed {
    fn get(&self) -> LaneKey {
        *self.0.lock().expect("no holder of the lock panics")
    }

    fn set(&self, lane: LaneKey) {
        *self.0.lock().expect("no holder of the lock panics") = lane;
    }
}

/// The lanes of the line, each once, beginning after one of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// The end of a lane: no lane is cut in two.
    begin: LaneKey,
    at: LaneKey,
    /// Whether it goes through those that come before its beginning.
    is_second_half: bool,
}

impl Round {
    fn after(lane: LaneKey) -> Self {
        Self { begin: lane, at: lane, is_second_half: false }
    }
}

/// Walks through the line from lane to lane.
pub(crate) struct LaneWalk<'connection> {
    next: CachedStatement<'connection>,
    next_up_to: CachedStatement<'connection>,
    origins: Origins<'connection>,
    pub(crate) round: Round,
}

/// Those in a lane who came from one place, an endpoint that is not deleted or a workspace: all
/// of them, where the lane is no destination's.
pub(crate) struct Piece {
    pub(crate) key: LaneKey,
    pub(crate) lane: Lane,
    pub(crate) origin: Origin,
    /// When the first of it may be claimed.
    pub(crate) due_at: Timestamp,
}

impl Piece {
    fn new(key: LaneKey, origin: Origin, due_at: Timestamp) -> Self {
        Self { key, lane: key.lane(origin), origin, due_at }
    }
}

impl<'connection> LaneWalk<'connection> {
    pub(crate) fn begin(
        connection: &'connection Connection,
        round: Round,
    ) -> rusqlite::Result<Self> {
        let next = connection.prepare_cached(NEXT_LANE)?;
        let next_up_to = connection.prepare_cached(NEXT_LANE_UP_TO)?;
        Ok(Self { next, next_up_to, origins: Origins::new(connection)?, round })
    }

    /// The next lane, or the next piece of it; `Some(None)` where its endpoint is deleted and the
    /// purge has not come to it yet, and `None` at the end of the round.
    fn step(&mut self) -> rusqlite::Result<Option<Option<Piece>>> {
        let mut found = None;
        if !self.round.is_second_half {
            found = self.next.query_row(params![self.round.at], lane_and_due).optional()?;
            if found.is_none() {
                self.round.is_second_half = true;
                self.round.at = LaneKey::BEFORE_ALL;
            }
        }
        if self.round.is_second_half {
            let values = params![self.round.at, self.round.begin];
            found = self.next_up_to.query_row(values, lane_and_due).optional()?;
        }
        let Some((key, due_at)) = found else {
            return Ok(None);
        };
        self.round.at = key;
        let origin = self.origins.of_lane(key)?;
        Ok(Some(origin.map(|origin| Piece::new(key, origin, due_at))))
    }

    /// Goes past the lane of that piece, to which it has come.
    const fn pass(&mut self, piece: &Piece) {
        self.round.at = piece.key.end_of_lane();
    }

    /// Goes past the lane of that piece, to which it has come, and gathers what pieces of it have
    /// somebody due, that one too: who has waited longest comes first. Says how many there are.
    fn gather(
        &mut self,
        piece: Piece,
        now: Timestamp,
        pieces: &mut Vec<Piece>,
    ) -> rusqlite::Result<usize> {
        let (mut at, end, mut count) = (piece.key, piece.key.end_of_lane(), 1);
        self.pass(&piece);
        pieces.clear();
        pieces.extend(Some(piece).filter(|piece| piece.due_at <= now));
        while at != end {
            let next = self.next_up_to.query_row(params![at, end], lane_and_due).optional()?;
            let Some((key, due_at)) = next else { break };
            (at, count) = (key, count + 1);
            if due_at <= now
                && let Some(origin) = self.origins.of_lane(key)?
            {
                pieces.push(Piece::new(key, origin, due_at));
            }
        }
        pieces.sort_by_key(|piece| piece.due_at);
        Ok(count)
    }
}

fn lane_and_due(row: &Row<'_>) -> rusqlite::Result<(LaneKey, Timestamp)> {
    Ok((row.get(0)?, Timestamp::from_millis(row.get(1)?)))
}

impl LaneKey {
    /// The lane that is kept so, of what came from there.
    fn lane(self, origin: Origin) -> Lane {
        self.destination.map_or_else(|| origin.lane(), Lane::Destination)
    }
}

/// When the first may be claimed that stands in a lane with room; no later than `now`, one will
/// do that is not the first.
pub(crate) fn next_due(
    connection: &mut Connection,
    lanes: &Lanes,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let snapshot = connection.transaction().map_err(failed)?;
    first_due(&snapshot, lanes, now).map_err(failed)
}

fn first_due(
    connection: &Connection,
    lanes: &Lanes,
    now: Timestamp,
) -> rusqlite::Result<Option<Timestamp>> {
    let mut first: Option<Timestamp> = None;
    let mut origins = Origins::new(connection)?;
    let mut select = connection
        .prepare_cached("-- wait()\n SELECT lane, coalesce(due_at, created_at) FROM owed")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (key, due_at) = lane_and_due(row)?;
        if let Some(origin) = origins.of_lane(key)?
            && lanes.room(&key.lane(origin)) > 0
        {
            first = earlier(first, due_at);
        }
        if first.is_some_and(|first| first <= now) {
            return Ok(first);
        }
    }
    let mut walk = LaneWalk::begin(connection, Round::after(LaneKey::BEFORE_ALL))?;
    while first.is_none_or(|first| first > now)
        && let Some(piece) = walk.step()?
    {
        let Some(piece) = piece else { continue };
        match lanes.room(&piece.lane) {
            0 => walk.pass(&piece),
            _ => first = earlier(first, piece.due_at),
        }
    }
    Ok(first)
}

fn earlier(first: Option<Timestamp>, due_at: Timestamp) -> Option<Timestamp> {
    Some(first.map_or(due_at, |first| first.min(due_at)))
}

/// What is claimed, by whom and for how long: as [`Claim`](ploy_webhooks::store::Claim), to be
/// taken to the writer.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) worker: WorkerName,
    pub(crate) max: usize,
    pub(crate) lease: Duration,
    pub(crate) lanes: Lanes,
}

/// What one task of the writer has claimed.
pub(crate) struct Claimed {
    pub(crate) runs: Vec<LeasedRun>,
    /// How many were not, since they cannot be read.
    pub(crate) failed: usize,
    /// Where to go on, when it ended before the lanes did.
    pub(crate) rest: Option<Round>,
}

/// Claims runs from there on, or from after the lane that was served last.
pub(crate) fn claim(
    connection: &Connection,
    wanted: &Wanted,
    last_served: &LastServed,
    round: Option<Round>,
    now: Timestamp,
) -> Result<Claimed, StoreError> {
    owed::file(connection).map_err(failed)?;
    let round = round.unwrap_or_else(|| Round::after(last_served.get()));
    let mut walk = LaneWalk::begin(connection, round).map_err(failed)?;
    let mut claiming = Claiming::begin(connection, wanted, now)?;
    let (mut pieces, mut looked_at) = (Vec::new(), 0);
    while looked_at < LANES_AT_ONCE && !claiming.is_full() {
        let before = walk.round;
        let Some(piece) = walk.step().map_err(failed)? else {
            return claiming.end(None);
        };
        looked_at += 1;
        let Some(piece) = piece else { continue };
        if claiming.room_in(&piece.lane) == 0 {
            walk.pass(&piece);
            continue;
        }
        looked_at += walk.gather(piece, now, &mut pieces).map_err(failed)? - 1;
        match claiming.take_from(&pieces)? {
            Taken::Some => last_served.set(walk.round.at),
            Taken::None => {}
            // The lane once more: there may be others behind them.
            Taken::OnlyUnreadable => walk.round = before,
        }
    }
    claiming.end(Some(walk.round))
}

/// What a look at a lane gave.
enum Taken {
    Some,
    None,
    OnlyUnreadable,
}

struct Claiming<'claim> {
    connection: &'claim Connection,
    wanted: &'claim Wanted,
    now: Timestamp,
    due: CachedStatement<'claim>,
    update: CachedStatement<'claim>,
    insert: CachedStatement<'claim>,
    triggers: TriggersRead<'claim>,
    runs: Vec<LeasedRun>,
    bytes: usize,
    /// Those that cannot be read.
    given_up: Vec<Noted>,
}

impl<'claim> Claiming<'claim> {
    fn begin(
        connection: &'claim Connection,
        wanted: &'claim Wanted,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let begin = || {
            Ok(Self {
                connection,
                wanted,
                now,
                due: connection.prepare_cached(DUE)?,
                update: connection.prepare_cached(
                    "-- claim()
                     UPDATE runs SET state = 'running', attempt = ?2, due_at = ?3
                     WHERE place = ?1",
                )?,
                insert: connection.prepare_cached(
                    "-- claim()
                     INSERT INTO attempts (run, number, worker, started_at)
                     VALUES (?1, ?2, ?3, ?4)",
                )?,
                triggers: TriggersRead::new(connection)?,
                runs: Vec::new(),
                bytes: 0,
                given_up: Vec::new(),
            })
        };
        begin().map_err(failed)
    }

    fn is_full(&self) -> bool {
        self.room() == 0 || self.given_up.len() >= CLAIM_RUNS_MAX
    }

    /// What was claimed, which is told.
    fn end(self, rest: Option<Round>) -> Result<Claimed, StoreError> {
        let claimed = self.runs.iter().map(|LeasedRun { lease, .. }| Noted {
            place: lease.place.cast_signed(),
            attempt: lease.attempt.get(),
            state: RunState::Running,
        });
        let noted: Vec<_> = claimed.chain(self.given_up.iter().copied()).collect();
        feed::note(self.connection, &noted).map_err(failed)?;
        Ok(Claimed { runs: self.runs, failed: self.given_up.len(), rest })
    }

    /// How many runs more fit into the claim.
    fn room(&self) -> usize {
        if self.bytes >= CLAIM_BYTES_MAX {
            return 0;
        }
        self.wanted.max.min(CLAIM_RUNS_MAX) - self.runs.len()
    }

    /// How many runs the claim may take from that lane, of which it has none yet.
    fn room_in(&self, lane: &Lane) -> usize {
        self.room().min(self.wanted.lanes.room(lane).into())
    }

    /// Takes what is due in the pieces of a lane, one after the other as far as there is room in
    /// all, and has fail what cannot be read.
    fn take_from(&mut self, pieces: &[Piece]) -> Result<Taken, StoreError> {
        let (first, failed_before) = (self.runs.len(), self.given_up.len());
        let full = pieces.first().map_or(first, |piece| first + self.room_in(&piece.lane));
        for piece in pieces {
            if self.runs.len() == full || self.is_full() {
                break;
            }
            self.take_from_piece(piece, full)?;
        }
        Ok(match (self.runs.len() > first, self.given_up.len() == failed_before) {
            (true, _) => Taken::Some,
            (false, true) => Taken::None,
            (false, false) => Taken::OnlyUnreadable,
        })
    }

    fn take_from_piece(&mut self, piece: &Piece, full: usize) -> Result<(), StoreError> {
        let first = self.runs.len();
        let unreadable = self.look(piece, full)?;
        self.lease(first).map_err(failed)?;
        for run in &unreadable {
            let given_up = run.fail(self.connection, &self.wanted.worker, self.now);
            self.given_up.push(given_up.map_err(failed)?);
        }
        Ok(())
    }

    /// Reads what is due in that piece, until the claim has so many runs in all.
    fn look(&mut self, piece: &Piece, full: usize) -> Result<Vec<Unreadable>, StoreError> {
        let room = full - self.runs.len();
        let values = params![piece.key, self.now.as_millis(), room + UNREADABLE_AT_ONCE];
        let mut rows = self.due.query(values).map_err(failed)?;
        let mut unreadable = Vec::new();
        while self.runs.len() < full
            && self.bytes < CLAIM_BYTES_MAX
            && let Some(row) = rows.next().map_err(failed)?
        {
            let place: i64 = row.get(0).map_err(failed)?;
            match leased(row, place, piece.origin, &mut self.triggers, self.runs.last()) {
                Ok(leased) => {
                    self.bytes += leased.event.payload.len();
                    self.runs.push(leased);
                }
                Err(why) => unreadable.push(Unreadable::or_failure(place, why)?),
            }
        }
        Ok(unreadable)
    }

    /// Counts an attempt of each from there on. Not while they are looked for: the line would
    /// move under the look.
    fn lease(&mut self, first: usize) -> rusqlite::Result<()> {
        let until = self.now.after(self.wanted.lease).as_millis();
        for LeasedRun { lease: Lease { attempt, place, .. }, .. } in &self.runs[first..] {
            self.update.execute(params![place, attempt.get(), until])?;
            let worker = self.wanted.worker.as_str();
            self.insert.execute(params![place, attempt.get(), worker, self.now.as_millis()])?;
        }
        Ok(())
    }
}

fn leased(
    row: &Row<'_>,
    place: i64,
    origin: Origin,
    triggers: &mut TriggersRead<'_>,
    before: Option<&LeasedRun>,
) -> Result<LeasedRun, StoreError> {
    let trigger = triggers.get(row.get(2).map_err(failed)?)?;
    let earlier: u32 = row.get(3).map_err(failed)?;
    let attempt = earlier.checked_add(1).and_then(|number| number.try_into().ok());
    let lease = Lease {
        run: RunId::from_bytes(row.get(1).map_err(failed)?),
        attempt: attempt.ok_or_else(|| corrupt("runs", "attempt", place))?,
        place: u64::try_from(place).map_err(|_| corrupt("runs", "place", place))?,
    };
    let state = row.get_ref(4).map_err(failed)?;
    let state = state.as_str().map_err(|error| failed(error.into()))?;
    let event = match before {
        // Runs of one event mostly stand one behind the other: its payload is held once.
        Some(before) if before.lease.place >> NUMBER_BITS == lease.place >> NUMBER_BITS => {
            before.event.clone()
        }
        _ => event(row, seq_of(place), origin)?,
    };
    let is_after_loss = state == RunState::Running.as_str();
    Ok(LeasedRun { lease, is_after_loss, trigger, event })
}

fn event(row: &Row<'_>, seq: i64, origin: Origin) -> Result<Event, StoreError> {
    Ok(Event {
        id: EventId::from_bytes(row.get(5).map_err(failed)?),
        workspace: origin.workspace,
        endpoint: origin.endpoint,
        event_type: event_type(row, 6, seq)?,
        source: source(row, 7, seq)?,
        headers: headers(row, 8, seq)?,
        payload: Bytes::from(row.get::<_, Vec<u8>>(9).map_err(failed)?),
    })
}

impl Origin {
    /// The lane of what comes from there.
    fn lane(&self) -> Lane {
        self.endpoint.map_or(Lane::Workspace(self.workspace), Lane::Endpoint)
    }
}

fn failed(error: rusqlite::Error) -> StoreError {
    store_error("cannot claim runs", error)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use ploy_webhooks::{DestinationId, EndpointId, WorkspaceId};
    use rusqlite::StatementStatus;

    use super::*;
    use crate::database::MIGRATIONS;
    use crate::lane::OriginKey;

    fn tables() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        MIGRATIONS.iter().for_each(|migration| connection.execute_batch(migration).unwrap());
        connection
    }

    fn wanted(max: usize, lanes: Lanes) -> Wanted {
        let worker = "test".parse().unwrap();
        Wanted { worker, max, lease: Duration::from_secs(60), lanes }
    }

    /// What the claims so far took.
    fn steps(connection: &Connection) -> i32 {
        let steps_of = |statement| {
            connection.prepare_cached(statement).unwrap().get_status(StatementStatus::VmStep)
        };
        [NEXT_LANE, NEXT_LANE_UP_TO, DUE].into_iter().map(steps_of).sum()
    }

    /// A hundred thousand runs in a full lane, one in each of ten with room.
    #[test]
    fn what_waits_in_a_full_lane_is_not_looked_at() {
        let connection = tables();
        let full = EndpointId::from_bytes([7; 16]);
        connection
            .execute(
                "INSERT INTO endpoints VALUES (1, ?1, zeroblob(16), 'full', 1, 1, '{}', '{}')",
                [full.as_bytes()],
            )
            .unwrap();
        connection
            .execute_batch(
                "INSERT INTO triggers VALUES (1, '{\"ploybook\":\"page\"}');
                 INSERT INTO events (seq, id, endpoint, payload) VALUES (1, zeroblob(16), 1, x'7b7d');
                 INSERT INTO events (seq, id, workspace, payload)
                 VALUES (2, zeroblob(16), zeroblob(16), x'7b7d');
                 WITH RECURSIVE numbers (n) AS
                     (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 99999)
                 INSERT INTO runs SELECT (1 << 20) + n, randomblob(16), 1, 1, 'queued', 0, 1, n
                 FROM numbers;
                 WITH RECURSIVE numbers (n) AS
                     (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 9)
                 INSERT INTO runs
                 SELECT (2 << 20) + n, randomblob(16), 1, CAST(printf('%016d', n) AS BLOB),
                     'queued', 0, 1, 1
                 FROM numbers;",
            )
            .unwrap();
        let mut lanes = Lanes::new(NonZeroU16::MIN);
        lanes.enter(Lane::Endpoint(full));
        let wanted = wanted(64, lanes);
        let now = Timestamp::from_millis(1 << 40);
        let claimed = claim(&connection, &wanted, &LastServed::default(), None, now).unwrap();
        assert_eq!(claimed.runs.len(), 10, "left: how many were claimed beside a full lane");
        assert!(claimed.rest.is_none(), "every lane was looked at");
        let steps = steps(&connection);
        assert!(steps < 2_000, "a claim of ten runs took {steps} steps");

        let due = first_due(&connection, &wanted.lanes, now).unwrap();
        let until = now.after(wanted.lease);
        assert_eq!(due, Some(until), "left: when the first is due in a lane with room");
    }

    const HELD: DestinationId = DestinationId::from_bytes([4; 16]);
    const BEHIND: DestinationId = DestinationId::from_bytes([6; 16]);
    /// What the app publishes in.
    const WORKSPACE: WorkspaceId = WorkspaceId::from_bytes([5; 16]);

    /// With so many endpoints, numbered from 1, and an event that all runs are of.
    fn tables_with_endpoints(count: i64) -> Connection {
        let connection = tables();
        connection
            .execute_batch(
                "INSERT INTO triggers VALUES (1, '{\"ploybook\":\"page\"}');
                 INSERT INTO events (seq, id, workspace, payload)
                 VALUES (1, zeroblob(16), zeroblob(16), x'7b7d')",
            )
            .unwrap();
        connection
            .execute(
                "WITH RECURSIVE numbers (n) AS
                     (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1)
                 INSERT INTO endpoints
                 SELECT n, randomblob(16), zeroblob(16), n, 1, 1, '{}', '{}' FROM numbers",
                [count],
            )
            .unwrap();
        connection
    }

    fn add(connection: &Connection, due_at: i64, destination: DestinationId, origin: OriginKey) {
        let lane = LaneKey { destination: Some(destination), origin };
        let mut insert = connection
            .prepare_cached(
                "INSERT INTO runs SELECT (1 << 20) + count(*), randomblob(16), 1, ?1, 'queued', 0,
                     1, ?2 FROM runs",
            )
            .unwrap();
        insert.execute(params![lane, due_at]).unwrap();
    }

    /// A hundred thousand runs in the lane of a destination, of a thousand endpoints that are all
    /// there; and others with room behind it.
    #[test]
    fn what_waits_in_a_destinations_lane_without_room_is_not_looked_at() {
        let connection = tables_with_endpoints(1_000);
        (1..=1_000).for_each(|number| {
            add(&connection, number, HELD, OriginKey::Endpoint(number));
        });
        // A hundred times as many.
        connection
            .execute_batch(
                "WITH RECURSIVE numbers (n) AS
                     (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 99)
                 INSERT INTO runs
                 SELECT place + 1000 * n, randomblob(16), trigger, lane, state, attempt, 1, due_at
                 FROM runs, numbers",
            )
            .unwrap();
        (1..=5).for_each(|number| add(&connection, 1, BEHIND, OriginKey::Endpoint(number)));
        (1..=5).for_each(|_| add(&connection, 1, BEHIND, OriginKey::Workspace(WORKSPACE)));
        let mut lanes = Lanes::new(NonZeroU16::MAX);
        lanes.bound(Lane::Destination(HELD), 0);
        let wanted = wanted(64, lanes);
        let now = Timestamp::from_millis(1 << 40);
        let claimed = claim(&connection, &wanted, &LastServed::default(), None, now).unwrap();
        assert_eq!(claimed.runs.len(), 10, "left: how many were claimed beside it");
        assert!(claimed.rest.is_none(), "every lane was looked at");
        let of_claim = steps(&connection);
        assert!(of_claim < 1_000, "a claim of ten runs took {of_claim} steps");

        let due = first_due(&connection, &wanted.lanes, now).unwrap();
        let until = now.after(wanted.lease);
        assert_eq!(due, Some(until), "left: when the first is due in a lane with room");
        let of_wait = steps(&connection) - of_claim;
        assert!(of_wait < 1_000, "a look of who waits took {of_wait} steps");
    }

    /// And the two destinations take turns.
    #[test]
    fn of_all_pieces_who_has_waited_longest_comes_first() {
        let connection = tables_with_endpoints(3);
        let last_served = LastServed::default();
        for due_at in (0..12).rev() {
            let origin = match due_at % 4 {
                0 => OriginKey::Workspace(WORKSPACE),
                number => OriginKey::Endpoint(number),
            };
            add(&connection, due_at, HELD, origin);
            add(&connection, due_at, BEHIND, origin);
        }
        let due_at = |place: u64| -> i64 {
            // As they were added.
            11 - i64::try_from((place - (1 << 20)) / 2).unwrap()
        };
        let now = Timestamp::from_millis(11);
        let mut served = Vec::new();
        for _ in 0..24 {
            let wanted = wanted(1, Lanes::new(NonZeroU16::MAX));
            let claimed = claim(&connection, &wanted, &last_served, None, now).unwrap();
            served.extend(claimed.runs.iter().map(|leased| due_at(leased.lease.place)));
        }
        let expected: Vec<_> = (0..24).map(|number| number / 2).collect();
        assert_eq!(served, expected, "left: when those were due that were claimed, one by one");
    }

    #[test]
    fn every_state_is_in_line_that_says_so() {
        for state in RunState::ALL {
            let text = format!("'{}'", state.as_str());
            assert_eq!(is_in_line!().contains(&text), state.is_in_line(), "{text}");
        }
    }
}
