//! The partitions of the events: made ahead of time, and dropped when all of one is old.

use std::time::Duration;

use ploy_webhooks::store::StoreError;
use ploy_webhooks::{EventId, Timestamp};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor, Postgres, Row, Transaction};

use crate::database::locks;
use crate::enter::enter_all;
use crate::error::store_error;
use crate::settings::PostgresSettings;
use crate::wire::Uuid;

/// So many partitions beyond the present one are there. More than one, so that there is time to
/// mend what keeps them from being made.
const AHEAD: u32 = 2;
/// A lock on the table of events is not waited for longer than this: everybody else waits behind.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '200ms'";
/// Rows are deleted so many at a time.
pub(crate) const ROWS_AT_ONCE: i64 = 1_024;
/// What is locked while partitions are made.
const MAKING: i32 = 1;

/// Makes the partitions of the present and the near future, where they are missing. Any number of
/// nodes may do so at once.
pub(crate) async fn make_ahead(
    connection: &mut PgConnection,
    settings: &PostgresSettings,
) -> Result<(), StoreError> {
    let failed = |error| store_error("cannot make a partition of the events", error);
    let span = millis(settings.partition_span).max(1);
    loop {
        let mut transaction = connection.begin().await.map_err(failed)?;
        let (now, made_to) = made_to(&mut transaction).await.map_err(failed)?;
        if made_to > now + i64::from(AHEAD) * span {
            return Ok(());
        }
        // The first one, or the first after a long pause, begins where its span does.
        let from = made_to.max(now - now % span);
        let to = from - from % span + span;
        make(&mut transaction, from, to).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
    }
}

/// The time, and up to when there are partitions. Nobody else makes one until the transaction
/// ends.
async fn made_to(transaction: &mut Transaction<'_, Postgres>) -> sqlx::Result<(i64, i64)> {
    sqlx::query("SELECT pg_advisory_xact_lock($1, $2)")
        .bind(locks::CHORE)
        .bind(MAKING)
        .execute(&mut **transaction)
        .await?;
    let row = sqlx::query(
        "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
             coalesce((SELECT max(to_ms) FROM partitions), 0)",
    )
    .fetch_one(&mut **transaction)
    .await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

async fn make(transaction: &mut Transaction<'_, Postgres>, from: i64, to: i64) -> sqlx::Result<()> {
    let name = format!("events_{from}");
    let (low, high) = (bound(from), bound(to));
    sqlx::query(LOCK_TIMEOUT).execute(&mut **transaction).await?;
    // To attach a table locks less than to make it as a partition. What clocks that are ahead have
    // left elsewhere is taken along: beside it the partition could never be attached.
    let made = format!(
        "CREATE TABLE {name} (LIKE events INCLUDING ALL);
         LOCK TABLE events_elsewhen IN ACCESS EXCLUSIVE MODE;
         WITH early AS (
             DELETE FROM events_elsewhen WHERE id >= '{low}' AND id < '{high}' RETURNING *
         ) INSERT INTO {name} SELECT * FROM early;
         ALTER TABLE events ATTACH PARTITION {name} FOR VALUES FROM ('{low}') TO ('{high}');"
    );
    sqlx::raw_sql(AssertSqlSafe(made)).execute(&mut **transaction).await?;
    sqlx::query("INSERT INTO partitions (name, from_ms, to_ms) VALUES ($1, $2, $3)")
        .bind(name)
        .bind(from)
        .bind(to)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// Drops the partitions of which everything is older than that, and what belongs to them.
pub(crate) async fn drop_old(
    connection: &mut PgConnection,
    retention: Duration,
) -> Result<(), StoreError> {
    let failed = |error| store_error("cannot drop a partition of the events", error);
    let old: Vec<(String, i64)> = sqlx::query_as(
        "SELECT name, to_ms FROM partitions
         WHERE to_ms <= extract(epoch FROM clock_timestamp()) * 1000 - $1 ORDER BY to_ms",
    )
    .bind(millis(retention))
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    for (name, to) in old {
        let bound = EventId::least_at(timestamp(to));
        // Runs are forgotten with their events only once they are entered.
        enter_all(connection).await?;
        for statement in [DELETE_RUNS, DELETE_ELSEWHEN, DELETE_SEGMENT] {
            delete_all(connection, statement, bound).await.map_err(failed)?;
        }
        let mut transaction = connection.begin().await.map_err(failed)?;
        sqlx::query(LOCK_TIMEOUT).execute(&mut *transaction).await.map_err(failed)?;
        drop_one(&mut transaction, &name).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
    }
    Ok(())
}

/// Drops the partitions of the past of which nothing is left, and what the search index says of
/// them. What comes with an id of such a time goes elsewhere from then on.
pub(crate) async fn drop_empty(connection: &mut PgConnection) -> Result<(), StoreError> {
    let failed = |error| store_error("cannot drop an empty partition of the events", error);
    let seemingly: Vec<(String, i64, i64)> =
        sqlx::query_as(SEEM_EMPTY).fetch_all(&mut *connection).await.map_err(failed)?;
    for (name, from, to) in seemingly {
        let mut transaction = connection.begin().await.map_err(failed)?;
        sqlx::query(LOCK_TIMEOUT).execute(&mut *transaction).await.map_err(failed)?;
        let lock = format!("LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE");
        transaction.execute(AssertSqlSafe(lock)).await.map_err(failed)?;
        // Nothing is added any more, and what was before is seen.
        let is_empty = format!("SELECT NOT EXISTS (SELECT FROM {name})");
        let is_empty: bool = sqlx::query_scalar(AssertSqlSafe(is_empty))
            .fetch_one(&mut *transaction)
            .await
            .map_err(failed)?;
        if !is_empty {
            continue;
        }
        drop_one(&mut transaction, &name).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        let (from, to) = (EventId::least_at(timestamp(from)), EventId::least_at(timestamp(to)));
        sqlx::query(DELETE_EMPTY_SEGMENTS)
            .bind(Uuid::from(from))
            .bind(Uuid::from(to))
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    Ok(())
}

async fn drop_one(transaction: &mut Transaction<'_, Postgres>, name: &str) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(format!("DROP TABLE {name}"))).execute(&mut **transaction).await?;
    sqlx::query("DELETE FROM partitions WHERE name = $1")
        .bind(name)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// Vacuuming has given back the pages of one that is empty, so that nothing has to be read to see
/// it. A partition of an hour ago may be filled still.
const SEEM_EMPTY: &str = "
    SELECT name, from_ms, to_ms FROM partitions
    WHERE to_ms <= (extract(epoch FROM clock_timestamp()) - 3600) * 1000
        AND pg_relation_size(to_regclass(name)) = 0 ORDER BY to_ms";
const DELETE_EMPTY_SEGMENTS: &str = "
    WITH empty AS (
        DELETE FROM segments s WHERE s.max_id >= $1 AND s.max_id < $2 AND NOT EXISTS (
            SELECT FROM events e WHERE e.stream = s.stream AND e.id BETWEEN s.min_id AND s.max_id)
        RETURNING s.number
    )
    DELETE FROM segment_bits b USING empty WHERE b.segment = empty.number";

const DELETE_RUNS: &str = "SELECT forget_runs(events) FROM (
    SELECT array_agg(DISTINCT event) AS events FROM (
        SELECT event FROM runs WHERE event < $1 ORDER BY event LIMIT $2
    ) r) e
    WHERE events IS NOT NULL";
const DELETE_ELSEWHEN: &str = "DELETE FROM events_elsewhen WHERE ctid = ANY (ARRAY
    (SELECT ctid FROM events_elsewhen WHERE id < $1 LIMIT $2))";
/// A segment at a time: its bits are many rows.
const DELETE_SEGMENT: &str = "
    WITH old AS (
        DELETE FROM segments WHERE number =
            (SELECT number FROM segments WHERE max_id < $1 ORDER BY max_id LIMIT least($2, 1))
        RETURNING number
    ), bits AS (DELETE FROM segment_bits b USING old WHERE b.segment = old.number)
    SELECT number FROM old";

async fn delete_all(
    connection: &mut PgConnection,
    statement: &'static str,
    bound: EventId,
) -> sqlx::Result<()> {
    loop {
        let deleted = sqlx::query(statement)
            .bind(Uuid::from(bound))
            .bind(ROWS_AT_ONCE)
            .execute(&mut *connection)
            .await?;
        if deleted.rows_affected() == 0 {
            return Ok(());
        }
    }
}

/// The least id of a time, as Postgres writes it.
fn bound(millis: i64) -> String {
    let id = EventId::least_at(timestamp(millis));
    id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millis(u64::try_from(millis).unwrap_or_default())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}
