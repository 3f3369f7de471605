//! How deduplication keys are forgotten: a sealed generation goes whole, once what lives on of it is
//! moved into the newest, which is little.

use ploy_webhooks::store::StoreError;
use sqlx::postgres::PgConnection;

use crate::error::store_error;
use crate::partitions::ROWS_AT_ONCE;
use crate::wire::Uuid;

/// Looked at once, when a generation is sealed: nothing in it changes.
const LOOK: &str = "
    UPDATE generations g SET most_end_at = coalesce((
        SELECT percentile_disc(0.75) WITHIN GROUP (ORDER BY expires_at) FROM dedup
        WHERE slot = $1), now())
    WHERE g.slot = $1 AND g.seal = $2";
const UNSEEN: &str =
    "SELECT slot, seal FROM generations WHERE seal IS NOT NULL AND most_end_at IS NULL";
/// Those that are long expired: a batch that is under way may have looked at the clock before.
const ENDED: &str = "
    SELECT seal FROM generations
    WHERE seal IS NOT NULL AND most_end_at <= now() - interval '1 minute' ORDER BY number";
/// What has room goes with its generation. Those of one that has been there for long without being
/// full go by themselves.
const EXPIRED: &str = "
    DELETE FROM dedup WHERE slot = $1 AND ctid = ANY (ARRAY(
        SELECT ctid FROM dedup WHERE slot = $1 AND expires_at <= now() - interval '1 minute'
        LIMIT $2 FOR UPDATE SKIP LOCKED))";

/// Forgets what is expired.
pub(crate) async fn forget_expired_keys(connection: &mut PgConnection) -> Result<(), StoreError> {
    let failed = |error| store_error("cannot forget expired deduplication keys", error);
    forget_of_newest(connection).await.map_err(failed)?;
    let unseen: Vec<(i16, Uuid)> =
        sqlx::query_as(UNSEEN).fetch_all(&mut *connection).await.map_err(failed)?;
    for (slot, seal) in unseen {
        let look = sqlx::query(LOOK).bind(slot).bind(seal);
        look.execute(&mut *connection).await.map_err(failed)?;
    }
    let ended: Vec<Uuid> =
        sqlx::query_scalar(ENDED).fetch_all(&mut *connection).await.map_err(failed)?;
    for seal in ended {
        move_all(connection, seal).await.map_err(failed)?;
        let free = sqlx::query("SELECT free_generation($1)").bind(seal);
        free.execute(&mut *connection).await.map_err(failed)?;
    }
    Ok(())
}

async fn forget_of_newest(connection: &mut PgConnection) -> sqlx::Result<()> {
    let newest: i16 = sqlx::query_scalar(
        "SELECT slot FROM generations WHERE number IS NOT NULL AND seal IS NULL",
    )
    .fetch_one(&mut *connection)
    .await?;
    loop {
        let expired = sqlx::query(EXPIRED).bind(newest).bind(ROWS_AT_ONCE);
        let forgotten = expired.execute(&mut *connection).await?.rows_affected();
        if forgotten < ROWS_AT_ONCE.cast_unsigned() {
            return Ok(());
        }
    }
}

/// In short transactions, so that nobody waits for it.
async fn move_all(connection: &mut PgConnection, seal: Uuid) -> sqlx::Result<()> {
    loop {
        let moved: i64 = sqlx::query_scalar("SELECT move_keys($1, $2)")
            .bind(seal)
            .bind(ROWS_AT_ONCE)
            .fetch_one(&mut *connection)
            .await?;
        if moved == 0 {
            return Ok(());
        }
    }
}
