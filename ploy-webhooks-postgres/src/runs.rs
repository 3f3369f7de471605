//! [`RunStore`]: what events owe, on record.

use std::num::NonZeroU32;
use std::time::Duration;

use async_trait::async_trait;
use ploy_webhooks::store::{Page, RunQuery, RunStore, StoreError};
use ploy_webhooks::{
    Attempt, AttemptEnd, EventId, Outcome, Run, RunId, RunState, Timestamp, WorkspaceId,
};
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::PostgresStore;
use crate::enter::enter_all;
use crate::error::{corrupt, store_error};
use crate::wire::Uuid;

/// No more runs than these are looked at for one page.
const SLICE: i64 = 1_024;
/// What attempts have said fills a page.
const PAGE_BYTES_MAX: i64 = 4 << 20;

#[async_trait]
impl RunStore for PostgresStore {
    async fn runs(&self, workspace: &WorkspaceId, event: &EventId) -> Result<Vec<Run>, StoreError> {
        self.call("read runs", async |connection| {
            enter_all(connection).await?;
            let rows = sqlx::query(RUNS_OF_EVENT)
                .bind(Uuid::from(*workspace))
                .bind(Uuid::from(*event))
                .fetch_all(&mut *connection)
                .await
                .map_err(read_failed)?;
            let mut runs = runs(&rows)?;
            runs.reverse();
            Ok(runs)
        })
        .await
    }

    async fn run(&self, workspace: &WorkspaceId, id: &RunId) -> Result<Option<Run>, StoreError> {
        self.call("look a run up", async |connection| {
            enter_all(connection).await?;
            let rows = sqlx::query(RUN)
                .bind(Uuid::from(*workspace))
                .bind(Uuid::from(*id))
                .fetch_all(&mut *connection)
                .await
                .map_err(read_failed)?;
            Ok(runs(&rows)?.pop())
        })
        .await
    }

    async fn list_runs(&self, query: &RunQuery) -> Result<Page<Run, RunQuery>, StoreError> {
        let limit = i64::try_from(query.limit.get()).unwrap_or(SLICE);
        let slice = SLICE.max(limit + 1);
        self.call("list runs", async |connection| {
            enter_all(connection).await?;
            let rows = sqlx::query(LIST)
                .bind(Uuid::from(query.workspace))
                .bind(query.below.map(Uuid::from))
                .bind(slice)
                .bind(limit)
                .bind(PAGE_BYTES_MAX)
                .bind(query.state.map(RunState::as_str))
                .bind(query.destination.map(Uuid::from))
                .fetch_all(connection)
                .await
                .map_err(read_failed)?;
            let items = runs(&rows)?;
            let looked = rows.first().map(|row| Looked::from(row, slice)).transpose()?;
            let below = looked.and_then(|looked| looked.goes_on_below(&items));
            Ok(Page { next: below.map(|id| query.below(id)), items })
        })
        .await
    }
}

/// What was looked at for a page.
struct Looked {
    least: Option<RunId>,
    is_slice_full: bool,
    matched: i64,
}

impl Looked {
    fn from(row: &PgRow, slice: i64) -> Result<Self, StoreError> {
        let looked: i64 = row.try_get(12).map_err(read_failed)?;
        let least: Option<Uuid> = row.try_get(13).map_err(read_failed)?;
        Ok(Self {
            least: least.map(RunId::from),
            is_slice_full: looked >= slice,
            matched: row.try_get(14).map_err(read_failed)?,
        })
    }

    /// Below which run the next page begins.
    fn goes_on_below(&self, items: &[Run]) -> Option<RunId> {
        let is_cut_short = usize::try_from(self.matched).is_ok_and(|matched| items.len() < matched);
        match items.last() {
            Some(last) if is_cut_short => Some(last.id),
            _ if self.is_slice_full => self.least,
            _ => None,
        }
    }
}

/// A row an attempt, or one for a run without any: what [`runs`] reads. The attempt that is under
/// way is with the run.
macro_rules! with_attempts {
    ($more:literal, $from:expr) => {
        concat!(
            "SELECT s.id, s.event, s.trigger, s.state,
                (extract(epoch FROM s.created_at) * 1000)::bigint,
                a.number, (extract(epoch FROM a.started_at) * 1000)::bigint, a.worker,
                (extract(epoch FROM a.ended_at) * 1000)::bigint, a.state, a.said, a.again_after_ms",
            $more,
            " FROM ",
            $from,
            " LEFT JOIN LATERAL (
                SELECT t.number, t.started_at, t.worker, t.ended_at, t.state, t.said,
                    t.again_after_ms
                FROM attempts t WHERE t.run = s.number
                UNION ALL
                SELECT s.attempt, s.started_at, s.worker, NULL, NULL, NULL, NULL
                WHERE s.state = 'running'
            ) a ON true
            ORDER BY s.id DESC, a.number"
        )
    };
}

/// The run with an id, and those of an event. Nothing of a run is open once it has
/// succeeded. Runs of a deleted endpoint are out of reach.
macro_rules! found_by {
    ($column:literal) => {
        with_attempts!(
            "",
            concat!(
                "(
                    SELECT r.number, r.id, r.event, r.trigger, r.created_at,
                        coalesce(o.state, 'succeeded') AS state, o.attempt, o.started_at, o.worker
                    FROM runs r
                    LEFT JOIN open_runs o ON o.workspace = r.workspace AND o.run = r.id
                    WHERE r.workspace = $1 AND r.",
                $column,
                " = $2 AND (r.endpoint IS NULL
                        OR EXISTS (SELECT FROM endpoints n WHERE n.number = r.endpoint))
                ) s"
            )
        )
    };
}

const RUN: &str = found_by!("id");
const RUNS_OF_EVENT: &str = found_by!("event");

/// A page: of a slice that is looked at, what matches; of that, as much as a page holds. There is
/// always a row, which says of the slice how many it was, the least of them, and how many match.
const LIST: &str = concat!(
    "WITH looked AS MATERIALIZED (
        SELECT * FROM look_at_runs($1, $6, $7, $2, $3)
    ), matched AS (
        SELECT l.*, row_number() OVER (ORDER BY l.id DESC) AS place FROM looked l
        WHERE l.is_wanted AND ($6 IS NULL OR l.state = $6)
    ), sized AS (
        SELECT m.*, coalesce(sum(b.bytes) OVER (ORDER BY m.id DESC
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS bytes_before
        FROM (SELECT * FROM matched WHERE place <= $4) m
        CROSS JOIN LATERAL (SELECT sum(octet_length(t.said)) AS bytes FROM attempts t
            WHERE t.run = m.number) b
    ) ",
    with_attempts!(
        ", (SELECT count(*) FROM looked), (SELECT id FROM looked ORDER BY id LIMIT 1),
        (SELECT count(*) FROM matched)",
        "(SELECT) one LEFT JOIN sized s ON s.bytes_before <= $5"
    )
);

/// The runs of rows of which each has an attempt, those of one run together.
fn runs(rows: &[PgRow]) -> Result<Vec<Run>, StoreError> {
    let mut runs: Vec<Run> = Vec::new();
    for row in rows {
        let id: Option<Uuid> = row.try_get(0).map_err(read_failed)?;
        let Some(id) = id.map(RunId::from) else {
            continue;
        };
        if runs.last().is_none_or(|run| run.id != id) {
            runs.push(run(row, id)?);
        }
        let run = runs.last_mut().expect("it was pushed just now");
        run.attempts.extend(attempt(row)?);
    }
    Ok(runs)
}

fn run(row: &PgRow, id: RunId) -> Result<Run, StoreError> {
    let event: Uuid = row.try_get(1).map_err(read_failed)?;
    let trigger: &str = row.try_get(2).map_err(read_failed)?;
    let trigger =
        serde_json::from_str(trigger).map_err(|error| corrupt("runs", "trigger").because(error))?;
    let mut run = Run::queued(id, event.into(), trigger, timestamp(row, 4)?);
    run.state = state(row.try_get(3).map_err(read_failed)?)?;
    Ok(run)
}

fn attempt(row: &PgRow) -> Result<Option<Attempt>, StoreError> {
    let count: Option<i32> = row.try_get(5).map_err(read_failed)?;
    let Some(count) = count else {
        return Ok(None);
    };
    let worker: &str = row.try_get(7).map_err(read_failed)?;
    let ended: Option<&str> = row.try_get(9).map_err(read_failed)?;
    let end = match ended {
        Some(ended) => Some(AttemptEnd { at: timestamp(row, 8)?, outcome: outcome(row, ended)? }),
        None => None,
    };
    Ok(Some(Attempt {
        number: attempt_number(count)?,
        started_at: timestamp(row, 6)?,
        worker: worker.parse().map_err(|_| corrupt("attempts", "worker"))?,
        end,
    }))
}

fn outcome(row: &PgRow, ended: &str) -> Result<Outcome, StoreError> {
    let said: Vec<u8> = row.try_get(10).map_err(read_failed)?;
    let error = |said| String::from_utf8(said).map_err(|_| corrupt("attempts", "said"));
    Ok(match state(ended)? {
        RunState::Succeeded => Outcome::Succeed { output: said.into() },
        RunState::Retrying => {
            let millis: i64 = row.try_get(11).map_err(read_failed)?;
            Outcome::Retry {
                error: error(said)?,
                after: Duration::from_millis(millis.cast_unsigned()),
            }
        }
        RunState::Failed => Outcome::Fail { error: error(said)? },
        _ => return Err(corrupt("attempts", "state")),
    })
}

pub(crate) fn attempt_number(count: i32) -> Result<NonZeroU32, StoreError> {
    let count = u32::try_from(count).ok().and_then(NonZeroU32::new);
    count.ok_or_else(|| corrupt("attempts", "number"))
}

fn timestamp(row: &PgRow, column: usize) -> Result<Timestamp, StoreError> {
    let millis: i64 = row.try_get(column).map_err(read_failed)?;
    Ok(Timestamp::from_millis(millis.cast_unsigned()))
}

/// The state with that name, as this crate has written it.
pub(crate) fn state(name: &str) -> Result<RunState, StoreError> {
    RunState::from_name(name).ok_or_else(|| corrupt("open_runs", "state"))
}

pub(crate) fn read_failed(error: sqlx::Error) -> StoreError {
    store_error("cannot read the runs", error)
}
