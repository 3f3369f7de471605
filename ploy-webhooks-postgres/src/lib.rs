#![doc = include_str!("../README.md")]

mod activity;
mod batch;
mod block;
mod chores;
mod database;
mod definitions;
mod endpoints;
mod enter;
mod error;
mod events;
mod feed;
mod forget;
mod generations;
mod history;
mod index;
mod inspect;
mod keys;
mod limiter;
mod line;
mod outbox;
mod partitions;
mod queue;
mod quotas;
mod relay;
mod relayed;
mod retention;
mod runs;
mod search;
mod segment;
mod settings;
mod settle;
mod stream;
mod tail;
mod wake;
mod wire;
mod writer;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ploy_webhooks::store::{StoreError, StoreErrorKind};
use sqlx::postgres::PgConnection;
use tokio::sync::{Notify, Semaphore, broadcast};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::error::timed_out;
use crate::line::Turns;
use crate::queue::Queue;
use crate::settle::Settler;
use crate::writer::{Shared, Tails, Writer};

pub use limiter::PostgresLimiter;
pub use outbox::{Outbox, OutboxError};
pub use settings::{Durability, PostgresSettings, SearchIndex};
/// The version whose connections an [`Outbox`] takes.
pub use sqlx;
pub use wake::{EndpointChange, EndpointChanges};

/// A store in one Postgres, for any number of nodes.
///
/// Its calls need a tokio runtime with time and I/O. Dropping the store lets what waits be
/// written as long as the runtime goes on; [`close`](Self::close) waits for it.
#[derive(Debug)]
pub struct PostgresStore {
    shared: Shared,
    searches: Semaphore,
    settler: Settler,
    turns: Turns,
    /// Calls for the chores before their time.
    chores: Arc<Notify>,
    /// Weak, so that the changes end when nobody listens any more.
    changes: broadcast::WeakSender<EndpointChange>,
    tasks: Mutex<Tasks>,
}

#[derive(Debug, Default)]
struct Tasks {
    /// What ends once nothing waits for it any more.
    writers: Vec<JoinHandle<()>>,
    /// What ends with the store, wherever it is.
    others: Vec<JoinHandle<()>>,
}

/// How many changes of endpoints a slow listener may be behind.
const CHANGES_MAX: usize = 256;

impl PostgresStore {
    /// Connects, makes the tables where they are missing, and begins to write. Any number of
    /// nodes may do so at once.
    ///
    /// # Errors
    ///
    /// - [`Refused`](StoreErrorKind::Refused): the server does not give what
    ///   [`Durability::Full`] promises, is too old, lets this user not in or not make tables, or
    ///   the tables are of a newer version.
    /// - [`Unavailable`](StoreErrorKind::Unavailable): the server cannot be reached, or is a
    ///   standby.
    /// - [`Misuse`](StoreErrorKind::Misuse): a setting is none.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have made the tables.
    pub async fn open(settings: PostgresSettings) -> Result<Self, StoreError> {
        settings.check()?;
        let limit = settings.call_timeout;
        let mut connection = database::connect(&settings, limit).await?;
        in_time(limit, database::check(&mut connection, settings.durability)).await?;
        database::migrate(&settings).await?;
        in_time(limit, partitions::make_ahead(&mut connection, &settings)).await?;
        drop(connection);

        let shared = Shared {
            queue: Arc::new(Queue::new(&settings)),
            pool: database::pool(&settings, settings.readers_max),
            tails: Tails::default(),
            runs_due: Arc::default(),
            fed: Arc::default(),
            put_down: Arc::default(),
            outbox_filled: Arc::default(),
            generations: Arc::default(),
            settings: Arc::new(settings),
        };
        let mut writers = Vec::new();
        for _ in 0..shared.settings.writers.get() {
            writers.push(Writer::open(shared.clone()).await?);
        }
        let chores = Arc::new(Notify::new());
        let (changes, _) = broadcast::channel(CHANGES_MAX);
        let weak_changes = changes.downgrade();
        let (settler, settling) = Settler::begin(shared.clone());
        let writers = writers.into_iter().map(|writer| tokio::spawn(writer.run()));
        let tasks = Tasks {
            writers: writers.chain([settling]).collect(),
            others: vec![
                tokio::spawn(chores::run(shared.clone(), chores.clone())),
                tokio::spawn(wake::listen(shared.clone(), changes)),
                tokio::spawn(enter::run(shared.clone())),
                tokio::spawn(generations::run(shared.clone())),
            ],
        };
        // A search takes no place from look-ups, changes and claims.
        let searches = Semaphore::new(shared.settings.readers_max.div_ceil(2) as usize);
        Ok(Self {
            shared,
            searches,
            settler,
            turns: Turns::default(),
            chores,
            changes: weak_changes,
            tasks: Mutex::new(tasks),
        })
    }

    /// The changes of endpoints from now on, by whichever node: for who caches endpoints, to let
    /// go of them early. [`Ingest::forget`](ploy_webhooks::Ingest::forget) takes them. Nothing
    /// depends on it.
    #[must_use]
    pub fn endpoint_changes(&self) -> EndpointChanges {
        EndpointChanges(match self.changes.upgrade() {
            Some(changes) => changes.subscribe(),
            // The store is closed: there are none.
            None => broadcast::channel(1).1,
        })
    }

    /// A limiter whose rates hold for all nodes of the database together.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[must_use]
    pub fn limiter(&self) -> PostgresLimiter {
        PostgresLimiter::begin(self.shared.pool.clone(), self.shared.settings.append_timeout)
    }

    /// Writes what waits, seals the search index, and gives the connections back. Calls that come
    /// later are `Unavailable`. Where the server does not answer, it takes as long as the
    /// time-outs of what is under way.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped has closed the store; what waits is written all the same. A second
    /// call does not wait for it.
    pub async fn close(&self) {
        self.shared.queue.close();
        self.settler.close();
        let tasks = std::mem::take(&mut *self.tasks());
        tasks.others.iter().for_each(JoinHandle::abort);
        for writer in tasks.writers {
            // One that panicked has said so already.
            let _ = writer.await;
        }
        self.searches.close();
        // It waits for those that have something under way, and a deaf one has for good.
        let _ = timeout(self.shared.settings.call_timeout, self.shared.pool.close()).await;
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().expect("no holder of the lock panics")
    }

    /// Does something that writes nothing, in time.
    async fn call<T>(
        &self,
        what: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.within(what, StoreErrorKind::Unavailable, work).await
    }

    /// Does something that writes, in time.
    async fn change<T>(
        &self,
        what: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.within(what, StoreErrorKind::Indeterminate, work).await
    }

    async fn within<T>(
        &self,
        what: &'static str,
        when_late: StoreErrorKind,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Shared { pool, settings, .. } = &self.shared;
        database::within(pool, settings.call_timeout, what, when_late, work).await
    }
}

/// A step of opening the store.
async fn in_time<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let what = "cannot open the store";
    timeout(limit, step)
        .await
        .unwrap_or_else(|_| Err(timed_out(StoreErrorKind::Unavailable, what, limit)))
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.shared.queue.close();
        self.tasks().others.iter().for_each(JoinHandle::abort);
    }
}
