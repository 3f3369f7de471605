//! Events that go, in memory.

use async_trait::async_trait;

use super::{MemoryStore, State};
use crate::event::Event;
use crate::id::EventId;
use crate::store::{Expired, RetentionStore, StoreError, Sweep, SweepPlace};

/// How many events are looked at under one hold of the lock. More than that would hold up appends,
/// and with fewer what comes after them would be moved more often.
const LOOKED_AT_MAX: usize = 1 << 12;

#[async_trait]
impl RetentionStore for MemoryStore {
    async fn expire(&self, sweep: &Sweep) -> Result<Expired, StoreError> {
        let mut state = self.state();
        if !state.may_sweep(sweep) {
            return Ok(Expired::Fenced);
        }
        Ok(match sweep.last_at(self.clock.now()) {
            Some(last) => state.expire(sweep, last),
            None => Expired::Swept { events: 0, next: None },
        })
    }
}

impl State {
    fn may_sweep(&self, sweep: &Sweep) -> bool {
        sweep.endpoint.is_none_or(|fence| {
            self.endpoints.get(&fence.endpoint).is_some_and(|endpoint| {
                endpoint.revision == fence.checked_at && endpoint.workspace == sweep.workspace
            })
        })
    }

    /// Removes what may go of the next events up to the last one.
    fn expire(&mut self, sweep: &Sweep, last: EventId) -> Expired {
        let Self { events, runs, payload_bytes, .. } = self;
        let first = sweep.from.map_or(EventId::from_bytes([0; 16]), SweepPlace::event);
        let begin = events.partition_point(|event| event.id < first);
        let end = events.partition_point(|event| event.id <= last).max(begin);
        let looked_at = begin..end.min(begin + LOOKED_AT_MAX);
        let next = events[looked_at.clone()].last().filter(|_| looked_at.end < end);
        let next = next.map(|event| SweepPlace::after(&event.id));
        let endpoint = sweep.endpoint.map(|fence| fence.endpoint);
        let may_go = |event: &mut Event| {
            event.workspace == sweep.workspace
                && event.endpoint == endpoint
                && runs.are_over(event.id)
        };
        let gone: Vec<_> = events.extract_if(looked_at, may_go).collect();
        for event in &gone {
            *payload_bytes -= event.payload.len() as u64;
            runs.forget(event.id);
        }
        Expired::Swept { events: gone.len() as u64, next }
    }
}
