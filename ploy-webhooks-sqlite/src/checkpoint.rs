//! Moves what is in the log into the database, beside the writer.
//!
//! A checkpoint within a commit holds up everybody who waits for that commit: ten milliseconds
//! for a log of 16 MiB. So a thread of its own does the bulk of it, on a connection of its own,
//! while the writer goes on. What the writer has added meanwhile is little; it moves that itself,
//! between two batches, and begins the log anew.

use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, mpsc};

use ploy_webhooks::store::{StoreError, StoreErrorKind};
use rusqlite::Connection;

use crate::database::{self, PAGE_BYTES};
use crate::error::store_error;
use crate::queue::Queue;
use crate::settings::SqliteSettings;
use crate::writer::{OpenConnection, Task, TaskEnd};

/// The log is moved when about so much has been added to it. Smaller, and pages that change in
/// several commits are moved more often; larger, and the log takes longer to read after a crash.
const LOG_BYTES: usize = 1 << 20;

/// Readers that follow one another without a gap keep the log from beginning anew. Past so many
/// pages (512 MiB) they are waited for, which holds up the writer for a tenth of a second.
const LOG_PAGES_MAX: i64 = 65_536;

/// How much has been added to the log since it was moved.
#[derive(Debug, Default)]
pub(crate) struct LogGrowth {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: usize,
    closed: bool,
    stopped: bool,
}

impl LogGrowth {
    pub(crate) fn add(&self, bytes: usize) {
        let mut state = self.state();
        state.bytes += bytes;
        if state.bytes >= LOG_BYTES {
            self.moved.notify_one();
        }
    }

    /// Has the log moved soon, whatever its size.
    pub(crate) fn add_enough(&self) {
        self.add(LOG_BYTES);
    }

    /// Whether the log must not be moved any more: the database could not be flushed, and what
    /// was moved may be nowhere but in the log.
    pub(crate) fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    fn stop(&self) {
        self.state().stopped = true;
    }

    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.moved.notify_one();
    }

    /// Waits until the log has grown by so many bytes; `false` when the store is closed.
    fn wait(&self, bytes: usize) -> bool {
        let mut state = self.state();
        while !state.closed && state.bytes < bytes {
            state = self.moved.wait(state).expect("no holder of the lock panics");
        }
        state.bytes = 0;
        !state.closed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }
}

/// Moves the log into the database.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    connection: Connection,
    database: Arc<File>,
}

/// The database once more, to flush it: SQLite does so only when nothing was added to the log
/// meanwhile.
///
/// Closing the file would end SQLite's own locks on it, as POSIX has it: it must stay open for
/// longer than any connection.
pub(crate) fn open_for_flushing(settings: &SqliteSettings) -> Result<Arc<File>, StoreError> {
    let opened = File::open(&settings.path).map(Arc::new);
    opened.map_err(|error| {
        StoreError::new(StoreErrorKind::Unavailable, "cannot open the database file").because(error)
    })
}

impl Checkpointer {
    pub(crate) fn open(settings: &SqliteSettings, database: Arc<File>) -> Result<Self, StoreError> {
        Ok(Self { connection: database::open_writer(settings)?, database })
    }

    /// Moves the log whenever it has grown, until the store is closed.
    ///
    /// A move that fails leaves the log as it is: nothing is lost, and it is tried again when the
    /// log has grown again. Not so a flush: SQLite takes for moved what may not be on the disk,
    /// so from then on the log is kept as it is, for the next start to read.
    pub(crate) fn run(&self, growth: &LogGrowth, queue: &Queue) {
        let mut log_bytes = 0;
        // To look through a log that could not begin anew takes the longer, the longer it is.
        while growth.wait(LOG_BYTES.max(log_bytes / 4)) {
            if checkpoint(&self.connection, Mode::Passive).is_err() {
                continue;
            }
            if self.database.sync_data().is_err() {
                growth.stop();
                return;
            }
            log_bytes = move_rest(queue).unwrap_or(0) * PAGE_BYTES as usize;
        }
    }
}

/// Lets the writer move what was added meanwhile, and waits for it. Returns the pages that the
/// log has; `None` where that failed, or the store is closed.
fn move_rest(queue: &Queue) -> Option<usize> {
    let (done, is_done) = mpsc::channel();
    let work = move |connection: OpenConnection<'_>| {
        let moved = connection.map(|connection| match checkpoint(connection, Mode::Passive) {
            Ok(pages) if pages > LOG_PAGES_MAX => checkpoint(connection, Mode::Restart),
            moved => moved,
        });
        match moved {
            Ok(Ok(pages)) => {
                let _ = done.send(pages);
                TaskEnd::Done(None)
            }
            _ => TaskEnd::Failed,
        }
    };
    queue.push_task(Task { work: Box::new(work), log_bytes: 0 }).ok()?;
    is_done.recv().ok()?.try_into().ok()
}

/// Moves the whole log and leaves it empty.
pub(crate) fn truncate(connection: &Connection) -> Result<(), StoreError> {
    let truncated = checkpoint(connection, Mode::Truncate);
    truncated.map(drop).map_err(|error| store_error("cannot move the log", error))
}

/// How a checkpoint treats those who use the log.
#[derive(Clone, Copy)]
enum Mode {
    /// Waits for nobody, and moves what nobody needs where it is.
    Passive,
    /// Waits for readers, so that the log begins anew.
    Restart,
    /// Likewise, and cuts the file off.
    Truncate,
}

/// Moves what can be moved. Returns the pages that are in the log.
fn checkpoint(connection: &Connection, mode: Mode) -> rusqlite::Result<i64> {
    let pragma = match mode {
        Mode::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
        Mode::Restart => "PRAGMA wal_checkpoint(RESTART)",
        Mode::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
    };
    connection.query_row(pragma, [], |row| row.get(1))
}
