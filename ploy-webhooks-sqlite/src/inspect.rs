//! What the file of a store is found to be, without opening the store.

use ploy_webhooks::WorkspaceId;
use ploy_webhooks::store::{
    Definition, DefinitionKind, Format, Inspection, StoreError, StoreErrorKind,
};
use rusqlite::{OptionalExtension, params};

use crate::SqliteStore;
use crate::database::{self, APPLICATION_ID, MIGRATIONS};
use crate::definitions::definition;
use crate::error::store_error;
use crate::settings::{Durability, SqliteSettings};

impl SqliteStore {
    /// What is found of the file. Nothing is made or changed, and a process that has the store is not
    /// disturbed.
    ///
    /// # Errors
    ///
    /// - [`Corrupt`](StoreErrorKind::Corrupt): the file is damaged, or no database.
    /// - [`Unavailable`](StoreErrorKind::Unavailable): it cannot be read.
    pub async fn inspect(settings: &SqliteSettings) -> Result<Inspection, StoreError> {
        look(settings, inspect).await
    }

    /// The keyring that is kept in the file, wrapped as it is, of a file that
    /// [`inspect`](Self::inspect) has found to be up to date. Nothing is made or changed, and a process
    /// that has the store is not disturbed.
    ///
    /// # Errors
    ///
    /// - [`Corrupt`](StoreErrorKind::Corrupt): the file is damaged, or no store.
    /// - [`Unavailable`](StoreErrorKind::Unavailable): it cannot be read.
    pub async fn inspect_keyring(
        settings: &SqliteSettings,
    ) -> Result<Option<Definition>, StoreError> {
        look(settings, keyring).await
    }
}

async fn look<T: Send + 'static>(
    settings: &SqliteSettings,
    at: fn(&SqliteSettings) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let settings = settings.clone();
    let looking = tokio::task::spawn_blocking(move || at(&settings));
    looking.await.unwrap_or_else(|error| {
        let message = "inspecting stopped";
        Err(StoreError::new(StoreErrorKind::Unavailable, message).because(error))
    })
}

fn keyring(settings: &SqliteSettings) -> Result<Option<Definition>, StoreError> {
    let connection = database::open_reader(settings)?;
    let select =
        "SELECT name, revision, text FROM definitions WHERE workspace = ?1 AND kind = ?2 LIMIT 1";
    let values = params![WorkspaceId::ROOT.as_bytes(), DefinitionKind::Keyring.as_str()];
    let found = connection.query_row(select, values, definition).optional();
    found.map_err(|error| store_error("cannot read the keyring", error))
}

fn inspect(settings: &SqliteSettings) -> Result<Inspection, StoreError> {
    let synchronous = match settings.durability {
        Durability::Full => "full",
        Durability::Process => "off",
    };
    let mut inspection = Inspection {
        engine: format!("SQLite {}", rusqlite::version()),
        format: Format::Missing,
        settings: vec![
            // As the store sets them itself.
            ("journal_mode".to_owned(), "wal".to_owned()),
            ("synchronous".to_owned(), synchronous.to_owned()),
        ],
        refusal: None,
    };
    if !settings.path.exists() {
        return Ok(inspection);
    }
    let connection = database::open_reader(settings)?;
    let failed = |error| store_error("cannot read the database", error);
    let read = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let (id, version) =
        (read("application_id").map_err(failed)?, read("user_version").map_err(failed)?);
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(failed)?;
    let version = u32::try_from(version).unwrap_or(u32::MAX);
    let needs = u32::try_from(MIGRATIONS.len()).expect("there are a few migrations");
    let refused = |message| Some(StoreError::new(StoreErrorKind::Refused, message));
    let path = settings.path.display();
    if tables > 0 && id != APPLICATION_ID {
        inspection.refusal =
            refused(format!("{path} is a database of another program: give another file"));
    } else if tables > 0 {
        inspection.format = Format::of(version, needs);
        if version > needs {
            inspection.refusal = refused(format!(
                "{path} is at version {version}, and this program knows versions up to {needs}: use a \
                 newer one"
            ));
        }
    }
    Ok(inspection)
}
