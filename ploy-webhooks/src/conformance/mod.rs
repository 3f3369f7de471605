//! The promises of the store traits as tests: for who writes a store. The manual.
//!
//! Every promise that a trait of [`store`](crate::store) names is a function here, of the same
//! name, which panics where the promise is broken. [`conformance!`](crate::conformance!) makes a
//! test of each:
//!
//! ```
//! // tests/conformance.rs, with the feature `conformance` in [dev-dependencies]
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use ploy_webhooks::conformance::Fixture;
//! use ploy_webhooks::store::MemoryStore;
//! use ploy_webhooks::{Clock, ManualClock, Timestamp};
//!
//! #[derive(Default)]
//! struct InMemory(Arc<ManualClock>);
//!
//! impl Fixture for InMemory {
//!     type Store = MemoryStore;
//!
//!     async fn open(&self) -> Arc<MemoryStore> {
//!         let clock = Arc::clone(&self.0) as Arc<dyn Clock>;
//!         Arc::new(MemoryStore::with_parts(MemoryStore::PAYLOAD_BYTES_MAX, clock))
//!     }
//!
//!     // Nothing survives the process, so there is nothing to show.
//!     async fn reopen(&self, store: Arc<MemoryStore>) -> Arc<MemoryStore> {
//!         store
//!     }
//!
//!     async fn elapse(&self, duration: Duration) {
//!         self.0.advance(duration);
//!     }
//! }
//!
//! ploy_webhooks::conformance!(InMemory::default());
//! ```
//!
//! The expression is evaluated once for each test, within a tokio runtime. The macro needs no
//! dependency of its own. One promise is tried by `cargo test --test conformance -- <name>`.
//!
//! # Which promises
//!
//! There are no capabilities to switch off: a store keeps every promise of the traits that it
//! has. Two lists follow from which traits these are:
//!
//! - `conformance!(fixture)`, for a [`Fixture`]: all of [`EventStore`](crate::store::EventStore),
//!   [`KeyStore`](crate::store::KeyStore), [`RunStore`](crate::store::RunStore),
//!   [`RunQueue`](crate::store::RunQueue), [`EndpointStore`](crate::store::EndpointStore),
//!   [`DefinitionStore`](crate::store::DefinitionStore),
//!   [`TokenStore`](crate::store::TokenStore),
//!   [`ActivityStore`](crate::store::ActivityStore),
//!   [`FeedStore`](crate::store::FeedStore),
//!   [`HistoryStore`](crate::store::HistoryStore) and
//!   [`RetentionStore`](crate::store::RetentionStore).
//! - `conformance!(events_only: fixture)`, for an [`EventsFixture`]: `EventStore` and `KeyStore`,
//!   with endpoints that the suite hands to the fixture and never changes.
//!
//! A test takes no longer than the store does, but for the few that let windows and leases pass. Tests run
//! at the same time and in any order; what must not be shared belongs into the fixture.

mod activity;
mod append;
mod calls;
mod dedup;
mod definitions;
mod deletion;
mod endpoints;
mod feed;
mod fence;
mod fixture;
mod hands;
mod history;
mod isolation;
mod lanes;
mod leases;
mod list;
mod model;
mod needles;
mod quotas;
mod record;
mod restart;
mod retention;
mod runs;
mod scene;
mod search;
mod tokens;

pub use activity::*;
pub use append::*;
pub use dedup::*;
pub use definitions::*;
pub use deletion::*;
pub use endpoints::*;
pub use feed::*;
pub use fence::*;
pub use fixture::{EventsFixture, Fixture};
pub use hands::*;
pub use history::*;
pub use isolation::*;
pub use lanes::*;
pub use leases::*;
#[doc(hidden)]
pub use list::run;
pub use model::any_sequence_of_calls_does_as_the_model;
pub use needles::*;
pub use quotas::*;
pub use record::*;
pub use restart::*;
pub use retention::*;
pub use runs::*;
pub use search::*;
pub use tokens::*;
