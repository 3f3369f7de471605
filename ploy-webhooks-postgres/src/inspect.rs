//! What the store and its server are found to be, without opening the store.

use ploy_webhooks::WorkspaceId;
use ploy_webhooks::store::{
    Definition, DefinitionKind, Format, Inspection, StoreError, StoreErrorKind,
};

use crate::database;
use crate::definitions::definition;
use crate::error::store_error;
use crate::settings::PostgresSettings;
use crate::wire::Uuid;
use crate::{PostgresStore, in_time};

impl PostgresStore {
    /// What is found of the server and of the store on it. Nothing is made or changed.
    ///
    /// # Errors
    ///
    /// - [`Unavailable`](StoreErrorKind::Unavailable): the server cannot be reached.
    /// - [`Misuse`](StoreErrorKind::Misuse): a setting is none.
    pub async fn inspect(settings: &PostgresSettings) -> Result<Inspection, StoreError> {
        settings.check()?;
        let schema = settings.checked_schema()?;
        let limit = settings.call_timeout;
        let mut connection = database::connect(settings, limit).await?;
        in_time(limit, async {
            let (version, of_server) = database::settings_of(&mut connection).await?;
            let format = database::format(&mut connection, schema).await?;
            let refusal = database::check(&mut connection, settings.durability).await.err();
            let refusal = refusal.or_else(|| too_new(format));
            Ok(Inspection {
                engine: format!("PostgreSQL {version}"),
                format,
                settings: of_server,
                refusal,
            })
        })
        .await
    }

    /// The keyring that is kept in the store, wrapped as it is, of a store that
    /// [`inspect`](Self::inspect) has found to be up to date. Nothing is made or changed.
    ///
    /// # Errors
    ///
    /// - [`Unavailable`](StoreErrorKind::Unavailable): the server cannot be reached.
    /// - [`Misuse`](StoreErrorKind::Misuse): a setting is none.
    /// - [`Corrupt`](StoreErrorKind::Corrupt): what is kept cannot be read.
    pub async fn inspect_keyring(
        settings: &PostgresSettings,
    ) -> Result<Option<Definition>, StoreError> {
        settings.check()?;
        let limit = settings.call_timeout;
        let mut connection = database::connect(settings, limit).await?;
        in_time(limit, async {
            let select = "SELECT name, revision, body FROM definitions
                          WHERE workspace = $1 AND kind = $2 LIMIT 1";
            let found = sqlx::query(select)
                .bind(Uuid::from(WorkspaceId::ROOT))
                .bind(DefinitionKind::Keyring.as_str())
                .fetch_optional(&mut connection)
                .await
                .map_err(|error| store_error("cannot read the keyring", error))?;
            found.map(|row| definition(&row)).transpose()
        })
        .await
    }
}

fn too_new(format: Format) -> Option<StoreError> {
    let Format::Current { version } = format else { return None };
    let known = database::newest_version();
    (version > known).then(|| {
        let message = format!(
            "the tables are of version {version}, and this program knows versions up to {known}: use \
             a newer one"
        );
        StoreError::new(StoreErrorKind::Refused, message)
    })
}
