//! Small writes that many make at once, sent together.
//!
//! What comes for a node while others are under way to it is its next flight. So many of them cost
//! one flush, or one wait for a replica, which each would otherwise have of its own: a connection
//! on which one waits keeps whatever follows on it waiting too.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use redis::Arg;
use tokio::sync::oneshot;

use crate::engine::{Answer, Call, Engine, Node, Via};
use crate::error::Failure;

/// While one is flushed the next is written.
const FLIGHTS_MAX: usize = 2;
/// A flight of more calls keeps those behind it waiting for longer than it saves.
const FLIGHT_CALLS_MAX: usize = 256;
/// A flight of more bytes, likewise.
const FLIGHT_BYTES_MAX: usize = 4 << 20;

/// The writes that wait for a node.
#[derive(Debug, Default)]
pub(crate) struct Sharing(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    under_way: usize,
}

#[derive(Debug)]
struct Waiting {
    call: Call,
    unheard: Unheard,
    bytes: usize,
    answer: oneshot::Sender<Answer>,
}

/// What becomes of a call whose caller goes away before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unheard {
    Made,
    Dropped,
}

impl Waiting {
    fn is_wanted(&self) -> bool {
        self.unheard == Unheard::Made || !self.answer.is_closed()
    }
}

/// Makes the call together with others for that node, and not before those that wait for it.
pub(crate) async fn call(
    engine: &Arc<Engine>,
    node: &Arc<Node>,
    call: Call,
    unheard: Unheard,
) -> Answer {
    let bytes = call.cmd.args_iter().map(|argument| match argument {
        Arg::Simple(bytes) => bytes.len(),
        _ => 0,
    });
    let bytes = bytes.sum();
    let (answer, answered) = oneshot::channel();
    let is_needed = {
        let mut state = node.sharing().state();
        state.waiting.push_back(Waiting { call, unheard, bytes, answer });
        let is_needed = state.under_way < FLIGHTS_MAX;
        state.under_way += usize::from(is_needed);
        is_needed
    };
    if is_needed {
        let carrier = Carrier { node: node.clone(), is_under_way: true };
        tokio::spawn(carrier.carry(engine.clone()));
    }
    let lost = |_| Err(Failure::Unanswered("who was to send it has ended".to_owned()));
    answered.await.unwrap_or_else(lost)
}

impl Sharing {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of the lock panics")
    }
}

/// Sends what waits, flight by flight, until nothing does.
struct Carrier {
    node: Arc<Node>,
    is_under_way: bool,
}

impl Carrier {
    async fn carry(mut self, engine: Arc<Engine>) {
        loop {
            // Whoever is about to add to this flight gets to do so.
            tokio::task::yield_now().await;
            let Some(flight) = self.take() else { return };
            let (calls, answers): (Vec<_>, Vec<_>) =
                flight.into_iter().map(|waiting| (waiting.call, waiting.answer)).unzip();
            let answered = engine.call_all(Via::Write, calls).await;
            for (answer, to) in answered.into_iter().zip(answers) {
                // A caller that has gone meanwhile is not missed.
                let _ = to.send(answer);
            }
        }
    }

    /// All that is wanted of what waits, or as much of it as makes one flight; `None` where nothing
    /// is, and then this one has ended.
    fn take(&mut self) -> Option<Vec<Waiting>> {
        let mut state = self.node.sharing().state();
        let (mut flight, mut bytes) = (Vec::new(), 0);
        while flight.len() < FLIGHT_CALLS_MAX
            && let Some(next) = state.waiting.front()
        {
            if next.is_wanted() {
                bytes += next.bytes;
                if bytes > FLIGHT_BYTES_MAX && !flight.is_empty() {
                    break;
                }
                flight.extend(state.waiting.pop_front());
            } else {
                state.waiting.pop_front();
            }
        }
        if flight.is_empty() {
            state.under_way -= 1;
            self.is_under_way = false;
            return None;
        }
        Some(flight)
    }
}

impl Drop for Carrier {
    /// Where it panicked, or its runtime has ended: whoever waits for it is told.
    fn drop(&mut self) {
        if self.is_under_way {
            let mut state = self.node.sharing().state();
            state.under_way -= 1;
            if state.under_way == 0 {
                state.waiting.clear();
            }
        }
    }
}
