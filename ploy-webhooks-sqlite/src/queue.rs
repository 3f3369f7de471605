//! What waits for the writer: events, and work on the tables.
//!
//! Those who wait add to a vector under a lock that is held for a push; the writer takes the
//! whole of it at once. So what came while a batch was being flushed is the next batch, and
//! nobody waits for company.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use ploy_webhooks::NewEvent;
use ploy_webhooks::store::{Appended, StoreError, StoreErrorKind};
use tokio::sync::oneshot;

use crate::dedup::Print;
use crate::task::Task;

/// A commit of more events keeps those behind it waiting for longer than it saves.
const BATCH_EVENTS_MAX: usize = 512;
/// A commit of more payload bytes, likewise.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// An event that waits, and who waits for it.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) event: NewEvent,
    /// What stands for its deduplication key.
    pub(crate) print: Option<Print>,
    pub(crate) answer: oneshot::Sender<Result<Appended, StoreError>>,
}

/// What the writer does next.
pub(crate) enum Work {
    Tasks(Vec<Task>),
    Batch(Vec<Waiting>),
    /// The queue is closed and empty.
    End,
}

/// The queue before the writer.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    waiting_max: usize,
    waiting_bytes_max: u64,
}

#[derive(Default)]
struct State {
    appends: VecDeque<Waiting>,
    append_bytes: u64,
    tasks: Vec<Task>,
    batch_is_next: bool,
    writer_is_idle: bool,
    closed: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("appends", &self.appends.len())
            .field("tasks", &self.tasks.len())
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

impl State {
    /// All that waits, or as much of it as makes one commit.
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
        self.append_bytes -= batch.iter().map(|w| w.event.payload.len() as u64).sum::<u64>();
        batch
    }
}

impl Queue {
    pub(crate) fn new(waiting_max: usize, waiting_bytes_max: u64) -> Self {
        Self { state: Mutex::default(), filled: Condvar::new(), waiting_max, waiting_bytes_max }
    }

    /// Adds an event, or refuses at once.
    pub(crate) fn push(&self, waiting: Waiting) -> Result<(), StoreError> {
        let bytes = waiting.event.payload.len() as u64;
        let mut state = self.open_state()?;
        if state.appends.len() >= self.waiting_max
            || state.append_bytes + bytes > self.waiting_bytes_max
        {
            return Err(StoreError::new(StoreErrorKind::Busy, "too many events wait for the disk"));
        }
        state.append_bytes += bytes;
        state.appends.push_back(waiting);
        self.wake(state);
        Ok(())
    }

    /// Adds work on the tables. There is little of it.
    pub(crate) fn push_task(&self, task: Task) -> Result<(), StoreError> {
        let mut state = self.open_state()?;
        state.tasks.push(task);
        self.wake(state);
        Ok(())
    }

    /// Lets the writer finish what waits, and then end.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        self.wake(state);
    }

    /// A guard for the writer: when it ends, by a panic too, nobody waits for it any more.
    pub(crate) fn close_at_the_end(self: &Arc<Self>) -> impl Drop + use<> {
        struct Closing(Arc<Queue>);

        impl Drop for Closing {
            fn drop(&mut self) {
                self.0.close();
                let mut state = self.0.state();
                state.tasks.clear();
                state.appends.clear();
            }
        }

        Closing(Arc::clone(self))
    }

    /// What the writer does next; waits until there is something.
    pub(crate) fn next(&self) -> Work {
        let mut state = self.state();
        loop {
            // Tasks and batches take turns, so that neither keeps the other waiting for long.
            let is_batch_next = state.batch_is_next && !state.appends.is_empty();
            if !state.tasks.is_empty() && !is_batch_next {
                state.batch_is_next = true;
                return Work::Tasks(std::mem::take(&mut state.tasks));
            }
            if !state.appends.is_empty() {
                state.batch_is_next = false;
                return Work::Batch(state.take_batch());
            }
            if state.closed {
                return Work::End;
            }
            state.writer_is_idle = true;
            state = self.filled.wait(state).expect("no holder of the lock panics");
            state.writer_is_idle = false;
        }
    }

    fn open_state(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.state();
        if state.closed {
            return Err(StoreError::new(StoreErrorKind::Unavailable, "the store is closed"));
        }
        Ok(state)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }

    /// Wakes the writer if it sleeps: a system call that a busy writer spares everybody.
    fn wake(&self, state: MutexGuard<'_, State>) {
        let writer_is_idle = state.writer_is_idle;
        drop(state);
        if writer_is_idle {
            self.filled.notify_one();
        }
    }
}
