//! What a stream holds that is not in a segment of the search index yet.
//!
//! A search must not miss an event between its commit and the segment that it ends up in. So the
//! tail always knows an id below which nothing is uncovered: this node's searches read what is
//! past it directly, and so do those of other nodes, which find it with the stream in the
//! tables.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use ploy_webhooks::store::grams::Probe;
use ploy_webhooks::{EventId, NewEvent};
use tokio::sync::Notify;

use crate::block::{ClosedBlock, SEGMENT_BLOCKS, Span};
use crate::stream::Held;

/// With fewer events than this the indexer is left asleep: they are as soon read as indexed.
const EVENTS_UNNOTICED: usize = 128;
const BYTES_UNNOTICED: usize = 128 << 10;
/// Past this the tail keeps no more events for the indexer, which reads them again instead.
const BYTES_HELD_MAX: usize = 64 << 20;

/// A stored event, with the number of its endpoint.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) event: NewEvent,
    pub(crate) endpoint: Option<i64>,
}

/// What a stream holds that is not in a segment.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) stream: i32,
    pub(crate) tenure: i64,
    state: Mutex<State>,
    /// Wakes the indexer.
    fed: Notify,
    /// Wakes the writer, when the tail has become shorter.
    pub(crate) shortened: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Blocks that wait for a segment, the oldest first.
    closed: Vec<Arc<ClosedBlock>>,
    /// The least id of what is in the open block, or on its way there.
    open_from: Option<EventId>,
    fed: VecDeque<Stored>,
    fed_from: Option<EventId>,
    fed_bytes: usize,
    /// The least id of what has been committed and not fed yet.
    committed_from: Option<EventId>,
    /// From here on the tables have to be read: not everything was fed.
    missed_from: Option<EventId>,
    end: End,
}

/// Whether the writer goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    GoesOn,
    /// Everything is to be sealed.
    Closed,
    /// Somebody else takes the stream on.
    Abandoned,
}

/// What the indexer does next.
pub(crate) enum Due {
    Index(Vec<Stored>),
    /// Reads the tables, from this id on.
    CatchUp(EventId),
    /// Seals what is left, and ends.
    Seal,
    End,
}

/// What a search reads of the tail.
pub(crate) struct View {
    pub(crate) blocks: Vec<Span>,
    /// Everything from here on.
    pub(crate) from: Option<EventId>,
}

impl Tail {
    /// The tail of a stream that was taken over: what its last writer left is read again.
    pub(crate) fn new(held: Held) -> Arc<Self> {
        let Held { stream, tenure, left_from } = held;
        let state = State { missed_from: left_from, ..State::default() };
        let state = Mutex::new(state);
        Arc::new(Self { stream, tenure, state, fed: Notify::new(), shortened: Notify::new() })
    }

    /// No event of the stream has an id below this and is in no segment.
    pub(crate) fn from(&self) -> Option<EventId> {
        self.state().from()
    }

    /// Events are committed whose least id is this: from now on searches see them.
    pub(crate) fn committed(&self, from: EventId) {
        self.state().committed_from = Some(from);
    }

    /// Hands the events that were committed last to the indexer.
    pub(crate) fn feed(&self, events: Vec<Stored>) {
        let mut state = self.state();
        let from = state.committed_from.take();
        let bytes: usize = events.iter().map(Stored::bytes).sum();
        if state.fed_bytes + bytes > BYTES_HELD_MAX {
            state.missed_from = least([state.missed_from, from]);
        } else {
            state.fed_bytes += bytes;
            state.fed_from = least([state.fed_from, from]);
            state.fed.extend(events);
        }
        if state.is_noticeable() {
            self.fed.notify_one();
        }
    }

    /// The events that were committed last are for nobody to index.
    pub(crate) fn leave(&self) {
        let mut state = self.state();
        let from = state.committed_from.take();
        state.missed_from = least([state.missed_from, from]);
    }

    /// The writer is done: what is left is sealed.
    pub(crate) fn close(&self) {
        self.state().end = End::Closed;
        self.fed.notify_one();
    }

    /// The stream is somebody else's from now on.
    pub(crate) fn abandon(&self) {
        self.state().end = End::Abandoned;
        self.fed.notify_one();
    }

    /// Neither closed nor abandoned.
    pub(crate) fn goes_on(&self) -> bool {
        self.state().end == End::GoesOn
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.state().end == End::Abandoned
    }

    /// What there is to do next; waits until there is something worth doing.
    pub(crate) async fn next(&self) -> Due {
        loop {
            if let Some(due) = self.state().due() {
                return due;
            }
            self.fed.notified().await;
        }
    }

    /// What was taken has been indexed: some of it in closed blocks, the rest in the open one.
    pub(crate) fn indexed(&self, closed: Vec<ClosedBlock>, open_from: Option<EventId>) {
        let mut state = self.state();
        state.closed.extend(closed.into_iter().map(Arc::new));
        state.open_from = open_from;
    }

    /// The oldest blocks, as many as a segment takes, where there are at least so many.
    pub(crate) fn oldest(&self, blocks_min: usize) -> Vec<Arc<ClosedBlock>> {
        let state = self.state();
        match state.closed.len() >= blocks_min {
            true => state.closed.iter().take(SEGMENT_BLOCKS).cloned().collect(),
            false => Vec::new(),
        }
    }

    /// The oldest blocks are in a segment now.
    pub(crate) fn sealed(&self, blocks: usize) {
        self.state().closed.drain(..blocks);
        self.shortened.notify_one();
    }

    /// What a search for that reads.
    pub(crate) fn view(&self, probe: &Probe, (low, high): (EventId, EventId)) -> View {
        let state = self.state();
        let blocks = state.closed.iter().filter(|closed| {
            closed.span.max >= low && closed.span.min <= high && closed.filter.may_hold(probe)
        });
        View { blocks: blocks.map(|closed| closed.span).collect(), from: state.unindexed_from() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }
}

impl State {
    fn from(&self) -> Option<EventId> {
        let closed = self.closed.iter().map(|closed| closed.span.min).min();
        least([closed, self.unindexed_from()])
    }

    /// The least id of what is not in a closed block.
    fn unindexed_from(&self) -> Option<EventId> {
        least([self.open_from, self.fed_from, self.committed_from, self.missed_from])
    }

    fn is_noticeable(&self) -> bool {
        self.fed.len() >= EVENTS_UNNOTICED
            || self.fed_bytes >= BYTES_UNNOTICED
            || self.missed_from.is_some()
    }

    fn due(&mut self) -> Option<Due> {
        if self.end == End::Abandoned {
            return Some(Due::End);
        }
        if self.is_noticeable() || (self.end == End::Closed && !self.fed.is_empty()) {
            // Until they are indexed, they are as good as in the open block.
            self.open_from = least([self.open_from, self.unindexed_from()]);
            if !self.fed.is_empty() {
                self.fed_bytes = 0;
                self.fed_from = None;
                return Some(Due::Index(std::mem::take(&mut self.fed).into()));
            }
            return self.missed_from.take().map(Due::CatchUp);
        }
        (self.end == End::Closed).then_some(Due::Seal)
    }
}

impl Stored {
    fn bytes(&self) -> usize {
        self.event.payload.len() + size_of::<Self>()
    }
}

/// The least of the ids that are there.
pub(crate) fn least<const N: usize>(ids: [Option<EventId>; N]) -> Option<EventId> {
    ids.into_iter().flatten().min()
}
