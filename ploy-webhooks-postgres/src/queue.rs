//! What waits for the writers.
//!
//! Those who wait add to a line under a lock that is held for a push; a writer takes the whole of
//! it at once. So what came while the writers were busy is the next batch, and nobody waits for
//! company.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use ploy_webhooks::NewEvent;
use ploy_webhooks::store::{Appended, StoreError, StoreErrorKind};
use tokio::sync::{Notify, oneshot};

use crate::settings::PostgresSettings;

/// A commit of more events keeps those behind it waiting for longer than it saves.
const BATCH_EVENTS_MAX: usize = 512;
/// A commit of more payload bytes, likewise.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// An event that waits, and who waits for it.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) event: NewEvent,
    /// The row of the outbox that it is made of.
    pub(crate) outbox_row: Option<i64>,
    answer: oneshot::Sender<Result<Appended, StoreError>>,
}

impl Waiting {
    /// Answers who waits. One that has gone is not missed: it was told nothing, or a time-out.
    pub(crate) fn answer(self, outcome: Result<Appended, StoreError>) {
        let _ = self.answer.send(outcome);
    }

    /// Hands the event back, as not stored.
    pub(crate) fn answer_fenced(self) {
        let Self { event, answer, .. } = self;
        let _ = answer.send(Ok(Appended::Fenced(Box::new(event))));
    }

    /// Answers that the event is stored, and hands it on to what works behind the writers.
    pub(crate) fn answer_stored(self) -> NewEvent {
        let Self { event, answer, .. } = self;
        let _ = answer.send(Ok(Appended::Stored));
        event
    }
}

/// The queue before the writers.
#[derive(Debug)]
pub(crate) struct Queue {
    line: Mutex<Line>,
    /// One permit: it wakes one writer, which wakes the next where it leaves something.
    filled: Notify,
    waiting_max: usize,
    waiting_bytes_max: u64,
    writers: AtomicUsize,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    bytes: u64,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(settings: &PostgresSettings) -> Self {
        Self {
            line: Mutex::default(),
            filled: Notify::new(),
            waiting_max: settings.waiting_max,
            waiting_bytes_max: settings.waiting_bytes_max,
            writers: AtomicUsize::new(settings.writers.get()),
        }
    }

    /// A guard for each writer: when the last one ends, by a panic too, nobody waits for it any
    /// more.
    pub(crate) fn close_after_the_last(self: &Arc<Self>) -> impl Drop + Send + use<> {
        struct Closing(Arc<Queue>);

        impl Drop for Closing {
            fn drop(&mut self) {
                if self.0.writers.fetch_sub(1, Ordering::AcqRel) == 1 {
                    self.0.close();
                    self.0.line().waiting.clear();
                }
            }
        }

        Closing(Arc::clone(self))
    }

    /// Adds an event, or refuses at once.
    pub(crate) fn push(
        &self,
        event: NewEvent,
        outbox_row: Option<i64>,
    ) -> Result<oneshot::Receiver<Result<Appended, StoreError>>, StoreError> {
        let (answer, answered) = oneshot::channel();
        let bytes = event.payload.len() as u64;
        {
            let mut line = self.line();
            if line.closed {
                return Err(closed());
            }
            if line.waiting.len() >= self.waiting_max || line.bytes + bytes > self.waiting_bytes_max
            {
                let message = "too many events wait for Postgres";
                return Err(StoreError::new(StoreErrorKind::Busy, message));
            }
            line.bytes += bytes;
            line.waiting.push_back(Waiting { event, outbox_row, answer });
        }
        self.filled.notify_one();
        Ok(answered)
    }

    /// The next batch, as soon as anything waits; `None` when the queue is closed and empty.
    ///
    /// Cancel-safe: a call that is dropped has taken nothing.
    pub(crate) async fn next(&self) -> Option<Vec<Waiting>> {
        loop {
            {
                let mut line = self.line();
                let batch = line.take_batch();
                if !line.waiting.is_empty() || line.closed {
                    self.filled.notify_one();
                }
                if !batch.is_empty() {
                    return Some(batch);
                }
                if line.closed {
                    return None;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Lets the writers finish what waits, and then end.
    pub(crate) fn close(&self) {
        self.line().closed = true;
        self.filled.notify_one();
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().expect("no holder of the lock panics")
    }
}

impl Line {
    /// All that waits, or as much of it as makes one commit, but for those who have gone.
    fn take_batch(&mut self) -> Vec<Waiting> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(waiting) = self.waiting.front() {
            let size = waiting.event.payload.len();
            let fits = batch.len() < BATCH_EVENTS_MAX && bytes + size <= BATCH_BYTES_MAX;
            if !fits && !batch.is_empty() {
                break;
            }
            let waiting = self.waiting.pop_front().expect("there is a front");
            self.bytes -= size as u64;
            if !waiting.answer.is_closed() {
                bytes += size;
                batch.push(waiting);
            }
        }
        batch
    }
}

fn closed() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the store is closed")
}
