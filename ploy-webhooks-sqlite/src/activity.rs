//! [`ActivityStore`]: what endpoints were sent.

use async_trait::async_trait;
use ploy_webhooks::store::{
    Activity, ActivityStore, OBSERVED_MAX, Observation, Observed, StoreError, Tally,
};
use ploy_webhooks::{EndpointId, Timestamp, WorkspaceId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::SqliteStore;
use crate::error::store_error;
use crate::quotas;

#[async_trait]
impl ActivityStore for SqliteStore {
    async fn observe(&self, observations: Vec<Observation>) -> Result<(), StoreError> {
        if observations.is_empty() {
            return Ok(());
        }
        self.write(move |connection| {
            for observation in &observations {
                observe(connection, observation)?;
            }
            Ok(((), None))
        })
        .await
    }

    async fn activity(
        &self,
        workspace: &WorkspaceId,
        endpoint: &EndpointId,
    ) -> Result<Option<Activity>, StoreError> {
        let (workspace, endpoint) = (*workspace, *endpoint);
        let now = self.clock.now();
        self.look_ups
            .read(move |connection| {
                read(connection, workspace, endpoint, now)
                    .map_err(|error| store_error("cannot read what an endpoint was sent", error))
            })
            .await
    }
}

/// Adds it to what is known, if it names an endpoint and is not a name too many.
fn observe(connection: &Connection, observation: &Observation) -> rusqlite::Result<()> {
    let Observation { workspace, endpoint, what, count, last_at } = observation;
    let Some(number) = number(connection, *workspace, *endpoint)? else { return Ok(()) };
    let mut insert = connection.prepare_cached(
        "-- observe()
         INSERT INTO observed (endpoint, what, count, last_at)
         SELECT ?1, ?2, ?3, ?4
         WHERE EXISTS (SELECT 1 FROM observed WHERE endpoint = ?1 AND what = ?2)
             OR (SELECT count(*) FROM observed WHERE endpoint = ?1) < ?5
         ON CONFLICT DO UPDATE SET
             count = count + min(excluded.count, 9223372036854775807 - count),
             last_at = max(last_at, excluded.last_at)",
    )?;
    insert.execute(params![
        number,
        what.to_string(),
        i64::try_from(*count).unwrap_or(i64::MAX),
        last_at.as_millis(),
        OBSERVED_MAX
    ])?;
    Ok(())
}

fn read(
    connection: &mut Connection,
    workspace: WorkspaceId,
    endpoint: EndpointId,
    now: Timestamp,
) -> rusqlite::Result<Option<Activity>> {
    let snapshot = connection.transaction()?;
    let Some(number) = number(&snapshot, workspace, endpoint)? else { return Ok(None) };
    let mut select = snapshot.prepare_cached(
        "-- activity()
         SELECT what, count, last_at FROM observed WHERE endpoint = ?1 ORDER BY what",
    )?;
    let observed = select.query_map(params![number], |row| {
        let Ok(what): Result<Observed, _> = row.get_ref(0)?.as_str()?.parse();
        let last_at = Timestamp::from_millis(row.get(2)?);
        Ok(Tally { what, count: row.get(1)?, last_at })
    })?;
    Ok(Some(Activity {
        quota: quotas::quota_use(&snapshot, number, now)?,
        observed: observed.collect::<rusqlite::Result<_>>()?,
    }))
}

/// The number of the workspace's endpoint.
fn number(
    connection: &Connection,
    workspace: WorkspaceId,
    endpoint: EndpointId,
) -> rusqlite::Result<Option<i64>> {
    let mut select = connection.prepare_cached(
        "-- activity()
         SELECT number FROM endpoints WHERE id = ?1 AND workspace = ?2",
    )?;
    let values = params![endpoint.as_bytes(), workspace.as_bytes()];
    select.query_row(values, |row| row.get(0)).optional()
}

/// Forgets what a deleted endpoint was sent.
pub(crate) fn forget(connection: &Connection, endpoint: i64) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM quotas WHERE endpoint = ?1", params![endpoint])?;
    connection.execute("DELETE FROM observed WHERE endpoint = ?1", params![endpoint])?;
    Ok(())
}
