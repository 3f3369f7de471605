//! What Postgres can take at all: batches of one size, one after the other over a few
//! connections, into a table without any index, for nobody who waits.

use std::sync::Arc;

use ploy_webhooks::{Clock, EndpointId, EventId, SystemClock};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::types::Uuid;
use sqlx::{AssertSqlSafe, Connection, Executor};

use crate::engines::callers::Caller;
use crate::engines::source::Source;
use crate::engines::{EnginesError, Limit, Way};

/// Makes the table, in a schema of its own.
pub(crate) async fn make_table(options: &PgConnectOptions, schema: &str) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect_with(options).await?;
    let tables = format!(
        "CREATE SCHEMA {schema};
         CREATE TABLE {schema}.events (
             id       uuid        NOT NULL,
             endpoint uuid        NOT NULL,
             received timestamptz NOT NULL DEFAULT now(),
             headers  bytea,
             payload  bytea       NOT NULL
         );
         ALTER TABLE {schema}.events ALTER COLUMN payload SET STORAGE EXTERNAL"
    );
    connection.execute(sqlx::raw_sql(AssertSqlSafe(tables))).await?;
    connection.close().await
}

/// A connection that is kept busy.
#[derive(Debug)]
pub(crate) struct Batches {
    connection: PgConnection,
    source: Arc<Source>,
    limit: Limit,
    endpoint: EndpointId,
    /// What is copied, kept so that it is not made anew.
    buffer: Vec<u8>,
}

impl Batches {
    pub(crate) async fn open(
        options: &PgConnectOptions,
        schema: &str,
        limit: Limit,
        source: Arc<Source>,
    ) -> sqlx::Result<Self> {
        let options = options.clone().options([("search_path", schema)]);
        let connection = PgConnection::connect_with(&options).await?;
        let endpoint = EndpointId::mint(SystemClock.now());
        Ok(Self { connection, source, limit, endpoint, buffer: Vec::new() })
    }

    async fn unnest(&mut self) -> sqlx::Result<()> {
        let ids = ids(self.limit.batch).map(|id| Uuid::from_bytes(*id.as_bytes()));
        let payloads = self.source.payloads(self.limit.batch);
        sqlx::query(
            "INSERT INTO events (id, endpoint, payload)
             SELECT id, $1, payload FROM unnest($2, $3) AS event (id, payload)",
        )
        .bind(Uuid::from_bytes(*self.endpoint.as_bytes()))
        .bind(ids.collect::<Vec<_>>())
        .bind(payloads)
        .execute(&mut self.connection)
        .await?;
        Ok(())
    }

    async fn copy(&mut self) -> sqlx::Result<()> {
        let payloads = self.source.payloads(self.limit.batch);
        self.buffer.clear();
        // The signature, then flags and an extension, of which there are none.
        self.buffer.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
        for (id, payload) in ids(self.limit.batch).zip(payloads) {
            self.buffer.extend_from_slice(&3_i16.to_be_bytes());
            for field in [&id.as_bytes()[..], &self.endpoint.as_bytes()[..], payload] {
                let bytes = i32::try_from(field.len()).expect("payloads are small");
                self.buffer.extend_from_slice(&bytes.to_be_bytes());
                self.buffer.extend_from_slice(field);
            }
        }
        self.buffer.extend_from_slice(&(-1_i16).to_be_bytes());
        let copy = "COPY events (id, endpoint, payload) FROM STDIN (FORMAT binary)";
        let mut copy = self.connection.copy_in_raw(copy).await?;
        copy.send(&self.buffer[..]).await?;
        copy.finish().await?;
        Ok(())
    }
}

impl Caller for Batches {
    async fn step(&mut self) -> Result<u64, EnginesError> {
        match self.limit.way {
            Way::Batch => self.unnest().await?,
            Way::Copy => self.copy().await?,
        }
        Ok(self.limit.batch as u64)
    }
}

fn ids(count: usize) -> impl Iterator<Item = EventId> {
    std::iter::repeat_with(|| EventId::mint(SystemClock.now())).take(count)
}
