//! [`RunStore`] and [`RunQueue`]: what events owe, on record and in line.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ploy_webhooks::store::{RunQueue, RunStore, StoreError, Tenure};
use ploy_webhooks::{
    Attempt, AttemptEnd, EventId, Lease, LeasedRun, NewRun, Outcome, Run, RunId, RunState,
    Timestamp, WorkspaceId,
};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use crate::PostgresStore;
use crate::batch::{json, millis};
use crate::error::{corrupt, store_error, write_error};
use crate::events;
use crate::wire::Uuid;

#[async_trait]
impl RunStore for PostgresStore {
    async fn runs(&self, workspace: &WorkspaceId, event: &EventId) -> Result<Vec<Run>, StoreError> {
        self.call("read runs", async |connection| {
            let rows = sqlx::query(RUNS)
                .bind(Uuid::from(*event))
                .bind(Uuid::from(*workspace))
                .fetch_all(connection)
                .await
                .map_err(read_failed)?;
            let mut runs: Vec<Run> = Vec::new();
            for row in &rows {
                let id: RunId = row.try_get::<Uuid, _>(0).map_err(read_failed)?.into();
                if runs.last().is_none_or(|run| run.id != id) {
                    runs.push(run(row, id, *event)?);
                }
                let run = runs.last_mut().expect("it was pushed just now");
                run.attempts.extend(attempt(row)?);
            }
            Ok(runs)
        })
        .await
    }
}

#[async_trait]
impl RunQueue for PostgresStore {
    async fn claim(&self, max: NonZeroU16, lease: Duration) -> Result<Vec<LeasedRun>, StoreError> {
        self.change("claim runs", async |connection| {
            let rows = sqlx::query(CLAIM)
                .bind(i64::from(max.get()))
                .bind(millis(lease))
                .fetch_all(connection)
                .await
                .map_err(write_failed)?;
            rows.iter().map(leased).collect()
        })
        .await
    }

    async fn extend(&self, lease: &Lease, by: Duration) -> Result<Tenure, StoreError> {
        self.change("extend a lease", async |connection| {
            let extended = sqlx::query(EXTEND)
                .bind(Uuid::from(lease.run))
                .bind(number(lease.attempt))
                .bind(millis(by))
                .execute(&mut *connection)
                .await
                .map_err(write_failed)?;
            // It may end earlier than who waits believes.
            tell(connection).await;
            Ok(tenure(extended.rows_affected()))
        })
        .await
    }

    async fn finish(&self, lease: &Lease, outcome: Outcome) -> Result<Tenure, StoreError> {
        let state = outcome.state().as_str();
        let (said, again_after) = match outcome {
            Outcome::Succeed { output } => (output, None),
            Outcome::Retry { error, after } => (Bytes::from(error), Some(millis(after))),
            Outcome::Fail { error } => (Bytes::from(error), None),
        };
        self.change("finish a run", async |connection| {
            let finished = sqlx::query(FINISH)
                .bind(Uuid::from(lease.run))
                .bind(number(lease.attempt))
                .bind(state)
                .bind(&said[..])
                .bind(again_after)
                .execute(&mut *connection)
                .await
                .map_err(write_failed)?;
            if again_after.is_some() {
                tell(connection).await;
            }
            Ok(tenure(finished.rows_affected()))
        })
        .await
    }

    async fn wait(&self, at_most: Duration) -> Result<(), StoreError> {
        let mut owed = std::pin::pin!(self.shared.runs_due.notified());
        // From now on nothing is missed; what came before is found by the look.
        owed.as_mut().enable();
        let waited = tokio::time::timeout(at_most, async {
            let next: Option<i64> = self
                .call("look for runs", async |connection| {
                    sqlx::query_scalar(NEXT_DUE).fetch_one(connection).await.map_err(read_failed)
                })
                .await?;
            match next {
                None => owed.await,
                Some(millis) => {
                    let next = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
                    // What is due and could not be claimed is not asked for without a pause.
                    // Either end is an end.
                    let _ = tokio::time::timeout(next.max(PAUSE), owed).await;
                }
            }
            Ok(())
        });
        waited.await.unwrap_or(Ok(()))
    }

    async fn enqueue(
        &self,
        workspace: &WorkspaceId,
        event: &EventId,
        runs: Vec<NewRun>,
    ) -> Result<bool, StoreError> {
        let triggers: Vec<_> =
            runs.iter().map(|run| json(&run.trigger)).collect::<Result<_, _>>()?;
        let retries: Vec<_> = runs.iter().map(|run| json(&run.retry)).collect::<Result<_, _>>()?;
        let there: Option<bool> = self
            .change("enqueue runs", async |connection| {
                sqlx::query_scalar(ENQUEUE)
                    .bind(Uuid::from(*event))
                    .bind(Uuid::from(*workspace))
                    .bind(runs.iter().map(|run| Uuid::from(run.id)).collect::<Vec<_>>())
                    .bind(&triggers)
                    .bind(&retries)
                    .bind(runs.iter().map(|run| millis(run.delay)).collect::<Vec<_>>())
                    .fetch_optional(connection)
                    .await
                    .map_err(write_failed)
            })
            .await?;
        Ok(there.is_some())
    }
}

/// How long who waits for runs waits at least, unless one is owed meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

const RUNS: &str = "
    SELECT r.id, r.trigger, r.state, (extract(epoch FROM r.created_at) * 1000)::bigint,
        a.number, (extract(epoch FROM a.started_at) * 1000)::bigint,
        (extract(epoch FROM a.ended_at) * 1000)::bigint, a.state, a.said, a.again_after_ms
    FROM runs r
    JOIN events e ON e.stream = r.stream AND e.id = r.event
    LEFT JOIN endpoints n ON n.number = e.endpoint
    LEFT JOIN attempts a ON a.run = r.id
    WHERE r.event = $1 AND coalesce(n.workspace, e.workspace) = $2
    ORDER BY r.id, a.number";

/// Runs that others are claiming are passed over, so that nobody waits and nobody gets them twice.
/// At most 64 at once: each brings its payload.
pub(crate) const CLAIM: &str = "
    WITH due AS (
        SELECT r.id FROM runs r
        WHERE r.due_at <= now()
            AND (r.endpoint IS NULL OR EXISTS (SELECT FROM endpoints n WHERE n.number = r.endpoint))
        ORDER BY r.due_at LIMIT least($1, 64) FOR UPDATE OF r SKIP LOCKED
    ), claimed AS (
        UPDATE runs r SET state = 'running', attempt = r.attempt + 1,
            due_at = now() + $2 * interval '1 millisecond'
        FROM due WHERE r.id = due.id
        RETURNING r.id, r.stream, r.event, r.attempt, r.trigger, r.retry
    ), begun AS (
        INSERT INTO attempts (run, number, started_at) SELECT id, attempt, now() FROM claimed
    )
    SELECT e.id, n.id, coalesce(n.workspace, e.workspace), e.type, e.source, e.headers, e.payload,
        c.id, c.attempt, c.trigger, c.retry
    FROM claimed c
    JOIN events e ON e.stream = c.stream AND e.id = c.event
    LEFT JOIN endpoints n ON n.number = e.endpoint";

const EXTEND: &str = "
    UPDATE runs r SET due_at = now() + $3 * interval '1 millisecond'
    WHERE r.id = $1 AND r.attempt = $2 AND r.state = 'running'
        AND (r.endpoint IS NULL OR EXISTS (SELECT FROM endpoints n WHERE n.number = r.endpoint))";

const FINISH: &str = "
    WITH finished AS (
        UPDATE runs r SET state = $3, due_at = now() + $5 * interval '1 millisecond'
        WHERE r.id = $1 AND r.attempt = $2 AND r.state = 'running'
            AND (r.endpoint IS NULL OR EXISTS (SELECT FROM endpoints n WHERE n.number = r.endpoint))
        RETURNING r.id, r.attempt
    )
    UPDATE attempts a SET ended_at = now(), state = $3, said = $4, again_after_ms = $5
    FROM finished f WHERE a.run = f.id AND a.number = f.attempt";

/// Who waits is told that there may be something sooner to wait for. What this comes after is done,
/// whether they are told or not.
async fn tell(connection: &mut PgConnection) {
    const TELL: &str = "SELECT pg_notify('ploy_runs', current_schema())";
    if let Err(error) = sqlx::query(TELL).execute(connection).await {
        tracing::debug!(%error, "other nodes are not told of runs");
    }
}

const NEXT_DUE: &str =
    "SELECT ceil(extract(epoch FROM min(due_at) - now()) * 1000)::bigint FROM runs";

const ENQUEUE: &str = "
    WITH owing AS (
        SELECT e.stream, e.id, e.endpoint FROM streams s
        JOIN events e ON e.stream = s.number AND e.id = $1
        LEFT JOIN endpoints n ON n.number = e.endpoint
        WHERE coalesce(n.workspace, e.workspace) = $2 LIMIT 1
    ), added AS (
        INSERT INTO runs (id, stream, event, endpoint, trigger, retry, state, created_at, due_at)
        SELECT r.id, o.stream, o.id, o.endpoint, r.trigger, r.retry, 'queued', now(),
            now() + r.delay_ms * interval '1 millisecond'
        FROM owing o, unnest($3, $4, $5, $6) AS r (id, trigger, retry, delay_ms)
    )
    SELECT true FROM owing, pg_notify('ploy_runs', current_schema())";

fn run(row: &PgRow, id: RunId, event: EventId) -> Result<Run, StoreError> {
    let trigger: &str = row.try_get(1).map_err(read_failed)?;
    let trigger =
        serde_json::from_str(trigger).map_err(|error| corrupt("runs", "trigger").because(error))?;
    let mut run = Run::queued(id, event, trigger, timestamp(row, 3)?);
    run.state = state(row.try_get(2).map_err(read_failed)?)?;
    Ok(run)
}

fn attempt(row: &PgRow) -> Result<Option<Attempt>, StoreError> {
    let count: Option<i32> = row.try_get(4).map_err(read_failed)?;
    let Some(count) = count else {
        return Ok(None);
    };
    let ended: Option<&str> = row.try_get(7).map_err(read_failed)?;
    let end = match ended {
        Some(ended) => Some(AttemptEnd { at: timestamp(row, 6)?, outcome: outcome(row, ended)? }),
        None => None,
    };
    Ok(Some(Attempt { number: attempt_number(count)?, started_at: timestamp(row, 5)?, end }))
}

fn outcome(row: &PgRow, ended: &str) -> Result<Outcome, StoreError> {
    let said: Vec<u8> = row.try_get(8).map_err(read_failed)?;
    let error = |said| String::from_utf8(said).map_err(|_| corrupt("attempts", "said"));
    Ok(match state(ended)? {
        RunState::Succeeded => Outcome::Succeed { output: said.into() },
        RunState::Retrying => {
            let millis: i64 = row.try_get(9).map_err(read_failed)?;
            Outcome::Retry {
                error: error(said)?,
                after: Duration::from_millis(millis.cast_unsigned()),
            }
        }
        RunState::Failed => Outcome::Fail { error: error(said)? },
        _ => return Err(corrupt("attempts", "state")),
    })
}

fn leased(row: &PgRow) -> Result<LeasedRun, StoreError> {
    let (trigger, retry): (&str, &str) =
        (row.try_get(9).map_err(read_failed)?, row.try_get(10).map_err(read_failed)?);
    Ok(LeasedRun {
        lease: Lease {
            run: row.try_get::<Uuid, _>(7).map_err(read_failed)?.into(),
            attempt: attempt_number(row.try_get(8).map_err(read_failed)?)?,
            place: 0,
        },
        trigger: serde_json::from_str(trigger)
            .map_err(|error| corrupt("runs", "trigger").because(error))?,
        retry: serde_json::from_str(retry)
            .map_err(|error| corrupt("runs", "retry").because(error))?,
        event: events::event(row)?,
    })
}

fn attempt_number(count: i32) -> Result<NonZeroU32, StoreError> {
    let count = u32::try_from(count).ok().and_then(NonZeroU32::new);
    count.ok_or_else(|| corrupt("attempts", "number"))
}

fn number(attempt: NonZeroU32) -> i32 {
    attempt.get().cast_signed()
}

fn timestamp(row: &PgRow, column: usize) -> Result<Timestamp, StoreError> {
    let millis: i64 = row.try_get(column).map_err(read_failed)?;
    Ok(Timestamp::from_millis(millis.cast_unsigned()))
}

const fn tenure(rows: u64) -> Tenure {
    if rows == 0 { Tenure::Lost } else { Tenure::Held }
}

fn state(name: &str) -> Result<RunState, StoreError> {
    RunState::from_name(name).ok_or_else(|| corrupt("runs", "state"))
}

fn read_failed(error: sqlx::Error) -> StoreError {
    store_error("cannot read the runs", error)
}

fn write_failed(error: sqlx::Error) -> StoreError {
    write_error("cannot change the runs", error)
}
