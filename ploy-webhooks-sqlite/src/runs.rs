//! [`RunStore`]: what events owe and what came of it, on record.
//!
//! A run lies in `runs`, or in `owed` if it came just now with its event, and then it is queued:
//! both are read, in one snapshot.

use std::time::Duration;

use async_trait::async_trait;
use ploy_webhooks::store::{Page, RunQuery, RunStore, StoreError};
use ploy_webhooks::{
    Attempt, AttemptEnd, EventId, Outcome, Run, RunId, RunState, Timestamp, WorkspaceId,
};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use crate::SqliteStore;
use crate::error::{corrupt, store_error};
use crate::events::{Origin, Origins};
use crate::lane::LaneKey;
use crate::owed::{places_of, seq_of};
use crate::search;
use crate::triggers::TriggersRead;

/// A page reads no more runs than this: those of other workspaces lie between.
const PAGE_ROWS_MAX: usize = 1_024;
/// And it passes over no more than this that are not of the destination, by their lanes.
const PAGE_PASSED_MAX: usize = 8_192;
/// About how many bytes of what was said a page holds.
const PAGE_BYTES_MAX: u64 = 4 << 20;

/// What is read of a run, wherever it lies.
macro_rules! columns {
    (filed) => {
        "place, id, trigger, lane, state, created_at"
    };
    (owed) => {
        "place, id, trigger, lane, 'queued', created_at"
    };
}

/// Comes after every id: no id is longer than sixteen bytes.
const AFTER_ALL: [u8; 17] = [0xff; 17];

#[async_trait]
impl RunStore for SqliteStore {
    async fn runs(&self, workspace: &WorkspaceId, event: &EventId) -> Result<Vec<Run>, StoreError> {
        let (workspace, event, closed) = (*workspace, *event, self.closed_blocks.clone());
        self.look_ups
            .read(move |connection| match search::find(connection, &closed, workspace, event)? {
                Some(place) => of_event(connection, workspace, place.seq),
                None => Ok(Vec::new()),
            })
            .await
    }

    async fn run(&self, workspace: &WorkspaceId, id: &RunId) -> Result<Option<Run>, StoreError> {
        let (workspace, id) = (*workspace, *id);
        self.look_ups.read(move |connection| by_id(connection, workspace, id)).await
    }

    async fn list_runs(&self, query: &RunQuery) -> Result<Page<Run, RunQuery>, StoreError> {
        let query = query.clone();
        self.look_ups.read(move |connection| list(connection, &query)).await
    }
}

fn of_event(
    connection: &mut Connection,
    workspace: WorkspaceId,
    seq: i64,
) -> Result<Vec<Run>, StoreError> {
    let snapshot = connection.transaction().map_err(failed)?;
    let mut records = Records::begin(&snapshot)?;
    let select = concat!(
        "-- runs()
         SELECT ",
        columns!(filed),
        " FROM runs WHERE place BETWEEN ?1 AND ?2 UNION ALL SELECT ",
        columns!(owed),
        " FROM owed WHERE place BETWEEN ?1 AND ?2"
    );
    let mut select = snapshot.prepare_cached(select).map_err(failed)?;
    let places = places_of(seq);
    let mut rows = select.query(params![places.start(), places.end()]).map_err(failed)?;
    let mut runs = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        runs.extend(records.read(row, workspace)?);
    }
    runs.sort_unstable_by_key(|run| run.id);
    Ok(runs)
}

fn by_id(
    connection: &mut Connection,
    workspace: WorkspaceId,
    id: RunId,
) -> Result<Option<Run>, StoreError> {
    let snapshot = connection.transaction().map_err(failed)?;
    let mut records = Records::begin(&snapshot)?;
    let select = format!(
        "-- run()
         SELECT {} FROM runs WHERE id = ?1 AND state IN ({}) UNION ALL
         SELECT {} FROM owed WHERE id = ?1",
        columns!(filed),
        every_state(),
        columns!(owed),
    );
    let mut select = snapshot.prepare_cached(&select).map_err(failed)?;
    let mut rows = select.query(params![id.as_bytes()]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        if let Some(run) = records.read(row, workspace)? {
            return Ok(Some(run));
        }
    }
    Ok(None)
}

/// Every state, for a look at the index, which has the states before the ids.
pub(crate) fn every_state() -> String {
    RunState::ALL.map(|state| format!("'{}'", state.as_str())).join(", ")
}

/// Runs below an id, the greatest first: the index has them in this order for each state, and
/// SQLite merges what it is asked for as it is read.
fn select_below(wanted: Option<RunState>) -> String {
    let states = RunState::ALL.into_iter().filter(|state| wanted.is_none_or(|of| of == *state));
    let mut parts: Vec<_> = states
        .map(|state| {
            let state = state.as_str();
            format!("SELECT {} FROM runs WHERE state = '{state}' AND id < ?1", columns!(filed))
        })
        .collect();
    if wanted.is_none_or(|of| of == RunState::Queued) {
        parts.push(format!("SELECT {} FROM owed WHERE id < ?1", columns!(owed)));
    }
    format!("-- list_runs()\n {} ORDER BY id DESC", parts.join(" UNION ALL "))
}

fn list(connection: &mut Connection, query: &RunQuery) -> Result<Page<Run, RunQuery>, StoreError> {
    let snapshot = connection.transaction().map_err(failed)?;
    let mut records = Records::begin(&snapshot)?;
    let mut select = snapshot.prepare_cached(&select_below(query.state)).map_err(failed)?;
    let below = query.below.as_ref().map_or(&AFTER_ALL[..], |id| id.as_bytes());
    let mut rows = select.query(params![below]).map_err(failed)?;
    let (mut items, mut looked_at, mut passed, mut bytes) = (Vec::new(), 0, 0, 0);
    let mut rest = query.clone();
    while let Some(row) = rows.next().map_err(failed)? {
        let is_full = items.len() == query.limit.get() || bytes > PAGE_BYTES_MAX;
        if is_full || looked_at == PAGE_ROWS_MAX || passed == PAGE_PASSED_MAX {
            return Ok(Page { items, next: Some(rest) });
        }
        rest.below = Some(RunId::from_bytes(row.get(1).map_err(failed)?));
        if query.destination.is_some() {
            let lane: LaneKey = row.get(3).map_err(failed)?;
            if lane.destination != query.destination {
                passed += 1;
                continue;
            }
        }
        looked_at += 1;
        if let Some(run) = records.read(row, query.workspace)? {
            bytes += run.outcome_bytes();
            items.push(run);
        }
    }
    Ok(Page { items, next: None })
}

/// Reads runs with all that is on record of them.
struct Records<'connection> {
    origins: Origins<'connection>,
    triggers: TriggersRead<'connection>,
    event: CachedStatement<'connection>,
    attempts: CachedStatement<'connection>,
}

impl<'connection> Records<'connection> {
    fn begin(connection: &'connection Connection) -> Result<Self, StoreError> {
        let begin = || {
            Ok(Self {
                origins: Origins::new(connection)?,
                triggers: TriggersRead::new(connection)?,
                event: connection
                    .prepare_cached("-- runs()\n SELECT id FROM events WHERE seq = ?1")?,
                attempts: connection.prepare_cached(
                    "-- runs()
                     SELECT number, started_at, worker, ended_at, outcome, after, said
                     FROM attempts WHERE run = ?1 ORDER BY number",
                )?,
            })
        };
        begin().map_err(failed)
    }

    /// The run of that row; `None` where it is not the workspace's, or its endpoint is deleted.
    fn read(&mut self, row: &Row<'_>, workspace: WorkspaceId) -> Result<Option<Run>, StoreError> {
        let place = row.get(0).map_err(failed)?;
        let origin = self.origins.of_lane(row.get(3).map_err(failed)?).map_err(failed)?;
        if !is_of(origin, workspace) {
            return Ok(None);
        }
        let event = self.event.query_row(params![seq_of(place)], |row| row.get(0)).optional();
        let event = event.map_err(failed)?.ok_or_else(|| corrupt("runs", "place", place))?;
        let mut run = Run::queued(
            RunId::from_bytes(row.get(1).map_err(failed)?),
            EventId::from_bytes(event),
            self.triggers.get(row.get(2).map_err(failed)?)?,
            Timestamp::from_millis(row.get(5).map_err(failed)?),
        );
        let state: String = row.get(4).map_err(failed)?;
        run.state = RunState::from_name(&state).ok_or_else(|| corrupt("runs", "state", place))?;
        let mut rows = self.attempts.query(params![place]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            run.attempts.push(attempt(row, place)?);
        }
        Ok(Some(run))
    }
}

/// Whether what comes from there is the workspace's.
pub(crate) fn is_of(origin: Option<Origin>, workspace: WorkspaceId) -> bool {
    origin.is_some_and(|origin| origin.workspace == workspace)
}

fn attempt(row: &Row<'_>, place: i64) -> Result<Attempt, StoreError> {
    let number: u32 = row.get(0).map_err(failed)?;
    let worker: String = row.get(2).map_err(failed)?;
    let ended_at: Option<u64> = row.get(3).map_err(failed)?;
    Ok(Attempt {
        number: number.try_into().map_err(|_| corrupt("attempts", "number", place))?,
        started_at: Timestamp::from_millis(row.get(1).map_err(failed)?),
        worker: worker.parse().map_err(|_| corrupt("attempts", "worker", place))?,
        end: match ended_at {
            Some(millis) => Some(AttemptEnd {
                at: Timestamp::from_millis(millis),
                outcome: outcome(row, place)?,
            }),
            None => None,
        },
    })
}

fn outcome(row: &Row<'_>, place: i64) -> Result<Outcome, StoreError> {
    let state: String = row.get(4).map_err(failed)?;
    let said: Vec<u8> = row.get(6).map_err(failed)?;
    let error = |said| String::from_utf8(said).map_err(|_| corrupt("attempts", "said", place));
    match RunState::from_name(&state) {
        Some(RunState::Succeeded) => Ok(Outcome::Succeed { output: said.into() }),
        Some(RunState::Failed) => Ok(Outcome::Fail { error: error(said)? }),
        Some(RunState::Retrying) => {
            let after = Duration::from_millis(row.get(5).map_err(failed)?);
            Ok(Outcome::Retry { error: error(said)?, after })
        }
        _ => Err(corrupt("attempts", "outcome", place)),
    }
}

fn failed(error: rusqlite::Error) -> StoreError {
    store_error("cannot read the runs", error)
}
