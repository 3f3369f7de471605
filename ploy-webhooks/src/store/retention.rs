//! [`RetentionStore`]: events that have been kept for long enough go.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{RunStore, StoreError};
use crate::clock::Timestamp;
use crate::event::Fence;
use crate::id::{EventId, WorkspaceId};

/// A store that lets go of old events, with all that they owed.
///
/// How long events are kept is decided by who sweeps: the store knows no
/// [`Retention`](crate::Retention). Any number of nodes may sweep at once.
#[async_trait]
pub trait RetentionStore: RunStore {
    /// Removes events that are older than the sweep says, with their runs and the attempts of
    /// these, and frees the space.
    ///
    /// One call removes a bounded number of events, in transactions that are short enough for
    /// appends not to notice, and looks at a bounded number; it says where the next call goes on.
    ///
    /// # To ensure correctness
    ///
    /// - What is removed is found no more, by its id, by a search or in a list, and neither are
    ///   its runs (`what_is_past_its_time_goes`); a restart brings nothing back
    ///   (`what_has_expired_stays_gone_after_a_restart`).
    /// - Nothing younger is removed, by the time of its id and the clock of the store
    ///   (`what_is_younger_stays`), and nothing of anybody else (`a_sweep_is_of_one_owner`).
    /// - An event of which a run is queued, under way or to be tried again stays, and goes with a
    ///   later sweep (`events_with_unfinished_runs_stay`). That is decided in the step that removes
    ///   it: a run that [`enqueue`](super::RunQueue::enqueue) has added is never lost.
    /// - Where the endpoint is not at the revision that the sweep names, nothing is removed
    ///   (`a_sweep_of_another_revision_removes_nothing`): once a change of the retention has
    ///   returned, nothing goes by the one before.
    /// - Following `next` to its end removes all that was old enough at the beginning; sweeping
    ///   again, or twice at once, removes nothing twice (`sweeps_go_on_and_meet_without_harm`).
    /// - Deduplication keys are left alone: a repeat within its window is told the id of the first,
    ///   although that is gone (`a_repeat_of_what_has_expired_is_one`).
    ///
    /// # Errors
    ///
    /// Any [`StoreError`]; some of the events may have been removed then.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have removed events, or remove them yet.
    async fn expire(&self, sweep: &Sweep) -> Result<Expired, StoreError>;
}

/// Which events have been kept for long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "who sweeps says all of it")]
pub struct Sweep {
    /// The tenant.
    pub workspace: WorkspaceId,
    /// The endpoint that took them, and the revision that says how long they are kept; `None` is
    /// what the app has published.
    pub endpoint: Option<Fence>,
    /// How old they are at least; `None` is any age.
    pub older_than: Option<Duration>,
    /// Where the sweep goes on; `None` is its beginning.
    pub from: Option<SweepPlace>,
}

/// How far a sweep has come: for the store that says so, and for the same sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SweepPlace(u128);

/// What came of one call of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[expect(clippy::exhaustive_enums, reason = "callers act on each of these")]
pub enum Expired {
    /// So many events are gone.
    Swept {
        /// How many this call has removed.
        events: u64,
        /// Where the sweep goes on; `None` where it has come to its end.
        next: Option<SweepPlace>,
    },
    /// The endpoint is not at that revision any more, or is deleted. Nothing is removed.
    Fenced,
}

impl Sweep {
    /// A sweep of what the app has published in the workspace, whatever its age.
    #[must_use]
    pub const fn published(workspace: WorkspaceId) -> Self {
        Self { workspace, endpoint: None, older_than: None, from: None }
    }

    /// The greatest id of which all up to it are old enough at that time; `None` where nothing can
    /// be as old as that. For stores that read the time themselves.
    #[must_use]
    pub fn last_at(&self, now: Timestamp) -> Option<EventId> {
        let Some(age) = self.older_than else {
            return Some(EventId::from_bytes([0xff; 16]));
        };
        let latest = now.as_millis().checked_sub(u64::try_from(age.as_millis()).ok()?)?;
        // Ids begin with 48 bits of milliseconds.
        let last = u128::from(latest) << 80 | (u128::MAX >> 48);
        Some(EventId::from_bytes(last.to_be_bytes()))
    }

    /// The same sweep, going on from there.
    #[must_use]
    pub fn from(&self, place: SweepPlace) -> Self {
        Self { from: Some(place), ..*self }
    }
}

impl SweepPlace {
    /// The place with this number, which is the store's business.
    #[must_use]
    pub const fn new(number: u128) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u128 {
        self.0
    }

    /// The place at that event, for stores that sweep in the order of ids.
    #[must_use]
    pub const fn at(event: &EventId) -> Self {
        Self(u128::from_be_bytes(*event.as_bytes()))
    }

    /// The place after that event, likewise.
    #[must_use]
    pub const fn after(event: &EventId) -> Self {
        Self(Self::at(event).0.saturating_add(1))
    }

    /// The least id that is not before the place, likewise.
    #[must_use]
    pub const fn event(self) -> EventId {
        EventId::from_bytes(self.0.to_be_bytes())
    }
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper forwards everything")]
#[async_trait]
impl<S: RetentionStore + ?Sized> RetentionStore for Arc<S> {
    async fn expire(&self, sweep: &Sweep) -> Result<Expired, StoreError> {
        (**self).expire(sweep).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_as_old_as_that_goes_to_the_millisecond() {
        let now = Timestamp::from_millis(10_000);
        let sweep = |millis| Sweep {
            older_than: Some(Duration::from_millis(millis)),
            ..Sweep::published(WorkspaceId::DEFAULT)
        };
        let last = sweep(4_000).last_at(now).unwrap();
        assert_eq!(last.timestamp().as_millis(), 6_000);
        assert!(EventId::least_at(Timestamp::from_millis(6_000)) < last);
        assert!(EventId::least_at(Timestamp::from_millis(6_001)) > last);
        assert!(sweep(10_000).last_at(now).is_some());
        for beyond in [10_001, u64::MAX] {
            assert_eq!(sweep(beyond).last_at(now), None, "{beyond} ms");
        }
        let endless = Sweep { older_than: Some(Duration::MAX), ..sweep(0) };
        assert_eq!(endless.last_at(now), None);
        let any = Sweep { older_than: None, ..sweep(0) };
        assert_eq!(any.last_at(now), Some(EventId::from_bytes([0xff; 16])));
        let latest = Sweep { older_than: Some(Duration::ZERO), ..any };
        assert_eq!(latest.last_at(Timestamp::MAX), any.last_at(now));
    }
}
