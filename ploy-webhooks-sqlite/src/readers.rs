//! Connections that read, each used by one caller at a time, on the runtime's blocking threads.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};

use ploy_webhooks::store::{StoreError, StoreErrorKind};
use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::database::{self, Hold};
use crate::settings::SqliteSettings;

/// A bounded number of readers.
#[derive(Debug)]
pub(crate) struct Readers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: SqliteSettings,
    permits: Arc<Semaphore>,
    /// `None` when the store is closed.
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    idle: Vec<Connection>,
    hold: Arc<Hold>,
}

impl Readers {
    pub(crate) fn new(
        settings: SqliteSettings,
        hold: Arc<Hold>,
        readers_max: NonZeroUsize,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(readers_max.get()));
        let open = Mutex::new(Some(Open { idle: Vec::new(), hold }));
        Self { shared: Arc::new(Shared { settings, permits, open }) }
    }

    /// Lets nobody read any more. What is being read keeps the hold until it ends.
    pub(crate) fn close(&self) {
        self.shared.permits.close();
        *self.shared.open() = None;
    }

    /// Reads, when it is this caller's turn.
    ///
    /// A reader that fails is closed, not used again. A caller that goes away meanwhile leaves
    /// the reading to finish by itself: it keeps its place until then, so there are never more
    /// than the bound.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        reading: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.shared.permits.clone().acquire_owned().await.map_err(|_| closed())?;
        let shared = self.shared.clone();
        let reading = move || {
            let _permit = permit;
            let (_hold, idle) = match &mut *shared.open() {
                Some(open) => (open.hold.clone(), open.idle.pop()),
                None => return Err(closed()),
            };
            let mut connection = match idle {
                Some(connection) => connection,
                None => database::open_reader(&shared.settings)?,
            };
            let outcome = reading(&mut connection)?;
            if let Some(open) = &mut *shared.open() {
                open.idle.push(connection);
            }
            Ok(outcome)
        };
        tokio::task::spawn_blocking(reading).await.unwrap_or_else(|error| {
            Err(StoreError::new(StoreErrorKind::Unavailable, "reading stopped").because(error))
        })
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().expect("no holder of the lock panics")
    }
}

fn closed() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the store is closed")
}
