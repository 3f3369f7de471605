//! What waits for the writer.
//!
//! Those who wait add to a vector under a lock that is held for a push; the writer takes the
//! whole of it at once. So what came while a batch was under way is the next batch, and nobody
//! waits for company.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use ploy_webhooks::NewEvent;
use ploy_webhooks::store::{Appended, StoreError, StoreErrorKind};
use tokio::sync::{Notify, oneshot};

use crate::error::unavailable;

/// A batch of more events keeps those behind it, and every other client of the server, waiting
/// for longer than it saves.
const BATCH_EVENTS_MAX: usize = 512;
/// A batch of more payload bytes, likewise.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// An event that waits, and who waits for it.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) event: NewEvent,
    pub(crate) answer: oneshot::Sender<Result<Appended, StoreError>>,
}

/// The queue before the writer.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Notify,
    waiting_max: usize,
    waiting_bytes_max: u64,
}

#[derive(Debug, Default)]
struct State {
    appends: VecDeque<Waiting>,
    bytes: u64,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(waiting_max: usize, waiting_bytes_max: u64) -> Self {
        Self { state: Mutex::default(), filled: Notify::new(), waiting_max, waiting_bytes_max }
    }

    /// Adds an event, or refuses at once.
    pub(crate) fn push(&self, waiting: Waiting) -> Result<(), StoreError> {
        let bytes = waiting.event.payload.len() as u64;
        let mut state = self.state();
        if state.closed {
            return Err(unavailable("the store is closed"));
        }
        if state.appends.len() >= self.waiting_max || state.bytes + bytes > self.waiting_bytes_max {
            return Err(StoreError::new(StoreErrorKind::Busy, "too many events wait for Redis"));
        }
        state.bytes += bytes;
        state.appends.push_back(waiting);
        let is_first = state.appends.len() == 1;
        drop(state);
        if is_first {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Lets the writer finish what waits, and then end.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.filled.notify_one();
    }

    /// Waits until something waits: `true`; or until the queue is closed and empty.
    pub(crate) async fn filled(&self) -> bool {
        loop {
            // Nothing that comes from here on is missed: a notification that nobody waits for
            // is kept.
            let filled = self.filled.notified();
            {
                let state = self.state();
                if !state.appends.is_empty() {
                    return true;
                }
                if state.closed {
                    return false;
                }
            }
            filled.await;
        }
    }

    /// All that waits, or as much of it as makes one batch.
    pub(crate) fn take_batch(&self) -> Vec<Waiting> {
        self.state().take_batch()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }
}

impl State {
    fn take_batch(&mut self) -> Vec<Waiting> {
        let mut bytes = 0;
        let fits = self.appends.iter().take(BATCH_EVENTS_MAX).take_while(|waiting| {
            let is_first = bytes == 0;
            bytes += waiting.event.payload.len();
            is_first || bytes <= BATCH_BYTES_MAX
        });
        let size = fits.count();
        let batch: Vec<_> = match size == self.appends.len() {
            true => std::mem::take(&mut self.appends).into(),
            // What stays is not moved: it may be much, and everybody waits for the lock.
            false => self.appends.drain(..size).collect(),
        };
        self.bytes -= batch.iter().map(|waiting| waiting.event.payload.len() as u64).sum::<u64>();
        batch
    }
}
