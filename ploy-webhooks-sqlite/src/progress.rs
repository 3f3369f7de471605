//! What the writer has written, for what works behind it.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use ploy_webhooks::NewEvent;

/// So many events that are not indexed are read directly, at no noticeable cost. More at once
/// would keep a busy core from its requests for too long.
const EVENTS_UNNOTICED: usize = 128;
/// So many bytes, likewise.
const BYTES_UNNOTICED: usize = 256 << 10;
/// So many bytes of payload are held for the indexer. What is beyond, it reads from the tables.
const BYTES_HELD_MAX: usize = 64 << 20;

/// A purge that failed is tried again after so long, or with the next events that are indexed.
const PURGE_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What has been written since the index was last brought up to date.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    written: Vec<Written>,
    bytes: usize,
    purge: Purge,
    closed: bool,
}

#[derive(Debug, Default)]
enum Purge {
    #[default]
    Done,
    Due,
    Failed,
}

/// An event in the tables.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) seq: i64,
    pub(crate) event: NewEvent,
}

impl Written {
    /// About how much it added to the log: its row, its share of a page that is not full, and of
    /// the index; its deduplication key; and its runs, twice, with their places in the line.
    pub(crate) fn log_bytes(&self) -> usize {
        let dedup = 128 * usize::from(self.event.dedup.is_some());
        self.event.payload.len() / 4 * 5 + 256 + dedup + 256 * self.event.owes.len()
    }
}

/// What there is to do behind the writer.
#[derive(Debug)]
pub(crate) enum Due {
    Index(Vec<Written>),
    Purge,
    End,
}

impl Progress {
    pub(crate) fn committed(&self, written: Vec<Written>) {
        let mut state = self.state();
        for written in written {
            if state.bytes <= BYTES_HELD_MAX {
                state.bytes += written.event.payload.len() + size_of::<Written>();
                state.written.push(written);
            }
        }
        if state.is_noticeable() {
            self.moved.notify_one();
        }
    }

    pub(crate) fn endpoint_deleted(&self) {
        self.state().purge = Purge::Due;
        self.moved.notify_one();
    }

    /// Has the purge tried again, but not at once.
    pub(crate) fn purge_failed(&self) {
        self.state().purge = Purge::Failed;
    }

    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.moved.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// What is to be indexed by now.
    pub(crate) fn take(&self) -> Vec<Written> {
        self.state().take()
    }

    /// What there is to do next; waits until there is something worth doing.
    pub(crate) fn next(&self) -> Due {
        let mut state = self.state();
        loop {
            if state.closed {
                return Due::End;
            }
            if state.is_noticeable() {
                if matches!(state.purge, Purge::Failed) {
                    state.purge = Purge::Due;
                }
                return Due::Index(state.take());
            }
            match state.purge {
                Purge::Done => {
                    state = self.moved.wait(state).expect("no holder of the lock panics");
                }
                Purge::Due => {
                    state.purge = Purge::Done;
                    return Due::Purge;
                }
                Purge::Failed => {
                    let waited = self.moved.wait_timeout(state, PURGE_AGAIN_AFTER);
                    state = waited.expect("no holder of the lock panics").0;
                    state.purge = Purge::Due;
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }
}

impl State {
    fn take(&mut self) -> Vec<Written> {
        self.bytes = 0;
        std::mem::take(&mut self.written)
    }

    fn is_noticeable(&self) -> bool {
        self.written.len() >= EVENTS_UNNOTICED || self.bytes >= BYTES_UNNOTICED
    }
}
