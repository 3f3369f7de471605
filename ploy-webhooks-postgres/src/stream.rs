//! The lock on a stream: who holds it is the only one that writes to it.
//!
//! The lock belongs to the writer's own connection. So it goes with it, and not before: as long
//! as the server may still commit what a lost connection sent, nobody else has the stream.

use ploy_webhooks::EventId;
use ploy_webhooks::store::StoreError;
use sqlx::Row;
use sqlx::postgres::PgConnection;

use crate::database::locks;
use crate::error::store_error;
use crate::wire::Uuid;

/// A stream that was taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) stream: i32,
    /// No two that hold the stream have the same.
    pub(crate) tenure: i64,
    /// What its last writer left unindexed.
    pub(crate) left_from: Option<EventId>,
}

/// Takes the first stream that nobody has, or a new one.
pub(crate) async fn take(connection: &mut PgConnection) -> Result<Held, StoreError> {
    let failed = |error| store_error("cannot take a stream", error);
    loop {
        let numbers: Vec<i32> = sqlx::query_scalar("SELECT number FROM streams ORDER BY number")
            .fetch_all(&mut *connection)
            .await
            .map_err(failed)?;
        for number in numbers {
            if lock(connection, number).await.map_err(failed)? {
                return begin_tenure(connection, number).await.map_err(failed);
            }
        }
        // Whoever else has this idea makes the same row, and one of them gets its lock.
        sqlx::query(
            "INSERT INTO streams (number) SELECT coalesce(max(number), 0) + 1 FROM streams
             ON CONFLICT DO NOTHING",
        )
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    }
}

async fn lock(connection: &mut PgConnection, number: i32) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock($1, $2)")
        .bind(locks::STREAM)
        .bind(number)
        .fetch_one(connection)
        .await
}

async fn begin_tenure(connection: &mut PgConnection, stream: i32) -> sqlx::Result<Held> {
    let row = sqlx::query(
        "UPDATE streams SET tenure = tenure + 1 WHERE number = $1 RETURNING tenure, tail_from",
    )
    .bind(stream)
    .fetch_one(connection)
    .await?;
    let left_from: Option<Uuid> = row.try_get(1)?;
    Ok(Held { stream, tenure: row.try_get(0)?, left_from: left_from.map(Into::into) })
}

/// Says from where on the stream is to be read directly.
pub(crate) async fn set_tail_from(
    connection: &mut PgConnection,
    number: i32,
    from: Option<EventId>,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE streams SET tail_from = $2 WHERE number = $1")
        .bind(number)
        .bind(from.map(Uuid::from))
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(|error| store_error("cannot shorten the tail of a stream", error))
}
