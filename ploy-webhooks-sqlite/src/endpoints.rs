//! [`KeyStore`], [`EndpointStore`] and [`TokenStore`]: the control plane.
//!
//! Changes go through the writer's queue, so each has its place between two batches of events:
//! that is the fence.

use std::num::NonZeroU16;
use std::sync::Arc;

use async_trait::async_trait;
use ploy_webhooks::store::{
    Created, EndpointPatch, EndpointStore, KeyStore, StoreError, TokenStore, Updated,
};
use ploy_webhooks::{Endpoint, EndpointId, Revision, SecretDigest, Slug, Timestamp, WorkspaceId};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::SqliteStore;
use crate::activity;
use crate::error::store_error;
use crate::task::{Change, Known};

const COLUMNS: &str = "id, workspace, slug, revision, created_at, auth, config, number";

#[async_trait]
impl KeyStore for SqliteStore {
    async fn endpoint(&self, slug: &Slug) -> Result<Option<Arc<Endpoint>>, StoreError> {
        let slug = slug.clone();
        let select = format!("-- endpoint()\n SELECT {COLUMNS} FROM endpoints WHERE slug = ?1");
        self.look_ups
            .read(move |connection| {
                let mut select = connection.prepare_cached(&select).map_err(failed)?;
                let found = select.query_row(params![slug.as_str()], endpoint).optional();
                Ok(found.map_err(failed)?.map(|(endpoint, _)| Arc::new(endpoint)))
            })
            .await
    }
}

#[async_trait]
impl EndpointStore for SqliteStore {
    async fn create(&self, endpoint: Endpoint) -> Result<Created, StoreError> {
        self.write(move |connection| {
            let inserted = connection.execute(
                "INSERT OR IGNORE INTO endpoints
                     (id, workspace, slug, revision, created_at, auth, config)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    endpoint.id.as_bytes(),
                    endpoint.workspace.as_bytes(),
                    endpoint.slug.as_str(),
                    endpoint.revision.get(),
                    endpoint.created_at.as_millis(),
                    json(&endpoint.auth)?,
                    json(&endpoint.config)?,
                ],
            )?;
            if inserted == 0 {
                return Ok((Created::Taken, None));
            }
            let number = connection.last_insert_rowid();
            Ok((Created::Created, Some(change(&endpoint, number))))
        })
        .await
    }

    async fn endpoint_by_id(
        &self,
        workspace: &WorkspaceId,
        id: &EndpointId,
    ) -> Result<Option<Arc<Endpoint>>, StoreError> {
        let (workspace, id) = (*workspace, *id);
        self.look_ups
            .read(move |connection| {
                let found = select_by_id(connection, workspace, id).map_err(failed)?;
                Ok(found.map(|(endpoint, _)| Arc::new(endpoint)))
            })
            .await
    }

    async fn endpoints(
        &self,
        workspace: &WorkspaceId,
        after: Option<EndpointId>,
        limit: NonZeroU16,
    ) -> Result<Vec<Arc<Endpoint>>, StoreError> {
        let workspace = *workspace;
        let after = after.map_or(Vec::new(), |id| id.as_bytes().to_vec());
        let select = format!(
            "-- endpoints()
             SELECT {COLUMNS} FROM endpoints
             WHERE workspace = ?1 AND id > ?2 ORDER BY id LIMIT ?3"
        );
        self.look_ups
            .read(move |connection| {
                let mut select = connection.prepare_cached(&select).map_err(failed)?;
                let values = params![workspace.as_bytes(), after, limit.get()];
                let found = select.query_map(values, endpoint).map_err(failed)?;
                found
                    .map(|found| Ok(Arc::new(found.map_err(failed)?.0)))
                    .collect::<Result<_, StoreError>>()
            })
            .await
    }

    async fn update(
        &self,
        workspace: &WorkspaceId,
        id: &EndpointId,
        expected: Revision,
        patch: EndpointPatch,
    ) -> Result<Updated, StoreError> {
        let (workspace, id) = (*workspace, *id);
        self.write(move |connection| {
            let Some((endpoint, number)) = select_by_id(connection, workspace, id)? else {
                return Ok((Updated::Missing, None));
            };
            if endpoint.revision != expected {
                return Ok((Updated::Conflict(endpoint.revision), None));
            }
            let endpoint = patch.apply(&endpoint);
            connection.execute(
                "UPDATE endpoints SET revision = ?2, auth = ?3, config = ?4 WHERE number = ?1",
                params![
                    number,
                    endpoint.revision.get(),
                    json(&endpoint.auth)?,
                    json(&endpoint.config)?
                ],
            )?;
            let change = change(&endpoint, number);
            Ok((Updated::Updated(Arc::new(endpoint)), Some(change)))
        })
        .await
    }

    async fn delete(&self, workspace: &WorkspaceId, id: &EndpointId) -> Result<bool, StoreError> {
        let (workspace, id) = (*workspace, *id);
        let deleted = self
            .write(move |connection| {
                let Some((_, number)) = select_by_id(connection, workspace, id)? else {
                    return Ok((false, None));
                };
                connection.execute("DELETE FROM endpoints WHERE number = ?1", params![number])?;
                activity::forget(connection, number)?;
                connection.execute(
                    "INSERT INTO purges (endpoint, id) VALUES (?1, ?2)",
                    params![number, id.as_bytes()],
                )?;
                Ok((true, Some(Change::Removed(id))))
            })
            .await?;
        if deleted {
            self.progress.endpoint_deleted();
        }
        Ok(deleted)
    }
}

#[async_trait]
impl TokenStore for SqliteStore {
    async fn root_token(&self) -> Result<Option<SecretDigest>, StoreError> {
        self.look_ups
            .read(|connection| select_root_token(connection).optional().map_err(failed))
            .await
    }

    async fn claim_root_token(
        &self,
        digest: SecretDigest,
        now: Timestamp,
    ) -> Result<SecretDigest, StoreError> {
        self.write(move |connection| {
            connection.execute(
                "INSERT OR IGNORE INTO tokens (name, digest, created_at) VALUES ('root', ?1, ?2)",
                params![digest.as_bytes(), now.as_millis()],
            )?;
            Ok((select_root_token(connection)?, None))
        })
        .await
    }
}

fn select_root_token(connection: &Connection) -> rusqlite::Result<SecretDigest> {
    connection.query_row("SELECT digest FROM tokens WHERE name = 'root'", [], |row| {
        Ok(SecretDigest::from_bytes(row.get(0)?))
    })
}

fn select_by_id(
    connection: &Connection,
    workspace: WorkspaceId,
    id: EndpointId,
) -> rusqlite::Result<Option<(Endpoint, i64)>> {
    let mut select = connection.prepare_cached(&format!(
        "-- endpoint_by_id()\n SELECT {COLUMNS} FROM endpoints WHERE id = ?1 AND workspace = ?2"
    ))?;
    select.query_row(params![id.as_bytes(), workspace.as_bytes()], endpoint).optional()
}

fn endpoint(row: &Row<'_>) -> rusqlite::Result<(Endpoint, i64)> {
    let slug: String = row.get(2)?;
    let slug = slug.parse().map_err(|error| unreadable(2, error))?;
    let mut endpoint = Endpoint::new(
        EndpointId::from_bytes(row.get(0)?),
        WorkspaceId::from_bytes(row.get(1)?),
        slug,
        Timestamp::from_millis(row.get(4)?),
        from_json(row, 5)?,
        from_json(row, 6)?,
    );
    endpoint.revision = Revision::new(row.get(3)?);
    Ok((endpoint, row.get(7)?))
}

fn from_json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| unreadable(column, error))
}

fn unreadable(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error.into())
}

pub(crate) fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn change(endpoint: &Endpoint, number: i64) -> Change {
    let Endpoint { id, workspace, revision, .. } = *endpoint;
    Change::Set(id, Known { number, workspace, revision })
}

fn failed(error: rusqlite::Error) -> StoreError {
    store_error("cannot read the endpoints", error)
}
