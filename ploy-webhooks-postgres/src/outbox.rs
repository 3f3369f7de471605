//! [`Outbox`]: events that an app publishes in the transaction that writes its own data.

use ploy_webhooks::{Clock, EventId, Publication, SystemClock};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor, SqlSafeStr, SqlStr};
use thiserror::Error;

use crate::PostgresStore;
use crate::settings::is_schema_name;
use crate::wire::Uuid;

/// Where an app puts the events that it publishes together with its own data, in the database that
/// the store is in too. What is committed becomes an event, once, with all that the subscriptions
/// of its workspace have it run; what is rolled back never was.
///
/// An app needs no [`PostgresStore`] for it, only the name of the schema, and a connection of the
/// [version of `sqlx`](crate::sqlx) that this crate has. Some node relays:
/// [`PostgresStore::relay_outbox`].
#[derive(Clone, Debug)]
pub struct Outbox {
    schema: String,
    insert: SqlStr,
}

impl Default for Outbox {
    /// That of the schema `ploy`, which is the default of
    /// [`PostgresSettings`](crate::PostgresSettings) too.
    fn default() -> Self {
        Self::of("ploy")
    }
}

impl Outbox {
    /// How many bytes of payload an event of the outbox may have, inclusive: 8 MiB, what one commit
    /// of a node takes.
    pub const PAYLOAD_BYTES_MAX: usize = 8 << 20;

    /// How many bytes an idempotency key may have, inclusive. It has one at least.
    pub const KEY_BYTES_MAX: usize = 255;

    /// The outbox of the store in that schema.
    ///
    /// # Errors
    ///
    /// [`Schema`](OutboxError::Schema) where a store cannot have a schema of that name.
    pub fn in_schema(schema: &str) -> Result<Self, OutboxError> {
        if is_schema_name(schema) { Ok(Self::of(schema)) } else { Err(OutboxError::Schema) }
    }

    /// The name is one that needs no quotes.
    fn of(schema: &str) -> Self {
        let insert = format!(
            "WITH put AS (
                 INSERT INTO {schema}.outbox (id, workspace, type, key, payload)
                 VALUES ($1, $2, $3, $4, $5) RETURNING id
             ) SELECT pg_notify('ploy_outbox', '{schema}') FROM put"
        );
        Self { schema: schema.to_owned(), insert: AssertSqlSafe(insert).into_sql_str() }
    }

    /// Puts an event into the outbox: part of the transaction that the connection is in, and
    /// published when that is committed. Returns the id that the event will have, if it is not a
    /// repeat by its [idempotency key](Publication::idempotency_key).
    ///
    /// Events of one transaction are published in the order of these calls, and their ids are in
    /// that order. It is one round trip, and takes no lock that another transaction waits for until
    /// the commit.
    ///
    /// # Errors
    ///
    /// Any [`OutboxError`]. By any of the server's, Postgres gives up the whole transaction. After
    /// [`TooLarge`](OutboxError::TooLarge) and [`Key`](OutboxError::Key), of which it hears nothing,
    /// the transaction goes on.
    ///
    /// # Cancel safety
    ///
    /// After a call that is dropped, roll the transaction back: it may hold the event or not.
    pub async fn publish(
        &self,
        connection: &mut PgConnection,
        publication: &Publication,
    ) -> Result<EventId, OutboxError> {
        check(publication)?;
        let id = EventId::mint(SystemClock.now());
        let Publication { workspace, event_type, payload, idempotency_key, .. } = publication;
        let insert = sqlx::query(self.insert.clone())
            .bind(Uuid::from(id))
            .bind(Uuid::from(*workspace))
            .bind(event_type.as_str())
            .bind(idempotency_key.as_ref().map(String::as_bytes))
            .bind(&payload[..]);
        connection.execute(insert).await.map_err(|error| self.failed(error))?;
        Ok(id)
    }

    fn failed(&self, source: sqlx::Error) -> OutboxError {
        let schema = self.schema.clone();
        let code = source.as_database_error().and_then(|error| error.code());
        match code.as_deref() {
            // An undefined table, or schema.
            Some("42P01" | "3F000") => OutboxError::Missing { schema },
            Some("42501") => OutboxError::Denied { schema },
            _ => OutboxError::Failed(source),
        }
    }
}

/// Refuses what would hold up others, or repeat them by mistake.
fn check(publication: &Publication) -> Result<(), OutboxError> {
    let bytes = publication.payload.len();
    if bytes > Outbox::PAYLOAD_BYTES_MAX {
        return Err(OutboxError::TooLarge { bytes });
    }
    match publication.idempotency_key.as_ref().map(String::len) {
        Some(bytes) if !(1..=Outbox::KEY_BYTES_MAX).contains(&bytes) => {
            Err(OutboxError::Key { bytes })
        }
        _ => Ok(()),
    }
}

impl PostgresStore {
    /// The outbox of this store.
    #[must_use]
    pub fn outbox(&self) -> Outbox {
        Outbox::of(&self.shared.settings.schema)
    }
}

/// Why an event was not put into the outbox.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// No store has a schema of that name.
    #[error("the schema of an outbox has a name of 1 to 63 characters of a-z, 0-9 and _")]
    Schema,
    /// The payload is longer than [`Outbox::PAYLOAD_BYTES_MAX`].
    #[error(
        "an event of the outbox has a payload of {max} bytes at most, and this one has {bytes}: \
         publish a reference to what it holds",
        max = Outbox::PAYLOAD_BYTES_MAX
    )]
    TooLarge {
        /// How long it is.
        bytes: usize,
    },
    /// The idempotency key is empty, or longer than [`Outbox::KEY_BYTES_MAX`].
    #[error(
        "an idempotency key has 1 to {max} bytes, and this one has {bytes}: leave it out, or make it \
         a digest of what it is made of",
        max = Outbox::KEY_BYTES_MAX
    )]
    Key {
        /// How long it is.
        bytes: usize,
    },
    /// There is no table.
    #[error(
        "there is no outbox in the schema `{schema}` of this database: open the store there once, \
         which makes it"
    )]
    Missing {
        /// Where it was looked for.
        schema: String,
    },
    /// The role of the connection lacks a right.
    #[error(
        "this role may not write to the outbox: GRANT USAGE ON SCHEMA {schema} and INSERT, SELECT ON \
         {schema}.outbox to it"
    )]
    Denied {
        /// Where the outbox is.
        schema: String,
    },
    /// Anything else that the connection or the server says.
    #[error("cannot write to the outbox: roll the transaction back")]
    Failed(#[source] sqlx::Error),
}
