//! How far the writer is, for what works behind it.

use std::sync::{Condvar, Mutex, MutexGuard};

/// So many events that are not indexed are read directly, at no noticeable cost.
const EVENTS_UNNOTICED: usize = 512;
/// So many bytes, likewise.
const BYTES_UNNOTICED: usize = 1 << 20;

/// What has been written since the index was last brought up to date.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    events: usize,
    bytes: usize,
    purge: bool,
    closed: bool,
}

/// What there is to do behind the writer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Index,
    Purge,
    End,
}

impl Progress {
    pub(crate) fn events_committed(&self, events: usize, bytes: usize) {
        let mut state = self.state();
        state.events += events;
        state.bytes += bytes;
        if state.is_noticeable() {
            self.moved.notify_one();
        }
    }

    pub(crate) fn endpoint_deleted(&self) {
        self.state().purge = true;
        self.moved.notify_one();
    }

    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.moved.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// What there is to do next; waits until there is something worth doing.
    pub(crate) fn next(&self) -> Due {
        let mut state = self.state();
        loop {
            if state.closed {
                return Due::End;
            }
            if state.is_noticeable() {
                (state.events, state.bytes) = (0, 0);
                return Due::Index;
            }
            if std::mem::take(&mut state.purge) {
                return Due::Purge;
            }
            state = self.moved.wait(state).expect("no holder of the lock panics");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }
}

impl State {
    const fn is_noticeable(&self) -> bool {
        self.events >= EVENTS_UNNOTICED || self.bytes >= BYTES_UNNOTICED
    }
}
