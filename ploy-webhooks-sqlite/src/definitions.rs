//! [`DefinitionStore`]: what operators define by name.
//!
//! Changes go through the writer, one after the other: of those that expect one revision, the
//! first finds it.

use std::num::NonZeroU16;

use async_trait::async_trait;
use ploy_webhooks::store::{Defined, Definition, DefinitionKind, DefinitionStore, StoreError};
use ploy_webhooks::{Revision, WorkspaceId};
use rusqlite::{OptionalExtension, Row, params};

use crate::SqliteStore;
use crate::error::store_error;

#[async_trait]
impl DefinitionStore for SqliteStore {
    async fn definition(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
    ) -> Result<Option<Definition>, StoreError> {
        let (workspace, name) = (*workspace, name.to_owned());
        self.look_ups
            .read(move |connection| {
                let mut select = connection
                    .prepare_cached(
                        "-- definition()
                         SELECT name, revision, text FROM definitions
                         WHERE workspace = ?1 AND kind = ?2 AND name = ?3",
                    )
                    .map_err(failed)?;
                let values = params![workspace.as_bytes(), kind.as_str(), name];
                select.query_row(values, definition).optional().map_err(failed)
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
        let (workspace, after) = (*workspace, after.map(str::to_owned));
        self.look_ups
            .read(move |connection| {
                // NULL is no name, and before none.
                let select = match after {
                    Some(_) => {
                        "-- definitions()
                         SELECT name, revision, text FROM definitions
                         WHERE workspace = ?1 AND kind = ?2 AND name > ?3 ORDER BY name LIMIT ?4"
                    }
                    None => {
                        "-- definitions()
                         SELECT name, revision, text FROM definitions
                         WHERE workspace = ?1 AND kind = ?2 AND ?3 IS NULL ORDER BY name LIMIT ?4"
                    }
                };
                let mut select = connection.prepare_cached(select).map_err(failed)?;
                let values = params![workspace.as_bytes(), kind.as_str(), after, limit.get()];
                let found = select.query_map(values, definition).map_err(failed)?;
                found.collect::<rusqlite::Result<_>>().map_err(failed)
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
        let (workspace, name, text) = (*workspace, name.to_owned(), text.to_owned());
        self.write(move |connection| {
            let standing = connection
                .query_row(
                    "SELECT revision FROM definitions
                     WHERE workspace = ?1 AND kind = ?2 AND name = ?3",
                    params![workspace.as_bytes(), kind.as_str(), name],
                    |row| row.get(0).map(Revision::new),
                )
                .optional()?;
            if standing != expected {
                return Ok((Defined::Conflict(standing), None));
            }
            let revision = expected.map_or(Revision::FIRST, Revision::next);
            connection.execute(
                "INSERT OR REPLACE INTO definitions (workspace, kind, name, revision, text)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![workspace.as_bytes(), kind.as_str(), name, revision.get(), text],
            )?;
            Ok((Defined::Defined(revision), None))
        })
        .await
    }

    async fn undefine(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
    ) -> Result<bool, StoreError> {
        let (workspace, name) = (*workspace, name.to_owned());
        self.write(move |connection| {
            let deleted = connection.execute(
                "DELETE FROM definitions WHERE workspace = ?1 AND kind = ?2 AND name = ?3",
                params![workspace.as_bytes(), kind.as_str(), name],
            )?;
            Ok((deleted > 0, None))
        })
        .await
    }
}

pub(crate) fn definition(row: &Row<'_>) -> rusqlite::Result<Definition> {
    Ok(Definition { name: row.get(0)?, revision: Revision::new(row.get(1)?), text: row.get(2)? })
}

fn failed(error: rusqlite::Error) -> StoreError {
    store_error("cannot read the definitions", error)
}
