//! Postgres: a throwaway server.

use std::sync::{Arc, Mutex};

use ploy_webhooks::Fence;
use ploy_webhooks_engines::Postgres;
use ploy_webhooks_postgres::{PostgresSettings, PostgresStore};
use sqlx::postgres::PgConnection;
use sqlx::types::Uuid;
use sqlx::{Connection, Executor};

use super::{DedupError, Ground, Keys, Store};
use crate::folder;
use crate::report::show;

/// The rows of one statement: so many that it costs little by itself, so few that the log does not
/// fill up with one.
const ROWS_AT_ONCE: u64 = 250_000;

const REMEMBER: &str = "
    INSERT INTO ploy.dedup (key, event, endpoint, expires_at, slot)
    SELECT gen_random_uuid(), gen_random_uuid(), n.number, now() + $2 * interval '1 second', g.slot
    FROM ploy.endpoints n, ploy.generations g, generate_series(1, $1)
    WHERE n.id = $3 AND g.number IS NOT NULL AND g.seal IS NULL";

/// The store does so itself, at about as many.
const SEAL: &str = "
    SET search_path = ploy;
    SELECT seal_generation(max(number)) FROM generations;
    RESET search_path";

const DESCRIBE: &str = "
    SELECT concat('Postgres ', current_setting('server_version'), ', shared_buffers ',
        current_setting('shared_buffers'), ', max_wal_size ', current_setting('max_wal_size'),
        '; keys in ', count(number), ' generations of ', pg_size_pretty(sum(pg_table_size(place))),
        ' with indexes of ', pg_size_pretty(sum(pg_indexes_size(place))))
    FROM ploy.generations";

/// The server, with Postgres's own settings.
#[derive(Debug)]
pub(super) struct PostgresGround {
    server: Postgres,
    open: Mutex<Option<Arc<PostgresStore>>>,
}

impl PostgresGround {
    async fn end_store(&self) {
        let open = self.open.lock().expect("no holder of the lock panics").take();
        if let Some(store) = open {
            store.close().await;
        }
    }
}

impl Ground for PostgresGround {
    async fn make() -> Result<Self, DedupError> {
        let server = Postgres::start();
        folder::on_disk(server.folder())?;
        Ok(Self { server, open: Mutex::default() })
    }

    async fn store(&self) -> Result<Arc<dyn Store>, DedupError> {
        self.end_store().await;
        let settings = PostgresSettings::from_url(self.server.url())?;
        let store = Arc::new(PostgresStore::open(settings).await?);
        *self.open.lock().expect("no holder of the lock panics") = Some(store.clone());
        Ok(store)
    }

    /// Rows as the store writes them, by one statement for many: appends would take ten times as
    /// long.
    async fn remember(
        &self,
        _store: &Arc<dyn Store>,
        fence: Fence,
        keys: Keys,
    ) -> Result<(), DedupError> {
        let mut connection = PgConnection::connect(self.server.url()).await?;
        let mut left = keys.count;
        let mut is_half_full = true;
        while left > 0 {
            let rows = left.min(ROWS_AT_ONCE);
            sqlx::query(REMEMBER)
                .bind(rows.cast_signed())
                .bind(keys.window.as_secs_f64())
                .bind(Uuid::from_bytes(*fence.endpoint.as_bytes()))
                .execute(&mut connection)
                .await?;
            left -= rows;
            // The newest is half full in the end, as it is in the mean.
            if is_half_full && left > 0 {
                connection.execute(SEAL).await?;
            }
            is_half_full = !is_half_full;
            show(&format!("{left} keys to go"));
        }
        // What a server does now and then by itself; now, so that no round has it alone.
        for statement in ["VACUUM ANALYZE ploy.dedup", "CHECKPOINT"] {
            connection.execute(statement).await?;
        }
        Ok(connection.close().await?)
    }

    async fn describe(&self) -> Result<String, DedupError> {
        let mut connection = PgConnection::connect(self.server.url()).await?;
        Ok(sqlx::query_scalar(DESCRIBE).fetch_one(&mut connection).await?)
    }

    async fn close(self) {
        self.end_store().await;
    }
}
