//! Connections: opened, migrated, set up alike.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use ploy_webhooks::store::{StoreError, StoreErrorKind};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::error::store_error;
use crate::settings::{Durability, SqliteSettings};

/// `ploy` in ASCII: tells such a file from any other SQLite database.
pub(crate) const APPLICATION_ID: i32 = 0x706c_6f79;
pub(crate) const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_init.sql"),
    include_str!("../migrations/0002_line.sql"),
    include_str!("../migrations/0003_lanes.sql"),
    include_str!("../migrations/0004_dedup.sql"),
    include_str!("../migrations/0005_activity.sql"),
    include_str!("../migrations/0006_destinations.sql"),
    include_str!("../migrations/0007_feed.sql"),
    include_str!("../migrations/0008_history.sql"),
];
/// Rows of about a kibibyte: a larger page holds more of them, and a commit writes fewer pages.
pub(crate) const PAGE_BYTES: u32 = 8_192;
/// The pages that a writer comes back to: the last of each table, and what leads to them.
const CACHE_KIBIBYTES: i32 = 16 << 10;

/// Holds the file for this process.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// # Errors
    ///
    /// `Refused` when another process has the file, or the lock's own file cannot be made.
    pub(crate) fn take(path: &Path) -> Result<Self, StoreError> {
        let lock_path = with_suffix(path, "-lock");
        let refused = |message: String| StoreError::new(StoreErrorKind::Refused, message);
        let file =
            File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(
                |error| {
                    refused(format!("cannot open {}: {error}", lock_path.display())).because(error)
                },
            )?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(refused(format!(
                "{} is in use by another process: stop that one, or give this one another file",
                path.display()
            ))),
            Err(TryLockError::Error(error)) => {
                Err(refused(format!("cannot lock {}: {error}", lock_path.display())).because(error))
            }
        }
    }
}

/// What outlasts every connection: the claim on the file, and the file once more, to flush it.
///
/// SQLite flushes the database only when nothing was added to the log meanwhile. And closing the
/// file would end SQLite's own locks on it, as POSIX has it.
#[derive(Debug)]
pub(crate) struct Hold {
    file: File,
    _lock: Lock,
}

impl Hold {
    /// Holds the database, which is there.
    pub(crate) fn new(settings: &SqliteSettings, lock: Lock) -> Result<Self, StoreError> {
        let file = File::open(&settings.path).map_err(|error| {
            StoreError::new(StoreErrorKind::Unavailable, "cannot open the database file")
                .because(error)
        })?;
        Ok(Self { file, _lock: lock })
    }

    pub(crate) fn flush(&self) -> std::io::Result<()> {
        self.file.sync_data()
    }
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes the database where it is missing, brings its tables up to date, and returns the
/// connection that did.
pub(crate) fn create_or_migrate(settings: &SqliteSettings) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut connection = open(settings, flags)?;
    prepare(&mut connection, settings)
        .map_err(|error| store_error("cannot prepare the database", error))?;
    migrate(&mut connection, settings)?;
    Ok(connection)
}

/// A connection that writes, to a database that is there.
pub(crate) fn open_writer(settings: &SqliteSettings) -> Result<Connection, StoreError> {
    let mut connection = open(settings, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    prepare(&mut connection, settings)
        .map_err(|error| store_error("cannot open the database again", error))?;
    Ok(connection)
}

/// A connection that reads, to a database that is there.
pub(crate) fn open_reader(settings: &SqliteSettings) -> Result<Connection, StoreError> {
    let connection = open(settings, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection
        .busy_timeout(settings.lock_timeout)
        .map_err(|error| store_error("cannot open the database for reading", error))?;
    Ok(connection)
}

fn open(settings: &SqliteSettings, flags: OpenFlags) -> Result<Connection, StoreError> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
    let connection = Connection::open_with_flags(&settings.path, flags)
        .map_err(|error| store_error("cannot open the database file", error))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn prepare(connection: &mut Connection, settings: &SqliteSettings) -> rusqlite::Result<()> {
    connection.busy_timeout(settings.lock_timeout)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(
        None,
        "synchronous",
        match settings.durability {
            Durability::Full => "full",
            Durability::Process => "off",
        },
    )?;
    connection.pragma_update(None, "cache_size", -CACHE_KIBIBYTES)?;
    // How to undo a statement that files many runs is held in memory, not written to a file.
    connection.pragma_update(None, "temp_store", "memory")?;
    // Not within a commit: see `checkpoint.rs`.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // What an endpoint's deletion frees is overwritten where that costs no further write.
    connection.pragma_update(None, "secure_delete", "fast")?;
    if let Some(bytes) = settings.file_bytes_max {
        connection.pragma_update(None, "max_page_count", (bytes / u64::from(PAGE_BYTES)).max(1))?;
    }
    Ok(())
}

fn migrate(connection: &mut Connection, settings: &SqliteSettings) -> Result<(), StoreError> {
    let failed = |error| store_error("cannot bring the database up to date", error);
    let refused = |message: String| {
        let path = settings.path.display();
        Err(StoreError::new(StoreErrorKind::Refused, format!("{path} {message}")))
    };
    let step =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let read = |pragma| step.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let application_id = read("application_id").map_err(failed)?;
    let version = read("user_version").map_err(failed)?;
    let tables: i64 = step
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(failed)?;
    if application_id != APPLICATION_ID && tables > 0 {
        return refused("is a database of another program: give another file".to_owned());
    }
    let done = usize::try_from(version).unwrap_or(usize::MAX);
    if done > MIGRATIONS.len() {
        let known = MIGRATIONS.len();
        return refused(format!(
            "is at version {version}, and this program knows versions up to {known}: use a newer one"
        ));
    }
    if done == MIGRATIONS.len() {
        return Ok(());
    }
    for migration in &MIGRATIONS[done..] {
        step.execute_batch(migration).map_err(failed)?;
    }
    step.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
    step.pragma_update(None, "user_version", MIGRATIONS.len()).map_err(failed)?;
    step.commit().map_err(failed)
}
