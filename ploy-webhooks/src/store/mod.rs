//! Storage: the traits, the integrator's manual, and a store in memory.
//!
//! # Which traits
//!
//! | you want | implement |
//! | --- | --- |
//! | to take events in, with endpoints of your own | [`KeyStore`] and [`EventStore`] |
//! | triggers: runs that are stored with their event | also [`RunStore`] |
//! | runs that are carried out | also [`RunQueue`] |
//! | endpoints that change at run time | also [`EndpointStore`] |
//! | Ploybooks and subscriptions | also [`DefinitionStore`] |
//! | events that are kept for a time only | also [`RetentionStore`] |
//! | to tell what happens as it happens | also [`FeedStore`] |
//! | to run the ready-made server on it | also [`TokenStore`] and [`ActivityStore`] |
//!
//! Prove it with the conformance suite (feature `conformance`): one named test for each promise,
//! and a model that throws random sequences of calls at the store.
//!
//! # What every store promises
//!
//! - *Stored means durable*, at the durability the store is set to, when `append` returns.
//! - *The fence*: an event names the revision of the endpoint that it was checked against. When
//!   a change of the endpoint returns, no event that names an earlier revision is stored any
//!   more. Check it inside the commit; a check before it is a race.
//! - *Verbatim*: the bytes that came are the bytes that are kept.
//! - *Exactly one* of any number of simultaneous repeats is stored.
//! - *Complete*: an event that is stored is found by the next search.
//!
//! Each is spelled out where it is owed: at the method. The store knows no policy: which runs
//! an event owes, who may send and what is a repeat is decided before.
//!
//! # A store of one's own
//!
//! Below is a whole one, for endpoints that are fixed in the code and events that go to a
//! `Vec`. The example `own-store` grows it into one that passes the suite.
//!
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! use async_trait::async_trait;
//! use ploy_webhooks::store::{
//!     Appended, EventQuery, EventStore, KeyStore, Page, StoreError, StoreErrorKind,
//! };
//! use ploy_webhooks::{
//!     Endpoint, Event, EventId, EventSummary, NewEvent, Slug, WorkspaceId,
//! };
//!
//! #[derive(Debug)]
//! struct Kept {
//!     endpoint: Arc<Endpoint>,
//!     events: Mutex<Vec<NewEvent>>,
//! }
//!
//! #[async_trait]
//! impl KeyStore for Kept {
//!     async fn endpoint(&self, slug: &Slug) -> Result<Option<Arc<Endpoint>>, StoreError> {
//!         Ok((*slug == self.endpoint.slug).then(|| self.endpoint.clone()))
//!     }
//! }
//!
//! #[async_trait]
//! impl EventStore for Kept {
//!     async fn append(&self, event: NewEvent) -> Result<Appended, StoreError> {
//!         if !event.owes.is_empty() || event.dedup.is_some() || event.quota.is_some() {
//!             return Err(StoreError::new(StoreErrorKind::Misuse, "this store only stores"));
//!         }
//!         // The endpoint never changes, so the fence always holds.
//!         self.events.lock().expect("no append panics").push(event);
//!         Ok(Appended::Stored)
//!     }
//!
//!     async fn event(
//!         &self,
//!         _workspace: &WorkspaceId,
//!         id: &EventId,
//!     ) -> Result<Option<Event>, StoreError> {
//!         let events = self.events.lock().expect("no append panics");
//!         Ok(events.iter().find(|event| event.id == *id).cloned().map(Event::from))
//!     }
//!
//!     async fn search(&self, query: &EventQuery) -> Result<Page<EventSummary>, StoreError> {
//!         let events = self.events.lock().expect("no append panics");
//!         let items = events.iter().rev().take(query.limit.get()).map(EventSummary::from);
//!         Ok(Page { items: items.collect(), next: None })
//!     }
//! }
//! ```

mod activity;
pub mod bloom;
mod definitions;
mod endpoints;
mod error;
mod events;
mod feed;

pub mod grams;
mod history;
mod inspection;
mod keys;
mod lanes;
pub mod memory;
pub mod nearest;
mod needle;
mod query;
mod retention;
mod runs;

pub use activity::{
    Activity, ActivityStore, OBSERVED_MAX, Observation, Observations, Observed, QuotaUse, Tally,
};
pub use definitions::{Defined, Definition, DefinitionKind, DefinitionStore};
pub use endpoints::{Created, EndpointPatch, EndpointStore, TokenStore, Updated};
pub use error::{StoreError, StoreErrorKind};
pub use events::{Appended, EventStore};
pub use feed::{Change, Changes, FeedQuery, FeedStore, Position, RunChange};
pub use history::{
    HISTORY_KEPT, HISTORY_STEP, HistoryBucket, HistoryCounts, HistoryStore, HistoryTally,
};
pub use inspection::{Format, Inspection};
pub use keys::KeyStore;
pub use lanes::Lanes;
pub use memory::MemoryStore;
pub use needle::{Needle, NeedleError, fold_into};
pub use query::{EventQuery, Order, Page, PageSize, PageSizeError};
pub use retention::{Expired, RetentionStore, Sweep, SweepPlace};
pub use runs::{Altered, Claim, RunQuery, RunQueue, RunStore, Tenure};
