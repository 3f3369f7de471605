//! Connections that read, each used by one caller at a time, on the runtime's blocking threads.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use ploy_webhooks::store::{StoreError, StoreErrorKind};
use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::database;
use crate::settings::SqliteSettings;

/// A bounded number of readers.
#[derive(Clone, Debug)]
pub(crate) struct Readers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: SqliteSettings,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(crate) fn new(settings: SqliteSettings, readers_max: NonZeroUsize) -> Self {
        let permits = Arc::new(Semaphore::new(readers_max.get()));
        Self { shared: Arc::new(Shared { settings, permits, idle: Mutex::default() }) }
    }

    /// Lets nobody read any more.
    pub(crate) fn close(&self) {
        self.shared.permits.close();
        self.shared.idle().clear();
    }

    /// Reads, when it is this caller's turn.
    ///
    /// A reader that fails is closed, not used again. A caller that goes away meanwhile leaves
    /// the reading to finish by itself: it holds its place until then, so there are never more
    /// than the bound.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        reading: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let closed = |_| StoreError::new(StoreErrorKind::Unavailable, "the store is closed");
        let permit = self.shared.permits.clone().acquire_owned().await.map_err(closed)?;
        let shared = self.shared.clone();
        let reading = move || {
            let _permit = permit;
            let idle = shared.idle().pop();
            let mut connection = match idle {
                Some(connection) => connection,
                None => database::open_reader(&shared.settings)?,
            };
            let outcome = reading(&mut connection)?;
            if !shared.permits.is_closed() {
                shared.idle().push(connection);
            }
            Ok(outcome)
        };
        tokio::task::spawn_blocking(reading).await.unwrap_or_else(|error| {
            Err(StoreError::new(StoreErrorKind::Unavailable, "reading stopped").because(error))
        })
    }
}

impl Shared {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().expect("no holder of the lock panics")
    }
}
