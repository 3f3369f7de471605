//! What is done now and then, by one node for all: partitions made and dropped, deleted
//! endpoints' events removed, deduplication keys forgotten.

use std::sync::Arc;
use std::time::Duration;

use ploy_webhooks::EventId;
use ploy_webhooks::store::grams::Probe;
use ploy_webhooks::store::{Order, StoreError, StoreErrorKind};
use sqlx::postgres::PgConnection;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::block::{Span, endpoint_term};
use crate::database::{self, locks};
use crate::enter::enter_all;
use crate::error::{store_error, timed_out};
use crate::feed;
use crate::forget::forget_expired_keys;
use crate::partitions::{self, ROWS_AT_ONCE};
use crate::search::Unread;
use crate::wire::Uuid;
use crate::writer::Shared;

/// How often there is something to do, without a reason known.
const EVERY: Duration = Duration::from_secs(10);
/// How long after a failure it is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// And this long at most, when it has failed again and again.
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(60);
/// Longer than it takes to purge whatever there is; a connection may be deaf.
const AT_MOST: Duration = Duration::from_secs(3_600);
/// Who has this lock does the chores.
const ALL: i32 = 2;

/// Does the chores for good, at their time or when called.
pub(crate) async fn run(shared: Shared, called: Arc<Notify>) {
    let mut again_after = AGAIN_AFTER;
    loop {
        let done = timeout(AT_MOST, do_all(&shared)).await;
        let pause = match done.unwrap_or_else(|_| Err(too_long())) {
            Ok(()) => {
                again_after = AGAIN_AFTER;
                EVERY
            }
            Err(error) => {
                // What is lost meanwhile is space, and in the long run speed.
                tracing::warn!(%error, "upkeep of the Postgres store failed");
                // A try may keep appends waiting for a moment: see `partitions.rs`.
                let pause = again_after;
                again_after = (2 * again_after).min(AGAIN_AFTER_MAX);
                pause
            }
        };
        // Either end is an end.
        let _ = timeout(pause, called.notified()).await;
    }
}

fn too_long() -> StoreError {
    timed_out(StoreErrorKind::Unavailable, "cannot end upkeep", AT_MOST)
}

async fn do_all(shared: &Shared) -> Result<(), StoreError> {
    let settings = &shared.settings;
    // Its end gives the lock back, whatever happens.
    let mut connection = database::connect(settings, settings.call_timeout).await?;
    let is_mine: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1, $2)")
        .bind(locks::CHORE)
        .bind(ALL)
        .fetch_one(&mut connection)
        .await
        .map_err(|error| store_error("cannot begin upkeep", error))?;
    if !is_mine {
        return Ok(());
    }
    // What a node that is gone has put down, and nobody has looked for.
    let entered = enter_all(&mut connection).await;
    // One that fails does not keep the others from being done.
    let made = partitions::make_ahead(&mut connection, settings).await;
    let forgotten = forget_expired_keys(&mut connection).await;
    let rested = forget_rates(&mut connection).await;
    let told = forget_told(&mut connection).await;
    let purged = purge_deleted(&mut connection, shared).await;
    let dropped = match settings.retention {
        Some(retention) => partitions::drop_old(&mut connection, retention).await,
        None => Ok(()),
    };
    let emptied = partitions::drop_empty(&mut connection).await;
    let chores = [entered, made, forgotten, rested, told, purged, dropped, emptied];
    chores.into_iter().collect()
}

/// Forgets counts that nobody has asked about for long: they are at rest, and so is one that is not
/// there. Some at a time, for there is no hurry.
async fn forget_rates(connection: &mut PgConnection) -> Result<(), StoreError> {
    const FORGET: &str = "DELETE FROM rates WHERE ctid = ANY (ARRAY(SELECT ctid FROM rates
        WHERE due_ns < (extract(epoch FROM now()) - 86400)::bigint * 1000000000 LIMIT $1))";
    let forgotten = sqlx::query(FORGET).bind(ROWS_AT_ONCE).execute(connection).await;
    let failed = |error| store_error("cannot forget rates at rest", error);
    forgotten.map(drop).map_err(failed)
}

/// Forgets what the feed need not tell any more.
async fn forget_told(connection: &mut PgConnection) -> Result<(), StoreError> {
    let rows = i32::try_from(ROWS_AT_ONCE).expect("it is about a thousand");
    while feed::forget(connection, rows).await? {}
    Ok(())
}

/// Frees what is left of deleted endpoints. They are out of reach already: see
/// `EndpointStore::delete`.
async fn purge_deleted(connection: &mut PgConnection, shared: &Shared) -> Result<(), StoreError> {
    let failed = |error| store_error("cannot free the space of a deleted endpoint", error);
    loop {
        let endpoint: Option<i64> =
            sqlx::query_scalar("SELECT endpoint FROM purges ORDER BY endpoint LIMIT 1")
                .fetch_optional(&mut *connection)
                .await
                .map_err(failed)?;
        let Some(endpoint) = endpoint else {
            return Ok(());
        };
        // Nobody adds to its history any more: what is owed of it is all entered after this.
        enter_all(connection).await?;
        let mut probe = Probe::new();
        probe.add_term(endpoint_term(endpoint));
        let all = (EventId::from_bytes([0; 16]), EventId::from_bytes([0xff; 16]));
        let tails = shared.tails.lock().clone();
        let unread = Unread::ask(connection, &tails, probe, all, Order::Ascending).await?;
        for (stream, span) in unread.all(connection).await? {
            purge_span(connection, endpoint, stream, span).await.map_err(failed)?;
        }
        for statement in [PURGE_RUNS, PURGE_QUOTA, PURGE_OBSERVED, PURGE_DONE] {
            while sqlx::query(statement)
                .bind(endpoint)
                .bind(ROWS_AT_ONCE)
                .execute(&mut *connection)
                .await
                .map_err(failed)?
                .rows_affected()
                > 0
            {}
        }
    }
}

/// Events with their runs, in short transactions, so that nobody waits for it.
const PURGE_EVENTS: &str = "
    WITH gone AS (
        DELETE FROM events e WHERE e.stream = $1 AND e.endpoint = $4 AND e.id = ANY (ARRAY(
            SELECT id FROM events WHERE stream = $1 AND id BETWEEN $2 AND $3 AND endpoint = $4
            ORDER BY id LIMIT $5))
        RETURNING e.id
    )
    SELECT cardinality(events) FROM (SELECT coalesce(array_agg(id), '{}') AS events FROM gone) e,
        forget_runs(events)";
/// Runs that were enqueued while their event went.
const PURGE_RUNS: &str = "SELECT forget_runs(events) FROM (
    SELECT array_agg(DISTINCT event) AS events FROM (
        SELECT r.event FROM open_runs o JOIN runs r ON r.workspace = o.workspace AND r.id = o.run
        WHERE o.endpoint = $1 LIMIT $2
    ) r) e
    WHERE events IS NOT NULL";
const PURGE_QUOTA: &str = "DELETE FROM quotas WHERE endpoint = $1 AND $2 > 0";
const PURGE_OBSERVED: &str = "DELETE FROM observed WHERE endpoint = $1 AND $2 > 0";
const PURGE_DONE: &str = "DELETE FROM purges WHERE endpoint = $1 AND $2 > 0";

async fn purge_span(
    connection: &mut PgConnection,
    endpoint: i64,
    stream: i32,
    span: Span,
) -> sqlx::Result<()> {
    loop {
        let gone: i32 = sqlx::query_scalar(PURGE_EVENTS)
            .bind(stream)
            .bind(Uuid::from(span.min))
            .bind(Uuid::from(span.max))
            .bind(endpoint)
            .bind(ROWS_AT_ONCE)
            .fetch_one(&mut *connection)
            .await?;
        if i64::from(gone) < ROWS_AT_ONCE {
            return Ok(());
        }
    }
}
