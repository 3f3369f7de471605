//! [`Gates`]: what a runner holds lanes back by, so that what cannot be carried out now stays in
//! line, and takes no place from what can.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::run::Lane;
use crate::store::Lanes;

/// How many attempts may be under way in certain lanes, as a runner sees fit: none at a receiver
/// that is down, a few at a slow one. Shared by the runner, which [sets](Self::set) them, and the
/// dispatcher, which claims no more.
///
/// A gate holds until a moment; then the dispatcher has the runner
/// [look again](super::TriggerRunner::look_again). A clone is the same gates.
#[derive(Clone, Debug, Default)]
pub struct Gates {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    gates: Mutex<HashMap<Lane, Gate>>,
    moved: Notify,
}

#[derive(Clone, Copy, Debug)]
struct Gate {
    at_once: u16,
    until: Instant,
    /// Whether the runner is looking again. Until it has, the gate holds as it was.
    is_looked_at: bool,
}

/// How long a runner may look. One that takes longer is asked once more.
const LOOK_MAX: Duration = Duration::from_secs(5);

impl Gates {
    /// Gates that hold nothing back.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Until then, no more than `at_once` attempts are to be under way in that lane. What is under
    /// way goes on.
    pub fn set(&self, lane: Lane, at_once: u16, until: Instant) {
        let before = self.gates().insert(lane, Gate { at_once, until, is_looked_at: false });
        // Who waits does so for a lane that may be wider now, or until a moment that may be nearer.
        if before.is_none_or(|before| before.at_once < at_once || until < before.until) {
            self.shared.moved.notify_one();
        }
    }

    /// That lane has its usual bound again.
    pub fn forget(&self, lane: &Lane) {
        if self.gates().remove(lane).is_some() {
            self.shared.moved.notify_one();
        }
    }

    /// The lanes whose gates have lasted their time, each once, to be looked at again.
    pub(super) fn lapsed(&self) -> Vec<Lane> {
        let now = Instant::now();
        let mut lapsed = Vec::new();
        for (lane, gate) in self.gates().iter_mut().filter(|(_, gate)| gate.until <= now) {
            *gate = Gate { until: now + LOOK_MAX, is_looked_at: true, ..*gate };
            lapsed.push(*lane);
        }
        lapsed
    }

    /// That lane was looked at: its gate is forgotten, if nobody has set it anew.
    pub(super) fn looked_at(&self, lane: &Lane) {
        let is_old = self.gates().get(lane).is_some_and(|gate| gate.is_looked_at);
        if is_old {
            self.forget(lane);
        }
    }

    /// Bounds the lanes by what holds now.
    pub(super) fn bound(&self, lanes: &mut Lanes) {
        lanes.unbound();
        self.gates().iter().for_each(|(lane, gate)| lanes.bound(*lane, gate.at_once));
    }

    /// Returns when a gate is set anew or has lasted its time.
    pub(super) async fn moved(&self) {
        let first = self.gates().values().map(|gate| gate.until).min();
        let lapses = async {
            match first {
                Some(first) => sleep_until(first).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.shared.moved.notified() => {}
            () = lapses => {}
        }
    }

    fn gates(&self) -> MutexGuard<'_, HashMap<Lane, Gate>> {
        self.shared.gates.lock().expect("no holder of the lock panics")
    }
}
