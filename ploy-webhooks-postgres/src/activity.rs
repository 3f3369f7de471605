//! [`ActivityStore`]: what endpoints were sent.

use async_trait::async_trait;
use ploy_webhooks::store::{
    Activity, ActivityStore, OBSERVED_MAX, Observation, QuotaUse, StoreError, Tally,
};
use ploy_webhooks::{EndpointId, Quota, Timestamp, WorkspaceId};
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::num::{NonZeroU32, NonZeroU64};

use crate::PostgresStore;
use crate::error::{corrupt, store_error, write_error};
use crate::wire::Uuid;

#[async_trait]
impl ActivityStore for PostgresStore {
    async fn observe(&self, observations: Vec<Observation>) -> Result<(), StoreError> {
        if observations.is_empty() {
            return Ok(());
        }
        let seen = || observations.iter();
        self.change("keep what was observed", async |connection| {
            sqlx::query("SELECT observe($1, $2, $3, $4, $5, $6)")
                .bind(seen().map(|seen| Uuid::from(seen.endpoint)).collect::<Vec<_>>())
                .bind(seen().map(|seen| Uuid::from(seen.workspace)).collect::<Vec<_>>())
                .bind(seen().map(|seen| seen.what.to_string().into_bytes()).collect::<Vec<_>>())
                .bind(seen().map(|seen| number(seen.count)).collect::<Vec<_>>())
                .bind(seen().map(|seen| number(seen.last_at.as_millis())).collect::<Vec<_>>())
                .bind(number(OBSERVED_MAX as u64))
                .execute(connection)
                .await
                .map_err(|error| write_error("cannot keep what was observed", error))?;
            Ok(())
        })
        .await
    }

    async fn activity(
        &self,
        workspace: &WorkspaceId,
        endpoint: &EndpointId,
    ) -> Result<Option<Activity>, StoreError> {
        self.call("look up what an endpoint was sent", async |connection| {
            sqlx::query(ACTIVITY)
                .bind(Uuid::from(*endpoint))
                .bind(Uuid::from(*workspace))
                .fetch_optional(connection)
                .await
                .map_err(read_failed)?
                .map(|row| activity(&row))
                .transpose()
        })
        .await
    }
}

const ACTIVITY: &str = "
    SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint,
        q.seconds, q.period, q.used, o.whats, o.counts, o.last_at
    FROM endpoints n
    LEFT JOIN quotas q ON q.endpoint = n.number
    CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(what ORDER BY what), '{}') AS whats,
            coalesce(array_agg(count ORDER BY what), '{}') AS counts,
            coalesce(array_agg(last_at ORDER BY what), '{}') AS last_at
        FROM observed WHERE endpoint = n.number
    ) o
    WHERE n.id = $1 AND n.workspace = $2";

fn activity(row: &PgRow) -> Result<Activity, StoreError> {
    let whats: Vec<Vec<u8>> = row.try_get(4).map_err(read_failed)?;
    let counts: Vec<i64> = row.try_get(5).map_err(read_failed)?;
    let last_at: Vec<i64> = row.try_get(6).map_err(read_failed)?;
    let tally = |((what, count), last_at): ((Vec<u8>, i64), i64)| {
        let what = String::from_utf8(what).map_err(|_| corrupt("observed", "what"))?;
        let Ok(what) = what.parse();
        Ok(Tally { what, count: count.unsigned_abs(), last_at: moment(last_at) })
    };
    let tallies = whats.into_iter().zip(counts).zip(last_at);
    let observed = tallies.map(tally).collect::<Result<_, StoreError>>()?;
    Ok(Activity { quota: quota_use(row).map_err(read_failed)?, observed })
}

fn quota_use(row: &PgRow) -> sqlx::Result<Option<QuotaUse>> {
    let Some(seconds) = row.try_get::<Option<i64>, _>(1)? else {
        return Ok(None);
    };
    let period_seconds = NonZeroU32::new(u32::try_from(seconds).unwrap_or(u32::MAX));
    // How many events it is does not matter for when it begins anew.
    let quota = Quota { events: NonZeroU64::MIN, period_seconds };
    let now = moment(row.try_get(0)?);
    let (period, used): (i64, i64) = (row.try_get(2)?, row.try_get(3)?);
    let is_over = period.unsigned_abs() < quota.period_at(now);
    let used = if is_over { 0 } else { used.unsigned_abs() };
    Ok(Some(QuotaUse { period_seconds, used, resets_in: quota.resets_in(now) }))
}

/// A count as Postgres has it, as far as it can be.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn moment(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis.unsigned_abs())
}

fn read_failed(error: sqlx::Error) -> StoreError {
    store_error("cannot read what an endpoint was sent", error)
}
