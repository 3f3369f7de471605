//! [`HistoryStore`]: how much has happened in a workspace, and when.

use std::ops::Range;

use async_trait::async_trait;
use ploy_webhooks::store::{
    HISTORY_KEPT, HistoryBucket, HistoryCounts, HistoryStore, HistoryTally, StoreError,
};
use ploy_webhooks::{Timestamp, WorkspaceId};
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::PostgresStore;
use crate::error::{store_error, write_error};
use crate::wire::Uuid;

#[async_trait]
impl HistoryStore for PostgresStore {
    async fn tally(&self, tallies: Vec<HistoryTally>) -> Result<(), StoreError> {
        if tallies.is_empty() {
            return Ok(());
        }
        let each = |count: fn(&HistoryTally) -> u64| {
            let counts = tallies.iter().map(count);
            counts.map(|count| i64::try_from(count).unwrap_or(i64::MAX)).collect::<Vec<_>>()
        };
        self.change("keep how much has happened", async |connection| {
            sqlx::query("SELECT tally($1, $2, $3, $4, $5, $6, $7)")
                .bind(tallies.iter().map(|tally| Uuid::from(tally.workspace)).collect::<Vec<_>>())
                .bind(each(|tally| tally.at.as_millis()))
                .bind(each(|tally| tally.counts.accepted))
                .bind(each(|tally| tally.counts.refused))
                .bind(each(|tally| tally.counts.succeeded))
                .bind(each(|tally| tally.counts.failed))
                .bind(HISTORY_KEPT.as_millis() as i64)
                .execute(connection)
                .await
                .map_err(|error| write_error("cannot keep how much has happened", error))?;
            Ok(())
        })
        .await
    }

    async fn history(
        &self,
        workspace: &WorkspaceId,
        span: Range<Timestamp>,
    ) -> Result<Vec<HistoryBucket>, StoreError> {
        self.call("look up how much has happened", async |connection| {
            let rows = sqlx::query(HISTORY)
                .bind(Uuid::from(*workspace))
                .bind(span.start.as_millis().cast_signed())
                .bind(span.end.as_millis().cast_signed())
                .fetch_all(connection)
                .await
                .map_err(read_failed)?;
            rows.iter().map(bucket).collect::<sqlx::Result<_>>().map_err(read_failed)
        })
        .await
    }

    async fn forget_history(&self, workspace: &WorkspaceId) -> Result<(), StoreError> {
        self.change("forget how much has happened", async |connection| {
            sqlx::query("-- forget_history()\n DELETE FROM history WHERE workspace = $1")
                .bind(Uuid::from(*workspace))
                .execute(connection)
                .await
                .map_err(|error| write_error("cannot forget how much has happened", error))?;
            Ok(())
        })
        .await
    }
}

const HISTORY: &str = "
    -- history()
    SELECT at, accepted, refused, succeeded, failed FROM history
    WHERE workspace = $1 AND at >= $2 AND at < $3 ORDER BY at";

fn bucket(row: &PgRow) -> sqlx::Result<HistoryBucket> {
    let number = |place: usize| row.try_get::<i64, _>(place).map(i64::unsigned_abs);
    Ok(HistoryBucket {
        at: Timestamp::from_millis(number(0)?),
        counts: HistoryCounts {
            accepted: number(1)?,
            refused: number(2)?,
            succeeded: number(3)?,
            failed: number(4)?,
        },
    })
}

fn read_failed(error: sqlx::Error) -> StoreError {
    store_error("cannot read how much has happened", error)
}
