//! What waits for the writers.
//!
//! Those who wait add to a line under a lock that is held for a push; a writer takes the whole of
//! it at once. So what came while the writers were busy is the next batch, and nobody waits for
//! company.
//!
//! What a relay took from the outbox together is a batch of its own: it is stored whole or not at
//! all, so that its rows are stored in their order; no row is in a batch twice, whoever else took it;
//! and what holds up the rows of the outbox fails no event beside them.

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
    pub(crate) outbox_row: Option<OutboxRow>,
    answer: oneshot::Sender<Result<Appended, StoreError>>,
}

/// A row of the outbox that an event is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutboxRow {
    pub(crate) number: i64,
    /// Rows that were taken together have the same.
    take: u64,
}

/// What is said to who waits.
pub(crate) type Answer = oneshot::Receiver<Result<Appended, StoreError>>;

impl Waiting {
    fn new(event: NewEvent, outbox_row: Option<OutboxRow>) -> (Self, Answer) {
        let (answer, answered) = oneshot::channel();
        (Self { event, outbox_row, answer }, answered)
    }

    fn take(&self) -> Option<u64> {
        self.outbox_row.map(|row| row.take)
    }

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
    /// How many takes of the outbox have come.
    takes: u64,
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
    pub(crate) fn push(&self, event: NewEvent) -> Result<Answer, StoreError> {
        let (waiting, answer) = Waiting::new(event, None);
        self.add(&mut self.line(), waiting)?;
        self.filled.notify_one();
        Ok(answer)
    }

    /// Adds the events of rows of the outbox that were taken together, up to the first that is
    /// refused, and says why that was.
    pub(crate) fn push_take(
        &self,
        events: impl IntoIterator<Item = (i64, NewEvent)>,
    ) -> (Vec<(i64, Answer)>, Result<(), StoreError>) {
        let mut answers = Vec::new();
        let mut line = self.line();
        line.takes += 1;
        let take = line.takes;
        let added = events.into_iter().try_for_each(|(number, event)| {
            let (waiting, answer) = Waiting::new(event, Some(OutboxRow { number, take }));
            self.add(&mut line, waiting)?;
            answers.push((number, answer));
            Ok(())
        });
        drop(line);
        self.filled.notify_one();
        (answers, added)
    }

    fn add(&self, line: &mut Line, waiting: Waiting) -> Result<(), StoreError> {
        if line.closed {
            return Err(closed());
        }
        let bytes = waiting.event.payload.len() as u64;
        if line.waiting.len() >= self.waiting_max || line.bytes + bytes > self.waiting_bytes_max {
            let message = "too many events wait for Postgres";
            return Err(StoreError::new(StoreErrorKind::Busy, message));
        }
        line.bytes += bytes;
        line.waiting.push_back(waiting);
        Ok(())
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
    /// All that waits, or as much of it as makes one commit, but for those who have gone; and of
    /// the outbox, what was taken together and nothing else.
    fn take_batch(&mut self) -> Vec<Waiting> {
        let mut batch: Vec<Waiting> = Vec::new();
        let mut bytes = 0;
        while let Some(waiting) = self.waiting.front() {
            let size = waiting.event.payload.len();
            let fits = batch.first().is_none_or(|first| match (first.take(), waiting.take()) {
                (None, None) => batch.len() < BATCH_EVENTS_MAX && bytes + size <= BATCH_BYTES_MAX,
                // A relay takes no more than one commit is for.
                (take, other) => take == other,
            });
            if !fits {
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

#[cfg(test)]
mod tests {
    use ploy_webhooks::{Clock, EventId, SystemClock, WorkspaceId};

    use super::*;

    fn event() -> NewEvent {
        let id = EventId::mint(SystemClock.now());
        NewEvent::published(id, WorkspaceId::DEFAULT, "{}".into())
    }

    fn take(rows: impl IntoIterator<Item = i64>) -> impl Iterator<Item = (i64, NewEvent)> {
        rows.into_iter().map(|row| (row, event()))
    }

    #[tokio::test]
    async fn what_was_taken_together_is_a_batch_and_nothing_else() {
        let settings = PostgresSettings::from_url("postgres://h/d").unwrap();
        let queue = Queue::new(&settings);
        let mut answers = vec![queue.push(event()).unwrap()];
        let taken = [queue.push_take(take([5, 6])), queue.push_take(take([5, 6, 7]))];
        answers.extend([queue.push(event()).unwrap(), queue.push(event()).unwrap()]);
        queue.close();
        let mut batches = Vec::new();
        while let Some(batch) = queue.next().await {
            let row = |waiting: &Waiting| waiting.outbox_row.map(|row| row.number);
            batches.push(batch.iter().map(row).collect::<Vec<_>>());
        }
        let (first, second) = (vec![Some(5), Some(6)], vec![Some(5), Some(6), Some(7)]);
        assert_eq!(batches, [vec![None], first, second, vec![None, None]]);
        assert!(taken.iter().all(|(_, added)| added.is_ok()));
    }

    #[test]
    fn nothing_of_a_take_passes_what_is_refused() {
        let mut settings = PostgresSettings::from_url("postgres://h/d").unwrap();
        settings.waiting_bytes_max = 5;
        let queue = Queue::new(&settings);
        let large = NewEvent { payload: "1234".into(), ..event() };
        let (answers, added) = queue.push_take([(1, event()), (2, large), (3, event())]);
        assert_eq!(answers.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1]);
        assert_eq!(added.unwrap_err().kind(), StoreErrorKind::Busy);
    }
}
