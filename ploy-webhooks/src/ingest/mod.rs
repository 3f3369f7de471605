//! The pipeline: [`Ingest`], a tower service that takes webhooks in. The embedder's manual.
//!
//! # Mounting it
//!
//! The slug is the last segment of the path; everything before it is the app's business. With
//! axum:
//!
//! ```
//! # use ploy_webhooks::{Ingest, store::MemoryStore};
//! # use std::sync::Arc;
//! # let store = Arc::new(MemoryStore::new());
//! let ingest = Ingest::new(store.clone(), store);
//! let app: axum::Router = axum::Router::new().route_service("/api/v1/webhook/{slug}", ingest);
//! ```
//!
//! With hyper, wrap it in `hyper_util::service::TowerToHyperService`. Whole programs for both are
//! the examples `axum` and `hyper` of the repository. Where senders are to be told by their
//! address, put a [`SourceAddress`] into the extensions of each request; behind proxies,
//! [`TrustedProxies`] tells it.
//!
//! Without HTTP, call [`Ingest::submit`]. To word answers of one's own, call [`Ingest::accept`],
//! or look for the [`Refusal`] in the extensions of the answer.
//!
//! # What is checked, in this order
//!
//! | # | check | answer where it fails |
//! | --- | --- | --- |
//! | 1 | the method is POST | 405 |
//! | 2 | the content is `application/json` in utf-8, not encoded | 415 |
//! | 3 | the declared length is within the limit | 413 |
//! | 4 | there is such an endpoint | 404 |
//! | 5 | the address is on its list, if it has one | 403 |
//! | 6 | the key is one of its keys, or the signature by one of its secrets | 401 |
//! | 7 | it is active | 403 |
//! | 8 | it is not sent to too often, nor its workspace | 429 |
//! | 9 | the body is within the limit and arrives in time | 413, 408 |
//! | 10 | the body is one JSON object | 400 |
//! | 11 | the store takes the event, within the quota | 503, 429 |
//!
//! The first that fails is the answer. Nobody learns the state of an endpoint, spends its rate
//! or makes the process hold a body before proving to be its sender; where a signature is over the
//! body, that is read first, if what the headers say can be right, and 7 and 8 come after it.
//!
//! # What may be relied on
//!
//! - 202 is sent after the store has made the event durable.
//! - Anything else means that the event was not stored, with one exception that no protocol can
//!   close: a store whose answer was lost ([`Outage::is_indeterminate`]), which is a 503. With a
//!   deduplication rule the sender's retry is harmless.
//! - Memory is bounded: by [`Settings::in_flight_bytes_max`] for bodies, whatever the number of
//!   senders and however slowly they send.

mod budget;
mod builder;
mod cache;
mod check;
mod compose;
mod counts;
mod forwarded;
mod in_time;
mod known;
mod observer;
mod pipeline;
mod rates;
mod refusal;
mod response;
mod service;
mod settings;

pub use builder::Builder;
pub use forwarded::{ForwardedHeader, TrustedProxies};
pub use observer::{Answered, Observer, Took};
pub use refusal::{CredentialFault, Expected, MediaTypeFault, Outage, Refusal};
pub use response::{Accepted, Received, ResponseBody, ResponseFuture};
pub use service::{Delivery, Ingest, SourceAddress};
pub use settings::{Settings, SettingsError};
