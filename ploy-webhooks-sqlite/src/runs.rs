//! [`RunStore`]: the record of what events owe.

use async_trait::async_trait;
use ploy_webhooks::store::{RunStore, StoreError};
use ploy_webhooks::{EventId, Run, RunId, Timestamp, WorkspaceId};
use rusqlite::params;

use crate::SqliteStore;
use crate::error::{corrupt, store_error};
use crate::search::{self, Place};

#[async_trait]
impl RunStore for SqliteStore {
    async fn runs(&self, workspace: &WorkspaceId, event: &EventId) -> Result<Vec<Run>, StoreError> {
        let (workspace, event, closed) = (*workspace, *event, self.closed_blocks.clone());
        self.look_ups
            .read(move |connection| {
                let failed = |error| store_error("cannot read the runs", error);
                let found = search::find(connection, &closed, workspace, event)?;
                let Some(Place { seq, .. }) = found else {
                    return Ok(Vec::new());
                };
                let mut select = connection
                    .prepare_cached(
                        "-- runs()
                         SELECT id, trigger, created_at FROM runs WHERE event = ?1 ORDER BY id",
                    )
                    .map_err(failed)?;
                let mut rows = select.query(params![seq]).map_err(failed)?;
                let mut runs = Vec::new();
                while let Some(row) = rows.next().map_err(failed)? {
                    let trigger: String = row.get(1).map_err(failed)?;
                    let trigger = serde_json::from_str(&trigger)
                        .map_err(|error| corrupt("runs", "trigger", seq).because(error))?;
                    runs.push(Run::queued(
                        RunId::from_bytes(row.get(0).map_err(failed)?),
                        event,
                        trigger,
                        Timestamp::from_millis(row.get(2).map_err(failed)?),
                    ));
                }
                Ok(runs)
            })
            .await
    }
}
