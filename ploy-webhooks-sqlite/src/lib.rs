#![doc = include_str!("../README.md")]

mod activity;
mod backup;
mod checkpoint;
mod claim;
mod database;
mod dedup;
mod definitions;
mod endpoints;
mod error;
mod events;
mod feed;
mod hands;
mod history;
mod index;
mod inspect;
mod lane;
mod line;
mod owed;
mod progress;
mod purge;
mod queue;
mod quotas;
mod readers;
mod retention;
mod runs;
mod search;
mod settings;
mod task;
mod tenure;
mod triggers;
mod unnamed;
mod unreadable;
mod writer;

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use ploy_webhooks::store::{StoreError, StoreErrorKind};
use ploy_webhooks::{Clock, SystemClock};
use rusqlite::Connection;

use crate::checkpoint::{Checkpointer, LogGrowth};
use crate::database::{Hold, Lock};
use crate::dedup::{Bounds, Handover, Keeper};
use crate::index::{ClosedBlocks, Indexer};
use crate::line::Line;
use crate::progress::{Due, Progress, Written};
use crate::queue::Queue;
use crate::readers::Readers;
use crate::task::Change;
use crate::writer::{Shared, Writer};

pub use settings::{Durability, SearchIndex, SqliteSettings};

/// A store in one SQLite file.
///
/// Its calls need a tokio runtime: reading is done on its blocking threads. Dropping the store
/// finishes what waits to be written; [`close`](Self::close) does so without holding up the
/// thread.
#[derive(Debug)]
pub struct SqliteStore {
    queue: Arc<Queue>,
    progress: Arc<Progress>,
    log_growth: Arc<LogGrowth>,
    line: Arc<Line>,
    handover: Arc<Handover>,
    clock: Arc<dyn Clock>,
    closed_blocks: ClosedBlocks,
    look_ups: Readers,
    searches: Readers,
    backups: Readers,
    threads: Mutex<Threads>,
}

/// The writer and what works behind it. Their connections end with them, and then the hold.
#[derive(Debug, Default)]
struct Threads {
    writer: Option<JoinHandle<()>>,
    behind: Option<JoinHandle<()>>,
    checkpoint: Option<JoinHandle<()>>,
    keeper: Option<JoinHandle<()>>,
    hold: Option<Arc<Hold>>,
}

impl SqliteStore {
    /// Opens the store, and makes it where there is none; its folder must be there. Returns when
    /// all events are indexed.
    ///
    /// # Errors
    ///
    /// - [`Refused`](StoreErrorKind::Refused): another process has the store, it cannot be
    ///   written to, or it is another program's or of a newer version.
    /// - [`Corrupt`](StoreErrorKind::Corrupt): the file is damaged, or no database.
    /// - [`Unavailable`](StoreErrorKind::Unavailable): another program holds its lock.
    pub async fn open(settings: SqliteSettings) -> Result<Self, StoreError> {
        Self::open_with_clock(settings, Arc::new(SystemClock)).await
    }

    /// As [`open`](Self::open), with a clock of one's own: windows, leases and delays go by it.
    /// [`wait`](ploy_webhooks::store::RunQueue::wait) sleeps for as long as that clock has to go,
    /// by the time of the machine.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub async fn open_with_clock(
        settings: SqliteSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let opening = tokio::task::spawn_blocking(move || Self::open_blocking(settings, clock));
        opening.await.unwrap_or_else(|error| {
            Err(StoreError::new(StoreErrorKind::Unavailable, "opening stopped").because(error))
        })
    }

    fn open_blocking(settings: SqliteSettings, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let lock = Lock::take(&settings.path)?;
        let mut connection = database::create_or_migrate(&settings)?;
        let bounds = Bounds {
            newest: settings.dedup_newest.get(),
            filter_bytes: settings.dedup_filter_bytes_max,
        };
        dedup::carry_over(&mut connection, bounds, clock.now())?;
        let hold = Arc::new(Hold::new(&settings, lock)?);
        let queue = Arc::new(Queue::new(settings.waiting_max, settings.waiting_bytes_max));
        let progress = Arc::new(Progress::default());
        let closed_blocks = ClosedBlocks::default();
        let log_growth = Arc::new(LogGrowth::default());
        let line = Arc::new(Line::default());
        let handover = Arc::new(Handover::default());
        let shared = Shared {
            queue: queue.clone(),
            progress: progress.clone(),
            log_growth: log_growth.clone(),
            line: line.clone(),
            handover: handover.clone(),
            clock: clock.clone(),
        };
        let writer = Writer::new(settings.clone(), connection, shared)?;
        let store = Self {
            queue: queue.clone(),
            progress: progress.clone(),
            log_growth: log_growth.clone(),
            line,
            handover: handover.clone(),
            clock: clock.clone(),
            closed_blocks: closed_blocks.clone(),
            look_ups: Readers::new(settings.clone(), hold.clone(), LOOK_UPS_MAX),
            searches: Readers::new(settings.clone(), hold.clone(), settings.searches_max),
            backups: Readers::new(settings.clone(), hold.clone(), NonZeroUsize::MIN),
            threads: Mutex::default(),
        };
        store.threads().hold = Some(hold.clone());
        store.threads().writer = Some(spawn("ploy-sqlite-writer", move || writer.run())?);
        let checkpointer = Checkpointer::open(&settings, hold)?;
        let checkpointed = queue.clone();
        store.threads().checkpoint = Some(spawn("ploy-sqlite-checkpoint", move || {
            checkpointer.run(&log_growth, &checkpointed);
        })?);
        let reader = database::open_reader(&settings)?;
        let keeper = Keeper::new(reader, queue.clone(), handover, clock, bounds);
        store.threads().keeper = Some(spawn("ploy-sqlite-keys", move || keeper.run())?);
        let reader = database::open_reader(&settings)?;
        let mut behind = Behind {
            indexer: match settings.search_index {
                SearchIndex::Kept => {
                    let reader = database::open_reader(&settings)?;
                    Some(Indexer::begin(reader, queue.clone(), closed_blocks.clone())?)
                }
                SearchIndex::Absent => None,
            },
            reader,
            queue,
            closed_blocks,
            progress,
        };
        if let Some(indexer) = &mut behind.indexer {
            indexer.catch_up()?;
        }
        behind.progress.endpoint_deleted();
        store.threads().behind = Some(spawn("ploy-sqlite-behind", move || behind.run())?);
        Ok(store)
    }

    /// Writes what waits and closes the file. Calls that come later are `Unavailable`.
    pub async fn close(&self) {
        let threads = self.begin_to_close();
        // Fails only where a thread panicked, which it has said already.
        let _ = tokio::task::spawn_blocking(move || drop(threads)).await;
    }

    fn begin_to_close(&self) -> Threads {
        self.progress.close();
        self.log_growth.close();
        self.handover.close();
        self.queue.close();
        self.look_ups.close();
        self.searches.close();
        self.backups.close();
        // Who waits for a run looks once more, and is told.
        self.line.owed.notify_waiters();
        self.line.fed.notify_waiters();
        std::mem::take(&mut *self.threads())
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Threads> {
        self.threads.lock().expect("no holder of the lock panics")
    }

    /// Lets the writer do something in a transaction of its own.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<(T, Option<Change>)> + Send + 'static,
    ) -> Result<T, StoreError> {
        let work = |connection: &mut Connection| task::commit(connection, work);
        task::give(&self.queue, CHANGE_LOG_BYTES, work)?.recv().await
    }
}

/// About what the change of an endpoint adds to the log.
const CHANGE_LOG_BYTES: usize = 32 << 10;

/// Look-ups are short; a search takes none of their places.
const LOOK_UPS_MAX: NonZeroUsize = NonZeroUsize::new(4).expect("four is not zero");

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|error| {
        StoreError::new(StoreErrorKind::Unavailable, "cannot start a thread").because(error)
    })
}

/// What is done behind the writes, by one thread.
struct Behind {
    indexer: Option<Indexer>,
    reader: Connection,
    queue: Arc<Queue>,
    closed_blocks: ClosedBlocks,
    progress: Arc<Progress>,
}

impl Behind {
    /// Works until the store is closed. What fails is tried again: nothing depends on it but
    /// space and the speed of a search.
    fn run(mut self) {
        loop {
            match self.progress.next() {
                Due::End => break,
                Due::Index(written) => {
                    // What could not be indexed is read again when there is more.
                    let _ = index(&mut self.indexer, written);
                }
                Due::Purge => {
                    let purged = purge::purge_deleted(
                        &mut self.reader,
                        &self.queue,
                        &self.closed_blocks,
                        &self.progress,
                        |written| index(&mut self.indexer, written),
                    );
                    if purged.is_err() {
                        self.progress.purge_failed();
                    }
                }
            }
        }
    }
}

fn index(indexer: &mut Option<Indexer>, written: Vec<Written>) -> Result<(), StoreError> {
    indexer.as_mut().map_or(Ok(()), |indexer| indexer.index(written))
}

impl Drop for Threads {
    /// Waits for the threads; the hold goes when nobody uses the file any more.
    fn drop(&mut self) {
        let threads = [&mut self.behind, &mut self.keeper, &mut self.checkpoint, &mut self.writer];
        let threads = threads.map(Option::take);
        for thread in threads.into_iter().flatten() {
            // One that panicked has said so already.
            let _ = thread.join();
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        drop(self.begin_to_close());
    }
}
