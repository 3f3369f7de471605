//! Moves what is in the log into the database, beside the writer.
//!
//! A checkpoint within a commit holds up everybody who waits for that commit: ten milliseconds
//! for a log of 16 MiB. So a thread of its own does the bulk of it, on a connection of its own,
//! while the writer goes on. What the writer has added meanwhile is little; it moves that itself,
//! between two batches, and begins the log anew.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use ploy_webhooks::store::{StoreError, StoreErrorKind};
use rusqlite::Connection;

use crate::database::{self, Hold, PAGE_BYTES};
use crate::error::{commit_kind, store_error};
use crate::queue::Queue;
use crate::settings::SqliteSettings;
use crate::task;

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
    grown: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: usize,
    /// Whether it is to be moved whatever its size.
    is_due: bool,
    closed: bool,
    stopped: bool,
}

impl LogGrowth {
    pub(crate) fn add(&self, bytes: usize) {
        let mut state = self.state();
        state.bytes += bytes;
        if state.bytes >= LOG_BYTES {
            self.grown.notify_one();
        }
    }

    /// Has the log moved soon, whatever its size.
    pub(crate) fn make_due(&self) {
        self.state().is_due = true;
        self.grown.notify_one();
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
        self.grown.notify_one();
    }

    /// Waits until the log has grown by so many bytes; `false` when the store is closed.
    fn wait(&self, bytes: usize) -> bool {
        let mut state = self.state();
        while !state.closed && !state.is_due && state.bytes < bytes {
            state = self.grown.wait(state).expect("no holder of the lock panics");
        }
        state.bytes = 0;
        state.is_due = false;
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
    hold: Arc<Hold>,
}

impl Checkpointer {
    pub(crate) fn open(settings: &SqliteSettings, hold: Arc<Hold>) -> Result<Self, StoreError> {
        Ok(Self { connection: database::open_writer(settings)?, hold })
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
            if let Err(error) = checkpoint(&self.connection, Mode::Passive) {
                if commit_kind(&error) == StoreErrorKind::Indeterminate {
                    distrust_log(queue);
                }
                continue;
            }
            if self.hold.flush().is_err() {
                growth.stop();
                return;
            }
            let pages = move_rest(queue).unwrap_or(0);
            log_bytes = usize::try_from(pages).unwrap_or(0) * PAGE_BYTES as usize;
        }
    }
}

/// Tells the writer that the log may not be on the disk: moving it begins with flushing it, and
/// what could not be flushed once is not tried again by the system.
fn distrust_log(queue: &Queue) {
    // A store that is closed needs no telling.
    let _ = task::give::<()>(queue, 0, |_| {
        Err(StoreError::new(StoreErrorKind::Indeterminate, "the log could not be flushed"))
    });
}

/// Lets the writer move what was added meanwhile, and waits for it. Returns the pages that the
/// log has.
fn move_rest(queue: &Queue) -> Result<i64, StoreError> {
    let work = |connection: &mut Connection| {
        let moved = match checkpoint(connection, Mode::Passive) {
            Ok(log) if log.pages > LOG_PAGES_MAX => checkpoint(connection, Mode::Restart),
            moved => moved,
        };
        let log = moved.map_err(|error| {
            StoreError::new(commit_kind(&error), "cannot move the log").because(error)
        })?;
        Ok((log.pages, None))
    };
    task::give(queue, 0, work)?.blocking_recv()
}

/// Moves the whole log and leaves it empty; fails where a reader still needs it.
pub(crate) fn truncate(connection: &Connection) -> Result<(), StoreError> {
    match checkpoint(connection, Mode::Truncate) {
        Ok(log) if log.is_needed => Err(StoreError::new(
            StoreErrorKind::Unavailable,
            "cannot move the log as long as it is being read",
        )),
        Ok(_) => Ok(()),
        Err(error) => Err(store_error("cannot move the log", error)),
    }
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

/// The log after a move.
struct Log {
    /// Whether somebody kept the mode from doing all that it does.
    is_needed: bool,
    pages: i64,
}

/// Moves what can be moved.
fn checkpoint(connection: &Connection, mode: Mode) -> rusqlite::Result<Log> {
    let pragma = match mode {
        Mode::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
        Mode::Restart => "PRAGMA wal_checkpoint(RESTART)",
        Mode::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
    };
    connection.query_row(pragma, [], |row| Ok(Log { is_needed: row.get(0)?, pages: row.get(1)? }))
}
