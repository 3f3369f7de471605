//! [`KeyStore`], [`EndpointStore`] and [`TokenStore`]: the control plane.
//!
//! The fence: a batch holds a shared lock for the stripe of each of its endpoints until it is
//! committed, and a change holds it alone. So a change waits for the batches that are under way,
//! those that come later wait for it, and Postgres lets neither starve. The locks are advisory:
//! row locks either do not fence or starve the change.

use std::num::NonZeroU16;
use std::sync::Arc;

use async_trait::async_trait;
use ploy_webhooks::store::{
    Created, EndpointPatch, EndpointStore, KeyStore, StoreError, TokenStore, Updated,
};
use ploy_webhooks::{Endpoint, EndpointId, Revision, SecretDigest, Slug, Timestamp, WorkspaceId};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Postgres, Row, Transaction};

use crate::PostgresStore;
use crate::batch::json;
use crate::database::locks;
use crate::error::{corrupt, store_error, write_error};
use crate::wire::Uuid;

/// How many locks there are for all endpoints: few enough for the server's table of locks however
/// many endpoints a batch has, and enough that a change keeps few batches waiting.
const STRIPES: u8 = 64;

/// The stripe that the endpoint falls into.
pub(crate) fn stripe_of(endpoint: EndpointId) -> i32 {
    let [.., last] = *endpoint.as_bytes();
    i32::from(last % STRIPES)
}

#[async_trait]
impl KeyStore for PostgresStore {
    async fn endpoint(&self, slug: &Slug) -> Result<Option<Arc<Endpoint>>, StoreError> {
        self.call("look an endpoint up", async |connection| {
            sqlx::query(
                "SELECT id, workspace, slug, revision, created_at, auth, config
                 FROM endpoints WHERE slug = $1",
            )
            .bind(slug.as_str())
            .fetch_optional(connection)
            .await
            .map_err(read_failed)?
            .map(|row| endpoint(&row).map(Arc::new))
            .transpose()
        })
        .await
    }
}

#[async_trait]
impl EndpointStore for PostgresStore {
    async fn create(&self, endpoint: Endpoint) -> Result<Created, StoreError> {
        let (auth, config) = (json(&endpoint.auth)?, json(&endpoint.config)?);
        self.change("make an endpoint", async |connection| {
            let made = sqlx::query(
                "INSERT INTO endpoints (id, workspace, slug, revision, created_at, auth, config)
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
            )
            .bind(Uuid::from(endpoint.id))
            .bind(Uuid::from(endpoint.workspace))
            .bind(endpoint.slug.as_str())
            .bind(number(endpoint.revision.get()))
            .bind(number(endpoint.created_at.as_millis()))
            .bind(&auth)
            .bind(&config)
            .execute(connection)
            .await
            .map_err(|error| write_error("cannot make an endpoint", error))?;
            Ok(match made.rows_affected() {
                0 => Created::Taken,
                _ => Created::Created,
            })
        })
        .await
    }

    async fn endpoint_by_id(
        &self,
        workspace: &WorkspaceId,
        id: &EndpointId,
    ) -> Result<Option<Arc<Endpoint>>, StoreError> {
        self.call("look an endpoint up", async |connection| {
            let found = select_by_id(connection, *workspace, *id).await?;
            Ok(found.map(Arc::new))
        })
        .await
    }

    async fn endpoints(
        &self,
        workspace: &WorkspaceId,
        after: Option<EndpointId>,
        limit: NonZeroU16,
    ) -> Result<Vec<Arc<Endpoint>>, StoreError> {
        self.call("list endpoints", async |connection| {
            let rows = sqlx::query(
                "SELECT id, workspace, slug, revision, created_at, auth, config FROM endpoints
                 WHERE workspace = $1 AND ($2 IS NULL OR id > $2) ORDER BY id LIMIT $3",
            )
            .bind(Uuid::from(*workspace))
            .bind(after.map(Uuid::from))
            .bind(i64::from(limit.get()))
            .fetch_all(connection)
            .await
            .map_err(read_failed)?;
            rows.iter().map(|row| endpoint(row).map(Arc::new)).collect()
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
        self.change("change an endpoint", async |connection| {
            let mut transaction = begin_change(connection, *id).await?;
            let Some(endpoint) = select_by_id(&mut transaction, *workspace, *id).await? else {
                return Ok(Updated::Missing);
            };
            if endpoint.revision != expected {
                return Ok(Updated::Conflict(endpoint.revision));
            }
            let endpoint = patch.apply(&endpoint);
            sqlx::query("UPDATE endpoints SET revision = $2, auth = $3, config = $4 WHERE id = $1")
                .bind(Uuid::from(endpoint.id))
                .bind(number(endpoint.revision.get()))
                .bind(json(&endpoint.auth)?)
                .bind(json(&endpoint.config)?)
                .execute(&mut *transaction)
                .await
                .map_err(change_failed)?;
            commit_change(transaction, &endpoint.slug).await?;
            Ok(Updated::Updated(Arc::new(endpoint)))
        })
        .await
    }

    async fn delete(&self, workspace: &WorkspaceId, id: &EndpointId) -> Result<bool, StoreError> {
        let deleted = self
            .change("delete an endpoint", async |connection| {
                let mut transaction = begin_change(connection, *id).await?;
                let deleted: Option<String> = sqlx::query_scalar(
                    "WITH deleted AS (
                         DELETE FROM endpoints WHERE id = $1 AND workspace = $2
                         RETURNING number, slug
                     ), left_over AS (INSERT INTO purges (endpoint) SELECT number FROM deleted)
                     SELECT slug FROM deleted",
                )
                .bind(Uuid::from(*id))
                .bind(Uuid::from(*workspace))
                .fetch_optional(&mut *transaction)
                .await
                .map_err(change_failed)?;
                let Some(slug) = deleted else {
                    return Ok(false);
                };
                let slug = slug.parse().map_err(|_| corrupt("endpoints", "slug"))?;
                commit_change(transaction, &slug).await?;
                Ok(true)
            })
            .await?;
        if deleted {
            self.chores.notify_one();
        }
        Ok(deleted)
    }
}

/// Begins a transaction that alone may change the endpoint, once every batch is committed that
/// was checked against it as it stands.
async fn begin_change(
    connection: &mut PgConnection,
    id: EndpointId,
) -> Result<Transaction<'_, Postgres>, StoreError> {
    let mut transaction = connection.begin().await.map_err(change_failed)?;
    sqlx::query("SELECT pg_advisory_xact_lock($1, $2)")
        .bind(locks::ENDPOINT)
        .bind(stripe_of(id))
        .execute(&mut *transaction)
        .await
        .map_err(change_failed)?;
    Ok(transaction)
}

/// Commits the change, and tells every node.
async fn commit_change(
    mut transaction: Transaction<'_, Postgres>,
    slug: &Slug,
) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_notify('ploy_endpoints', current_schema() || ' ' || $1)")
        .bind(slug.as_str())
        .execute(&mut *transaction)
        .await
        .map_err(change_failed)?;
    transaction.commit().await.map_err(change_failed)
}

async fn select_by_id(
    connection: &mut PgConnection,
    workspace: WorkspaceId,
    id: EndpointId,
) -> Result<Option<Endpoint>, StoreError> {
    sqlx::query(
        "SELECT id, workspace, slug, revision, created_at, auth, config
         FROM endpoints WHERE id = $1 AND workspace = $2",
    )
    .bind(Uuid::from(id))
    .bind(Uuid::from(workspace))
    .fetch_optional(connection)
    .await
    .map_err(read_failed)?
    .map(|row| endpoint(&row))
    .transpose()
}

fn endpoint(row: &PgRow) -> Result<Endpoint, StoreError> {
    let (id, workspace): (Uuid, Uuid) =
        (row.try_get(0).map_err(read_failed)?, row.try_get(1).map_err(read_failed)?);
    let slug: &str = row.try_get(2).map_err(read_failed)?;
    let mut endpoint = Endpoint::new(
        id.into(),
        workspace.into(),
        slug.parse().map_err(|_| corrupt("endpoints", "slug"))?,
        Timestamp::from_millis(unsigned(row, 4)?),
        from_json(row, 5, "auth")?,
        from_json(row, 6, "config")?,
    );
    endpoint.revision = Revision::new(unsigned(row, 3)?);
    Ok(endpoint)
}

fn from_json<T: serde::de::DeserializeOwned>(
    row: &PgRow,
    column: usize,
    name: &str,
) -> Result<T, StoreError> {
    let text: &str = row.try_get(column).map_err(read_failed)?;
    serde_json::from_str(text).map_err(|error| corrupt("endpoints", name).because(error))
}

fn unsigned(row: &PgRow, column: usize) -> Result<u64, StoreError> {
    let number: i64 = row.try_get(column).map_err(read_failed)?;
    Ok(number.cast_unsigned())
}

/// A count as Postgres has it. None comes near the sign.
fn number(count: u64) -> i64 {
    count.cast_signed()
}

fn read_failed(error: sqlx::Error) -> StoreError {
    store_error("cannot read the endpoints", error)
}

fn change_failed(error: sqlx::Error) -> StoreError {
    write_error("cannot change an endpoint", error)
}

#[async_trait]
impl TokenStore for PostgresStore {
    async fn root_token(&self) -> Result<Option<SecretDigest>, StoreError> {
        self.call("read the root token", async |connection| {
            let digest: Option<Vec<u8>> =
                sqlx::query_scalar("SELECT digest FROM tokens WHERE name = 'root'")
                    .fetch_optional(connection)
                    .await
                    .map_err(|error| store_error("cannot read the root token", error))?;
            digest.map(root_token).transpose()
        })
        .await
    }

    async fn claim_root_token(
        &self,
        digest: SecretDigest,
        now: Timestamp,
    ) -> Result<SecretDigest, StoreError> {
        self.change("set the root token", async |connection| {
            let failed = |error| write_error("cannot set the root token", error);
            sqlx::query(
                "INSERT INTO tokens (name, digest, created_at) VALUES ('root', $1, $2)
                 ON CONFLICT DO NOTHING",
            )
            .bind(&digest.as_bytes()[..])
            .bind(number(now.as_millis()))
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
            let stands: Vec<u8> =
                sqlx::query_scalar("SELECT digest FROM tokens WHERE name = 'root'")
                    .fetch_one(connection)
                    .await
                    .map_err(failed)?;
            root_token(stands)
        })
        .await
    }
}

fn root_token(digest: Vec<u8>) -> Result<SecretDigest, StoreError> {
    let digest = <[u8; 32]>::try_from(digest).map_err(|_| corrupt("tokens", "digest"))?;
    Ok(SecretDigest::from_bytes(digest))
}
