//! [`DefinitionStore`]: what operators define by name.
//!
//! Each change is one statement, which finds the revision that it expects or changes nothing.

use std::num::NonZeroU16;

use async_trait::async_trait;
use ploy_webhooks::store::{Defined, Definition, DefinitionKind, DefinitionStore, StoreError};
use ploy_webhooks::{Revision, WorkspaceId};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use crate::PostgresStore;
use crate::error::{corrupt, store_error, write_error};
use crate::wire::Uuid;

#[async_trait]
impl DefinitionStore for PostgresStore {
    async fn definition(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
    ) -> Result<Option<Definition>, StoreError> {
        self.call("look a definition up", async |connection| {
            sqlx::query(
                "SELECT name, revision, body FROM definitions
                 WHERE workspace = $1 AND kind = $2 AND name = $3",
            )
            .bind(Uuid::from(*workspace))
            .bind(kind.as_str())
            .bind(name)
            .fetch_optional(connection)
            .await
            .map_err(read_failed)?
            .map(|row| definition(&row))
            .transpose()
        })
        .await
    }

    async fn definitions(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        after: Option<&str>,
        limit: NonZeroU16,
    ) -> Result<Vec<Definition>, StoreError> {
        self.call("list definitions", async |connection| {
            let rows = sqlx::query(
                "SELECT name, revision, body FROM definitions
                 WHERE workspace = $1 AND kind = $2 AND ($3 IS NULL OR name > $3)
                 ORDER BY name LIMIT $4",
            )
            .bind(Uuid::from(*workspace))
            .bind(kind.as_str())
            .bind(after)
            .bind(i64::from(limit.get()))
            .fetch_all(connection)
            .await
            .map_err(read_failed)?;
            rows.iter().map(definition).collect()
        })
        .await
    }

    async fn define(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
        expected: Option<Revision>,
        text: &str,
    ) -> Result<Defined, StoreError> {
        let next = expected.map_or(Revision::FIRST, Revision::next);
        let statement = match expected {
            None => INSERT,
            Some(_) => UPDATE,
        };
        self.change("set a definition", async |connection| {
            loop {
                let set = sqlx::query(statement)
                    .bind(Uuid::from(*workspace))
                    .bind(kind.as_str())
                    .bind(name)
                    .bind(number(next))
                    .bind(text.as_bytes())
                    .bind(expected.map(number))
                    .execute(&mut *connection)
                    .await
                    .map_err(change_failed)?;
                if set.rows_affected() > 0 {
                    return Ok(Defined::Defined(next));
                }
                let standing = revision_of(connection, *workspace, kind, name).await?;
                // Where it has become what is expected in between, it is not in the way any more.
                if standing != expected {
                    return Ok(Defined::Conflict(standing));
                }
            }
        })
        .await
    }

    async fn undefine(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
    ) -> Result<bool, StoreError> {
        self.change("delete a definition", async |connection| {
            let deleted = sqlx::query(
                "DELETE FROM definitions WHERE workspace = $1 AND kind = $2 AND name = $3",
            )
            .bind(Uuid::from(*workspace))
            .bind(kind.as_str())
            .bind(name)
            .execute(connection)
            .await
            .map_err(change_failed)?;
            Ok(deleted.rows_affected() > 0)
        })
        .await
    }
}

/// Both take the same arguments; here $6 is NULL.
const INSERT: &str = "
    INSERT INTO definitions (workspace, kind, name, revision, body)
    SELECT $1, $2, $3, $4, $5 WHERE $6::bigint IS NULL ON CONFLICT DO NOTHING";
const UPDATE: &str = "
    UPDATE definitions SET revision = $4, body = $5
    WHERE workspace = $1 AND kind = $2 AND name = $3 AND revision = $6";

async fn revision_of(
    connection: &mut PgConnection,
    workspace: WorkspaceId,
    kind: DefinitionKind,
    name: &str,
) -> Result<Option<Revision>, StoreError> {
    let standing: Option<i64> = sqlx::query_scalar(
        "SELECT revision FROM definitions WHERE workspace = $1 AND kind = $2 AND name = $3",
    )
    .bind(Uuid::from(workspace))
    .bind(kind.as_str())
    .bind(name)
    .fetch_optional(connection)
    .await
    .map_err(read_failed)?;
    Ok(standing.map(revision))
}

pub(crate) fn definition(row: &PgRow) -> Result<Definition, StoreError> {
    let body: Vec<u8> = row.try_get(2).map_err(read_failed)?;
    Ok(Definition {
        name: row.try_get(0).map_err(read_failed)?,
        revision: revision(row.try_get(1).map_err(read_failed)?),
        text: String::from_utf8(body).map_err(|_| corrupt("definitions", "body"))?,
    })
}

/// A count as Postgres has it. None comes near the sign.
fn number(revision: Revision) -> i64 {
    revision.get().cast_signed()
}

fn revision(number: i64) -> Revision {
    Revision::new(number.cast_unsigned())
}

fn read_failed(error: sqlx::Error) -> StoreError {
    store_error("cannot read the definitions", error)
}

fn change_failed(error: sqlx::Error) -> StoreError {
    write_error("cannot change a definition", error)
}
