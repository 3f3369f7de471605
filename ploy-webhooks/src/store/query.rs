//! What is searched for, and a page of what was found.

use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::needle::Needle;
use crate::clock::Timestamp;
use crate::event::EventType;
use crate::id::{EndpointId, EventId, WorkspaceId};

/// Which events are wanted, and how many at once.
///
/// Every condition that is set must hold. A page's [`next`](Page::next) is the same query
/// further on, so conditions cannot change between two pages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EventQuery {
    /// The tenant.
    pub workspace: WorkspaceId,
    /// Only what this endpoint took.
    pub endpoint: Option<EndpointId>,
    /// Only events of this type.
    pub event_type: Option<EventType>,
    /// Only what was received then or later.
    pub from: Option<Timestamp>,
    /// Only what was received before.
    pub to: Option<Timestamp>,
    /// Only payloads in which this stands.
    pub contains: Option<Needle>,
    /// Which end comes first.
    pub order: Order,
    /// How many events a page has at most.
    pub limit: PageSize,
    /// Where the page begins: with the first event beyond this id, in the direction of the
    /// order. `None` is the beginning.
    pub beyond: Option<EventId>,
}

impl EventQuery {
    /// All events of a workspace, the newest first, 50 a page.
    #[must_use]
    pub const fn all(workspace: WorkspaceId) -> Self {
        Self {
            workspace,
            endpoint: None,
            event_type: None,
            from: None,
            to: None,
            contains: None,
            order: Order::Descending,
            limit: PageSize::DEFAULT,
            beyond: None,
        }
    }

    /// The same query, beginning beyond that id.
    #[must_use]
    pub fn beyond(&self, id: EventId) -> Self {
        Self { beyond: Some(id), ..self.clone() }
    }

    /// The ids that can match by `from`, `to` and `beyond`: from the first, inclusive, to the
    /// second, inclusive. `None` where none can.
    #[must_use]
    pub fn id_range(&self) -> Option<(EventId, EventId)> {
        let mut low = self.from.map_or(EventId::from_bytes([0; 16]), EventId::least_at);
        let mut high = match self.to {
            Some(to) => before(EventId::least_at(to))?,
            None => EventId::from_bytes([0xff; 16]),
        };
        match (self.beyond, self.order) {
            (Some(id), Order::Descending) => high = high.min(before(id)?),
            (Some(id), Order::Ascending) => low = low.max(after(id)?),
            (None, _) => {}
        }
        (low <= high).then_some((low, high))
    }
}

fn before(id: EventId) -> Option<EventId> {
    let number = u128::from_be_bytes(*id.as_bytes()).checked_sub(1)?;
    Some(EventId::from_bytes(number.to_be_bytes()))
}

fn after(id: EventId) -> Option<EventId> {
    let number = u128::from_be_bytes(*id.as_bytes()).checked_add(1)?;
    Some(EventId::from_bytes(number.to_be_bytes()))
}

/// Which end of the history comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "a history has two ends")]
pub enum Order {
    /// The oldest first.
    #[serde(rename = "asc")]
    Ascending,
    /// The newest first.
    #[default]
    #[serde(rename = "desc")]
    Descending,
}

/// How many events a page has at most: 1 to 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct PageSize(u16);

/// A page size outside 1 to 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a page has 1 to 200 items, not {0}")]
#[expect(clippy::exhaustive_structs, reason = "it is the size")]
pub struct PageSizeError(pub u16);

impl PageSize {
    /// The largest page.
    pub const MAX: Self = Self(200);
    /// The page where no size is given.
    pub const DEFAULT: Self = Self(50);

    /// A page of that size; `None` outside 1 to 200.
    #[must_use]
    pub const fn new(size: u16) -> Option<Self> {
        if size >= 1 && size <= Self::MAX.0 { Some(Self(size)) } else { None }
    }

    /// The number of events.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0 as usize
    }

    /// One more than a page shows, which tells whether it is the last.
    #[must_use]
    pub const fn one_more(self) -> NonZeroU16 {
        NonZeroU16::MIN.saturating_add(self.0)
    }
}

impl TryFrom<u16> for PageSize {
    type Error = PageSizeError;

    fn try_from(size: u16) -> Result<Self, PageSizeError> {
        Self::new(size).ok_or(PageSizeError(size))
    }
}

impl From<PageSize> for u16 {
    fn from(size: PageSize) -> Self {
        size.0
    }
}

/// A part of what a query finds.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "every store builds it from its parts")]
pub struct Page<T, Q = EventQuery> {
    /// What was found, in the order of the query. May be short, or empty, before the end.
    pub items: Vec<T>,
    /// The query that goes on where this page ended; `None` at the end.
    pub next: Option<Q>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_ranges() {
        let id = |number: u128| EventId::from_bytes(number.to_be_bytes());
        let mut query = EventQuery::all(WorkspaceId::DEFAULT);
        assert_eq!(query.id_range(), Some((id(0), id(u128::MAX))));
        query.beyond = Some(id(0));
        assert_eq!(query.id_range(), None);
        query.order = Order::Ascending;
        assert_eq!(query.id_range(), Some((id(1), id(u128::MAX))));
        query.from = Some(Timestamp::from_millis(1));
        query.to = Some(Timestamp::from_millis(2));
        assert_eq!(query.id_range(), Some((id(1 << 80), id((2 << 80) - 1))));
        query.to = Some(Timestamp::from_millis(1));
        assert_eq!(query.id_range(), None);
        query.to = Some(Timestamp::from_millis(0));
        assert_eq!(query.id_range(), None);
    }
    #[test]
    fn a_query_from_outside_is_in_bounds() {
        let query =
            EventQuery { from: Some(Timestamp::MAX), ..EventQuery::all(WorkspaceId::DEFAULT) };
        let written = serde_json::to_value(&query).unwrap();
        let read = |query| serde_json::from_value::<EventQuery>(query);
        assert_eq!(read(written.clone()).unwrap(), query);
        for size in [0, 201, 70_000] {
            let mut changed = written.clone();
            changed["limit"] = size.into();
            assert!(read(changed).is_err(), "{size}");
        }
        let mut later = written;
        later["from"] = u64::MAX.into();
        assert_eq!(read(later).unwrap(), query);
    }
}
