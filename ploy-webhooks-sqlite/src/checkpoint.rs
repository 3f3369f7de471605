//! Moves what is in the log into the database, beside the writer.
//!
//! A checkpoint within a commit holds up everybody who waits for that commit: ten milliseconds
//! for a log of 16 MiB. So a thread of its own does the bulk of it, on a connection of its own,
//! while the writer goes on. What the writer has added meanwhile is little; it moves that itself,
//! between two batches, and begins the log anew.

use std::fs::File;
use std::sync::{Condvar, Mutex, MutexGuard, mpsc};

use ploy_webhooks::store::{StoreError, StoreErrorKind};
use rusqlite::Connection;

use crate::database;
use crate::queue::Queue;
use crate::settings::SqliteSettings;
use crate::writer::TaskEnd;

/// The log is moved when about so much has been added to it. Smaller, and pages that change in
/// several commits are moved more often; larger, and the log takes longer to read after a crash.
const LOG_BYTES: usize = 1 << 20;

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
}

impl LogGrowth {
    pub(crate) fn add(&self, bytes: usize) {
        let mut state = self.state();
        state.bytes += bytes;
        if state.bytes >= LOG_BYTES {
            self.moved.notify_one();
        }
    }

    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.moved.notify_one();
    }

    /// Waits until the log has grown enough; `false` when the store is closed.
    fn wait(&self) -> bool {
        let mut state = self.state();
        while !state.closed && state.bytes < LOG_BYTES {
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
    /// The database once more, to flush it: SQLite does so only when nothing was added to the
    /// log meanwhile. Closing it would end SQLite's own locks on the file, as POSIX has it; it is
    /// closed with the store, and no other process uses the file until then.
    database: File,
}

impl Checkpointer {
    pub(crate) fn open(settings: &SqliteSettings) -> Result<Self, StoreError> {
        let connection = database::open_writer(settings)?;
        let database = File::open(&settings.path).map_err(|error| {
            StoreError::new(StoreErrorKind::Unavailable, "cannot open the database file")
                .because(error)
        })?;
        Ok(Self { connection, database })
    }

    /// Moves the log whenever it has grown, until the store is closed.
    ///
    /// What fails leaves the log as it is: nothing is lost, and it is tried again when the log
    /// has grown again.
    pub(crate) fn run(&self, growth: &LogGrowth, queue: &Queue) {
        while growth.wait() {
            if self.move_bulk().is_ok() {
                move_rest(queue);
            }
        }
    }

    fn move_bulk(&self) -> std::io::Result<()> {
        checkpoint(&self.connection).map_err(std::io::Error::other)?;
        self.database.sync_data()
    }
}

/// Lets the writer move what was added meanwhile, and waits for it.
fn move_rest(queue: &Queue) {
    let (done, is_done) = mpsc::channel();
    let pushed = queue.push_task(Box::new(move |connection| {
        let moved = connection.map(|connection| checkpoint(connection));
        let _ = done.send(());
        match moved {
            Ok(Ok(())) => TaskEnd::Done(None),
            _ => TaskEnd::Failed,
        }
    }));
    if pushed.is_ok() {
        // Fails only when the store is closed meanwhile.
        let _ = is_done.recv();
    }
}

fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}
