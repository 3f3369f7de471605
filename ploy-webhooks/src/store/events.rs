//! [`EventStore`]: where accepted events are kept.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{EventQuery, Page, StoreError};
use crate::event::{Event, EventSummary, NewEvent};
use crate::id::{EventId, WorkspaceId};

/// Where accepted events are kept, verbatim.
#[async_trait]
pub trait EventStore: Debug + Send + Sync + 'static {
    /// Stores one event with the runs that it owes.
    ///
    /// # To ensure correctness
    ///
    /// - `Stored` is returned after the event is durable, not before
    ///   (`stored_events_survive_a_restart`), and the bytes are kept as they are
    ///   (`payloads_are_kept_verbatim`).
    /// - The runs that the event [owes](NewEvent::owes) are stored in the same step
    ///   (`owed_runs_are_stored_with_their_event`); a store without runs returns
    ///   [`Misuse`](super::StoreErrorKind::Misuse) for any.
    /// - The [fence](NewEvent::fence) is checked at commit. An event that was checked against
    ///   another revision, or whose endpoint is gone, is not stored
    ///   (`stale_revisions_are_fenced`), also when the change runs at the same time
    ///   (`changes_wait_for_appends_under_way`).
    /// - Of any number of events with one [deduplication key](NewEvent::dedup) within its
    ///   window exactly one is stored, and the others get its id
    ///   (`of_simultaneous_repeats_one_is_stored`). The fence is checked before.
    /// - Of any number of events with a [quota](NewEvent::quota) exactly so many are stored in each
    ///   of its periods, by the store's clock (`quotas_are_exact`, `quotas_begin_anew_each_period`).
    ///   Repeats are told first; an event past the quota uses no deduplication key up. What was
    ///   stored is counted from when a quota was first named, whatever the quota says meanwhile;
    ///   where its period has changed the count begins anew. A store that does not count returns
    ///   [`Misuse`](super::StoreErrorKind::Misuse) for any quota.
    /// - Events may share a commit but not a fate: one that is refused answers for itself alone
    ///   (`a_refused_event_does_not_harm_its_neighbours`).
    /// - The [id](NewEvent::id) is new: minted for this event, and uniqueness is the minting's
    ///   business. A store need not look for it.
    ///
    /// Batching is the store's business. A store whose queue is full says
    /// [`Busy`](super::StoreErrorKind::Busy) at once.
    ///
    /// # Errors
    ///
    /// [`Indeterminate`](super::StoreErrorKind::Indeterminate) when the event may have been
    /// stored; with any other kind it was not.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may store the event or not.
    async fn append(&self, event: NewEvent) -> Result<Appended, StoreError>;

    /// The event with that id; `None` where the workspace has none, or its endpoint is deleted.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    async fn event(
        &self,
        workspace: &WorkspaceId,
        id: &EventId,
    ) -> Result<Option<Event>, StoreError>;

    /// One page of the events that match.
    ///
    /// Complete at once: an event whose `append` has returned is found
    /// (`search_sees_every_event_that_was_stored`). Sorted by id. A page may be short, or empty,
    /// while [`next`](Page::next) is there: that is how a scan without an index stays bounded.
    /// Following `next` to its end gives every event that matched throughout, once
    /// (`pages_join_without_gap_or_repeat`).
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    async fn search(&self, query: &EventQuery) -> Result<Page<EventSummary>, StoreError>;
}

/// What came of an append.
#[derive(Debug)]
#[must_use]
#[expect(clippy::exhaustive_enums, reason = "callers act on each of these")]
pub enum Appended {
    /// The event is durable.
    Stored,
    /// The event repeats one that is stored already: this one. Nothing new is kept.
    Duplicate(EventId),
    /// The endpoint has stored as many events as the quota allows. Nothing is kept.
    OverQuota {
        /// After this time one more will be stored; `None` is never, by this quota.
        resets_in: Option<Duration>,
    },
    /// The endpoint is no longer in the state that the event was checked against. Nothing is
    /// kept; the event is handed back, so that it can be tried again without a copy.
    Fenced(Box<NewEvent>),
}

/// What `async_trait` makes of the return type of an `async fn`.
type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Written as `async_trait` would have it written, not with it: its future would be one around
/// the store's own, and every event would pay for the allocation.
#[deny(clippy::missing_trait_methods, reason = "a wrapper forwards everything")]
impl<S: EventStore + ?Sized> EventStore for Arc<S> {
    fn append<'store, 'answer>(&'store self, event: NewEvent) -> Answer<'answer, Appended>
    where
        'store: 'answer,
        Self: 'answer,
    {
        (**self).append(event)
    }

    fn event<'store, 'workspace, 'id, 'answer>(
        &'store self,
        workspace: &'workspace WorkspaceId,
        id: &'id EventId,
    ) -> Answer<'answer, Option<Event>>
    where
        'store: 'answer,
        'workspace: 'answer,
        'id: 'answer,
        Self: 'answer,
    {
        (**self).event(workspace, id)
    }

    fn search<'store, 'query, 'answer>(
        &'store self,
        query: &'query EventQuery,
    ) -> Answer<'answer, Page<EventSummary>>
    where
        'store: 'answer,
        'query: 'answer,
        Self: 'answer,
    {
        (**self).search(query)
    }
}
