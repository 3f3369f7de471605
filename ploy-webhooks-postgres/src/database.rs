//! Connections, the schema, and whether the server keeps what the store promises.

use std::borrow::Cow;
use std::time::Duration;

use ploy_webhooks::store::{Format, StoreError, StoreErrorKind};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Executor, Postgres, Row};
use sqlx_core::migrate::{MigrateError, Migration, MigrationType, Migrator};
use tokio::time::timeout;

use crate::error::{store_error, timed_out};
use crate::settings::{Durability, PostgresSettings};

/// The first of the two numbers of an advisory lock says what is locked.
pub(crate) mod locks {
    /// An endpoint, by the stripe that it falls into: see `fence` in `endpoints.rs`. The
    /// function `append` names the same number.
    pub(crate) const ENDPOINT: i32 = 1_886_154_617;
    /// A stream, by its number.
    pub(crate) const STREAM: i32 = ENDPOINT + 1;
    /// What one node does for all, by what it is.
    pub(crate) const CHORE: i32 = ENDPOINT + 2;
    // ENDPOINT + 3 is held by whoever enters runs: see the function `enter_runs`. ENDPOINT + 4 by
    // batches with keys and by whoever seals a generation: see `hold_generations`.
}

/// Postgres 14 and later: `ATTACH` of a partition beside a default one, and the planner's way
/// with `NOT EXISTS` over arrays.
const SERVER_VERSION_MIN: i32 = 140_000;

/// How a connection of the store is made.
fn options(settings: &PostgresSettings, statement_timeout: Duration) -> PgConnectOptions {
    let millis = |duration: Duration| format!("{}ms", duration.as_millis().max(1));
    settings
        .connect
        .clone()
        .application_name("ploy-webhooks")
        .options([
            ("search_path", settings.schema.clone()),
            ("statement_timeout", millis(statement_timeout)),
            ("lock_timeout", millis(statement_timeout)),
            // A node that is cut off amid a change keeps the appends of all others waiting.
            ("idle_in_transaction_session_timeout", millis(settings.append_timeout)),
            // In any other, a batch would read revisions as they were before it held its locks.
            ("default_transaction_isolation", "read committed".to_owned()),
            // A writer may have nothing to write for days.
            ("idle_session_timeout", "0".to_owned()),
            ("jit", "off".to_owned()),
            // A plan that knows the times it is made for looks at no other partitions.
            ("plan_cache_mode", "force_custom_plan".to_owned()),
        ])
        // What a statement costs is measured by the benches; nobody's log is filled with it.
        .disable_statement_logging()
}

/// A connection for one writer. The server gives a batch up a little before the writer does, so
/// that the writer hears of it; but not one whose commit has begun.
pub(crate) async fn connect_writer(
    settings: &PostgresSettings,
) -> Result<PgConnection, StoreError> {
    let options = options(settings, settings.append_timeout.mul_f32(0.9))
        // What a writer runs has one good plan, and making another each time costs more than to
        // run it.
        .options([("plan_cache_mode", "force_generic_plan")]);
    connect_with(settings, &options).await
}

/// A connection for entering runs. A crash that loses what was not flushed loses nothing: what was
/// entered is put down as it was before.
pub(crate) async fn connect_enterer(
    settings: &PostgresSettings,
) -> Result<PgConnection, StoreError> {
    let options = options(settings, settings.call_timeout).options([("synchronous_commit", "off")]);
    connect_with(settings, &options).await
}

/// The process of the server behind a connection.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    pid: i32,
    /// Another process may get the same number.
    started_at: String,
}

impl Backend {
    pub(crate) async fn of(connection: &mut PgConnection) -> Result<Self, StoreError> {
        let failed = |error| store_error("cannot tell the session", error);
        let row = connection
            .fetch_one(
                "SELECT pid, backend_start::text FROM pg_stat_activity
                 WHERE pid = pg_backend_pid()",
            )
            .await
            .map_err(failed)?;
        let (pid, started_at) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
        Ok(Self { pid, started_at })
    }

    /// Ends it, if it is still there. What fails is left to the server.
    pub(crate) async fn end(&self, pool: &PgPool, limit: Duration) {
        let what = "cannot end a session";
        let ended = within(pool, limit, what, StoreErrorKind::Unavailable, async |connection| {
            sqlx::query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE pid = $1 AND backend_start::text = $2",
            )
            .bind(self.pid)
            .bind(&self.started_at)
            .execute(connection)
            .await
            .map_err(|error| store_error(what, error))
        });
        if let Err(error) = ended.await {
            tracing::debug!(%error, "a session of a writer is left to the server");
        }
    }
}

/// A connection of its own.
pub(crate) async fn connect(
    settings: &PostgresSettings,
    statement_timeout: Duration,
) -> Result<PgConnection, StoreError> {
    connect_with(settings, &options(settings, statement_timeout)).await
}

async fn connect_with(
    settings: &PostgresSettings,
    options: &PgConnectOptions,
) -> Result<PgConnection, StoreError> {
    let what = "cannot connect to Postgres";
    match timeout(settings.connect_timeout, PgConnection::connect_with(options)).await {
        Ok(connected) => connected.map_err(|error| store_error(what, error)),
        Err(_) => Err(timed_out(StoreErrorKind::Unavailable, what, settings.connect_timeout)),
    }
}

/// Connections for everything but appends. None is made before it is needed.
pub(crate) fn pool(settings: &PostgresSettings, connections_max: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(settings.connect_timeout)
        .connect_lazy_with(options(settings, settings.call_timeout))
}

/// Does something over a connection of the pool, in time.
pub(crate) async fn within<T>(
    pool: &PgPool,
    limit: Duration,
    what: &'static str,
    when_late: StoreErrorKind,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let connection = pool.acquire().await.map_err(|error| store_error(what, error))?;
    let mut lent = Lent(Some(connection));
    let connection = lent.0.as_mut().expect("it is lent");
    let done = timeout(limit, work(connection))
        .await
        .unwrap_or_else(|_| Err(timed_out(when_late, what, limit)))?;
    drop(lent.0.take());
    Ok(done)
}

/// A connection that goes back to its pool when it is taken out, and else is closed: when what was
/// done over it failed, or was given up. It may be deaf, and the pool would wait for its answer
/// for good; or its session may be set to read only, which the server is no more.
struct Lent(Option<PoolConnection<Postgres>>);

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.0 {
            connection.close_on_drop();
        }
    }
}

/// Makes what is missing of the schema. Any number of nodes may do so at once: one does, and the
/// others wait for it.
pub(crate) async fn migrate(settings: &PostgresSettings) -> Result<(), StoreError> {
    let schema = settings.checked_schema()?;
    let mut connection = connect(settings, MIGRATION_TIMEOUT).await?;
    timeout(MIGRATION_TIMEOUT, migrate_over(&mut connection, schema)).await.unwrap_or_else(
        |_| Err(timed_out(StoreErrorKind::Unavailable, MIGRATE, MIGRATION_TIMEOUT)),
    )?;
    // Nothing waits for a connection that is not used any more.
    let _ = connection.close().await;
    Ok(())
}

async fn migrate_over(connection: &mut PgConnection, schema: &str) -> Result<(), StoreError> {
    let failed = |error| store_error(MIGRATE, error);
    let exists: bool = sqlx::query_scalar("SELECT to_regnamespace($1) IS NOT NULL")
        .bind(schema)
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    let mut migrator = migrator();
    if !exists {
        // Asked for only where it is needed: it takes a right that the table's owner may lack.
        migrator.create_schema(schema.to_owned());
    }
    // Not `run`, whose future is not `Send`.
    migrator.run_direct(None, connection, false).await.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => failed(error),
        error => refused(format!("{MIGRATE}: {error}")).because(error),
    })
}

/// What makes the schema, step by step.
fn migrator() -> Migrator {
    let migration = |version, description: &'static str, sql: &'static str| {
        let description = Cow::Borrowed(description);
        let sql = sqlx::SqlStr::from_static(sql);
        Migration::new(version, description, MigrationType::Simple, sql, false)
    };
    let mut migrator = Migrator::with_migrations(vec![
        migration(1, "init", include_str!("../migrations/0001_init.sql")),
        migration(2, "lanes", include_str!("../migrations/0002_lanes.sql")),
        migration(3, "queue", include_str!("../migrations/0003_queue.sql")),
        migration(4, "definitions", include_str!("../migrations/0004_definitions.sql")),
        migration(5, "keys", include_str!("../migrations/0005_keys.sql")),
        migration(6, "activity", include_str!("../migrations/0006_activity.sql")),
        migration(7, "destinations", include_str!("../migrations/0007_destinations.sql")),
        migration(8, "outbox", include_str!("../migrations/0008_outbox.sql")),
        migration(9, "feed", include_str!("../migrations/0009_feed.sql")),
        migration(10, "retention", include_str!("../migrations/0010_retention.sql")),
        migration(11, "history", include_str!("../migrations/0011_history.sql")),
    ]);
    migrator.dangerous_set_table_name("migrations");
    migrator
}

/// How far the schema is, without making anything.
pub(crate) async fn format(
    connection: &mut PgConnection,
    schema: &str,
) -> Result<Format, StoreError> {
    let failed = |error| store_error("cannot read how far the tables are", error);
    let table = format!("{schema}.migrations");
    let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(&table)
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if !exists {
        return Ok(Format::Missing);
    }
    // The schema is first in the search path.
    let version: Option<i64> =
        sqlx::query_scalar("SELECT max(version) FROM migrations WHERE success")
            .fetch_one(connection)
            .await
            .map_err(failed)?;
    let version = version.and_then(|version| u32::try_from(version).ok()).unwrap_or(0);
    Ok(Format::of(version, newest_version()))
}

/// The version of the schema that this version of the store makes.
pub(crate) fn newest_version() -> u32 {
    let newest = migrator().iter().map(|migration| migration.version).max();
    newest.and_then(|version| u32::try_from(version).ok()).expect("there are a few migrations")
}

/// The settings of the server that matter to what it keeps, by their names, and its version.
pub(crate) async fn settings_of(
    connection: &mut PgConnection,
) -> Result<(String, Vec<(String, String)>), StoreError> {
    const NAMES: [&str; 4] =
        ["fsync", "full_page_writes", "synchronous_commit", "synchronous_standby_names"];
    let failed = |error| store_error("cannot read the settings of Postgres", error);
    let mut settings = Vec::new();
    for name in ["server_version"].iter().chain(&NAMES) {
        let value: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(name)
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
        settings.push(((*name).to_owned(), value));
    }
    let (_, version) = settings.remove(0);
    Ok((version, settings))
}

const MIGRATE: &str = "cannot make the tables of the store";
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(600);

/// Whether the server is one that keeps the promise, now: it may be set anew, or become a
/// standby, while nodes run.
pub(crate) async fn check(
    connection: &mut PgConnection,
    durability: Durability,
) -> Result<(), StoreError> {
    let failed = |error| store_error("cannot read the settings of Postgres", error);
    let row = connection
        .fetch_one(
            "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(),
                 current_setting('transaction_read_only') = 'on',
                 current_setting('fsync'), current_setting('full_page_writes'),
                 current_setting('synchronous_commit'),
                 current_setting('server_encoding')",
        )
        .await
        .map_err(failed)?;
    let version: i32 = row.try_get(0).map_err(failed)?;
    if version < SERVER_VERSION_MIN {
        return Err(refused(format!(
            "Postgres is of version {}: the store needs 14 or later",
            version / 10_000
        )));
    }
    let (is_standby, is_read_only): (bool, bool) =
        (row.try_get(1).map_err(failed)?, row.try_get(2).map_err(failed)?);
    if is_standby || is_read_only {
        // It may become a primary, or the name may come to mean another server.
        return Err(StoreError::new(
            StoreErrorKind::Unavailable,
            "Postgres takes no writes: it is a standby, or set to read only. Connect to the primary",
        ));
    }
    let encoding: String = row.try_get(6).map_err(failed)?;
    if encoding != "UTF8" {
        return Err(refused(format!(
            "the database is in {encoding}: the store needs one that was made with ENCODING 'UTF8'"
        )));
    }
    if durability == Durability::AsConfigured {
        return Ok(());
    }
    for (column, name) in [(3, "fsync"), (4, "full_page_writes"), (5, "synchronous_commit")] {
        let value: String = row.try_get(column).map_err(failed)?;
        if value == "off" {
            return Err(refused(format!(
                "Postgres has {name} = off, with which a crash loses what was answered: set it on, \
                 or say that it is meant (durability=as-configured)"
            )));
        }
    }
    Ok(())
}

fn refused(message: String) -> StoreError {
    StoreError::new(StoreErrorKind::Refused, message)
}
