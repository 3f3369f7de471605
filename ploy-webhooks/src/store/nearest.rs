//! The nearest matches of a search: what a page is made of when a history is read in pieces.
//!
//! A history that lies in the order of its commits, or in parts by writer, is not read in the
//! order of its ids. A search reads the pieces that may be nearest first, keeps the nearest
//! matches, and ends as soon as no piece that is left can hold a nearer one. That sorts by id
//! exactly, whatever the order of the pieces was.
//!
//! For who writes a store: the stores of this project share it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{EventQuery, Order, Page};
use crate::event::EventSummary;
use crate::id::EventId;

/// The place of an id in the direction of a query: the nearest has the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nearness(u128);

impl Nearness {
    /// How near an event is.
    #[must_use]
    pub const fn of(id: EventId, order: Order) -> Self {
        let number = u128::from_be_bytes(*id.as_bytes());
        Self(match order {
            Order::Descending => number,
            Order::Ascending => !number,
        })
    }

    /// How near the nearest of the ids from `low` to `high` is.
    #[must_use]
    pub fn of_nearest(low: EventId, high: EventId, order: Order) -> Self {
        Self::of(low, order).max(Self::of(high, order))
    }

    /// The next nearer one.
    #[must_use]
    pub const fn nearer(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The next less near one; `None` where there is none.
    #[must_use]
    pub fn farther(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }

    /// The id that is as near.
    #[must_use]
    pub const fn id(self, order: Order) -> EventId {
        let number = match order {
            Order::Descending => self.0,
            Order::Ascending => !self.0,
        };
        EventId::from_bytes(number.to_be_bytes())
    }
}

/// The nearest matches so far, as many as a page has room for.
#[derive(Debug)]
pub struct Nearest<'query> {
    query: &'query EventQuery,
    items: BTreeMap<Reverse<Nearness>, EventSummary>,
    /// Whether something was left out for want of room.
    left_out: bool,
}

impl<'query> Nearest<'query> {
    /// No matches yet.
    #[must_use]
    pub const fn new(query: &'query EventQuery) -> Self {
        Self { query, items: BTreeMap::new(), left_out: false }
    }

    /// Adds a match. One that is added twice counts once.
    pub fn add(&mut self, item: EventSummary) {
        self.items.insert(Reverse(Nearness::of(item.id, self.query.order)), item);
        if self.items.len() > self.query.limit.get() {
            self.items.pop_last();
            self.left_out = true;
        }
    }

    /// Whether the page is full of what is nearer than that; if so, there is more than the page.
    pub fn leaves_out(&mut self, nearness: Nearness) -> bool {
        let is_full = self.items.len() == self.query.limit.get();
        let last = self.items.last_key_value().filter(|_| is_full);
        let is_left_out = last.is_some_and(|(last, _)| last.0 > nearness);
        self.left_out |= is_left_out;
        is_left_out
    }

    /// The page, where everything that may be nearer than what was left out has been read.
    #[must_use]
    pub fn into_page(self) -> Page<EventSummary> {
        let items: Vec<_> = self.items.into_values().collect();
        let last = items.last().filter(|_| self.left_out);
        let next = last.map(|last| self.query.beyond(last.id));
        Page { items, next }
    }

    /// The page that ends before its limit: everything as near as `until` or nearer has been
    /// read, and what is not so near is for the next one.
    #[must_use]
    pub fn into_page_until(self, until: Nearness) -> Page<EventSummary> {
        let items = self.items.into_iter().take_while(|(nearness, _)| nearness.0 >= until);
        let items = items.map(|(_, item)| item).collect();
        Page { items, next: Some(self.query.beyond(until.id(self.query.order))) }
    }
}
