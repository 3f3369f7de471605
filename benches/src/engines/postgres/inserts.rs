//! An app that takes webhooks by hand: one INSERT a request.

use ploy_webhooks::{Clock, EndpointId, EventId, SystemClock};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::types::Uuid;
use sqlx::{AssertSqlSafe, Executor};

/// A pool, and a table with the columns that any app would have.
#[derive(Debug)]
pub struct Inserts {
    pool: PgPool,
    endpoint: Uuid,
}

/// As many as apps have: a core that serves Postgres does no more with more of them.
const CONNECTIONS: u32 = 20;

impl Inserts {
    /// Makes the table, in a schema of its own.
    ///
    /// # Errors
    ///
    /// When the server refuses.
    pub async fn open(options: &PgConnectOptions, schema: &str) -> sqlx::Result<Self> {
        let options = options.clone().options([("search_path", schema)]);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            // By default each INSERT is preceded by a round trip that asks whether the connection
            // lives. An app that is tuned does without, and it is the faster one to be beside.
            .test_before_acquire(false)
            .connect_with(options)
            .await?;
        let tables = format!(
            "CREATE SCHEMA {schema};
             CREATE TABLE {schema}.events (
                 id       uuid        PRIMARY KEY,
                 endpoint uuid        NOT NULL,
                 received timestamptz NOT NULL DEFAULT now(),
                 headers  bytea,
                 payload  bytea       NOT NULL
             )"
        );
        pool.execute(sqlx::raw_sql(AssertSqlSafe(tables))).await?;
        let endpoint = EndpointId::mint(SystemClock.now());
        Ok(Self { pool, endpoint: Uuid::from_bytes(*endpoint.as_bytes()) })
    }

    /// Stores one event.
    ///
    /// # Errors
    ///
    /// When the server refuses.
    pub async fn insert(&self, payload: &[u8]) -> sqlx::Result<()> {
        let id = EventId::mint(SystemClock.now());
        sqlx::query("INSERT INTO events (id, endpoint, headers, payload) VALUES ($1, $2, $3, $4)")
            .bind(Uuid::from_bytes(*id.as_bytes()))
            .bind(self.endpoint)
            .bind(None::<&[u8]>)
            .bind(payload)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Gives the connections back.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
