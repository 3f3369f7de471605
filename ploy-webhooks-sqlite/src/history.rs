//! [`HistoryStore`]: how much has happened in a workspace, and when.

use std::ops::Range;

use async_trait::async_trait;
use ploy_webhooks::store::{
    HISTORY_KEPT, HistoryBucket, HistoryCounts, HistoryStore, HistoryTally, StoreError,
};
use ploy_webhooks::{Timestamp, WorkspaceId};
use rusqlite::{Connection, Row, params};

use crate::SqliteStore;
use crate::error::store_error;

#[async_trait]
impl HistoryStore for SqliteStore {
    async fn tally(&self, tallies: Vec<HistoryTally>) -> Result<(), StoreError> {
        if tallies.is_empty() {
            return Ok(());
        }
        self.write(move |connection| {
            for tally in &tallies {
                add(connection, tally)?;
            }
            Ok(((), None))
        })
        .await
    }

    async fn history(
        &self,
        workspace: &WorkspaceId,
        span: Range<Timestamp>,
    ) -> Result<Vec<HistoryBucket>, StoreError> {
        let workspace = *workspace;
        self.look_ups
            .read(move |connection| {
                read(connection, workspace, span)
                    .map_err(|error| store_error("cannot read how much has happened", error))
            })
            .await
    }

    async fn forget_history(&self, workspace: &WorkspaceId) -> Result<(), StoreError> {
        let workspace = *workspace;
        self.write(move |connection| {
            let delete = "-- forget_history()\n DELETE FROM history WHERE workspace = ?1";
            connection.execute(delete, params![workspace.as_bytes()])?;
            Ok(((), None))
        })
        .await
    }
}

/// Adds it up with what its bucket holds, and lets go of what is too old beside it.
fn add(connection: &Connection, tally: &HistoryTally) -> rusqlite::Result<()> {
    let HistoryTally { workspace, at, counts } = tally;
    let HistoryCounts { accepted, refused, succeeded, failed } = counts;
    let number = |count: &u64| i64::try_from(*count).unwrap_or(i64::MAX);
    let mut insert = connection.prepare_cached(
        "-- tally()
         INSERT INTO history (workspace, at, accepted, refused, succeeded, failed)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET
             accepted = accepted + min(excluded.accepted, 9223372036854775807 - accepted),
             refused = refused + min(excluded.refused, 9223372036854775807 - refused),
             succeeded = succeeded + min(excluded.succeeded, 9223372036854775807 - succeeded),
             failed = failed + min(excluded.failed, 9223372036854775807 - failed)",
    )?;
    insert.execute(params![
        workspace.as_bytes(),
        at.as_millis(),
        number(accepted),
        number(refused),
        number(succeeded),
        number(failed)
    ])?;
    let kept_from = at.as_millis().saturating_sub(HISTORY_KEPT.as_millis() as u64);
    let mut delete = connection
        .prepare_cached("-- tally()\n DELETE FROM history WHERE workspace = ?1 AND at < ?2")?;
    delete.execute(params![workspace.as_bytes(), kept_from])?;
    Ok(())
}

fn read(
    connection: &Connection,
    workspace: WorkspaceId,
    span: Range<Timestamp>,
) -> rusqlite::Result<Vec<HistoryBucket>> {
    let mut select = connection.prepare_cached(
        "-- history()
         SELECT at, accepted, refused, succeeded, failed FROM history
         WHERE workspace = ?1 AND at >= ?2 AND at < ?3 ORDER BY at",
    )?;
    let bucket = |row: &Row<'_>| {
        let counts = HistoryCounts {
            accepted: row.get(1)?,
            refused: row.get(2)?,
            succeeded: row.get(3)?,
            failed: row.get(4)?,
        };
        Ok(HistoryBucket { at: Timestamp::from_millis(row.get(0)?), counts })
    };
    let (from, to) = (span.start.as_millis(), span.end.as_millis());
    select.query_map(params![workspace.as_bytes(), from, to], bucket)?.collect()
}
