//! Webhook intake as a tower [`Service`](tower::Service): a request is checked, its event is
//! stored verbatim and durably, and only then answered `202`.
//!
//! ```
//! use bytes::Bytes;
//! use http::Request;
//! use http_body_util::Full;
//! use ploy_webhooks::store::{EndpointStore, MemoryStore};
//! use ploy_webhooks::{Clock, Endpoint, EndpointConfig, Ingest, SystemClock, WorkspaceId};
//! use std::sync::Arc;
//! use tower::Service;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Arc::new(MemoryStore::new());
//! let config = EndpointConfig { description: "Clay".into(), ..Default::default() };
//! let (endpoint, key) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
//! let path = format!("/api/v1/webhook/{}", endpoint.slug);
//! let _created = store.create(endpoint).await?;
//!
//! let mut ingest = Ingest::new(store.clone(), store);
//! let request = Request::post(path)
//!     .header("content-type", "application/json")
//!     .header("authorization", format!("Bearer {}", key.expose()))
//!     .body(Full::new(Bytes::from(r#"{"email":"alex@acme.com"}"#)))?;
//! assert_eq!(ingest.call(request).await?.status(), 202);
//! # Ok(()) }
//! ```
//!
//! # The map
//!
//! - [`ingest`]: the pipeline. How to mount it, what it checks, what may be relied on.
//! - [`store`]: the traits of a store, what each promises, and a store in memory.
//! - [`verify`]: signatures: the schemes of senders, as data, and the engine that checks them.
//! - [`limit`]: how often an endpoint may be sent to.
//! - The nouns stand at the root: [`Endpoint`], [`Event`], [`Run`], [`Secret`] and their ids.
//!
//! Durable stores are crates of their own (`ploy-webhooks-sqlite`), and so is the ready-made
//! server (`ploy-webhooks-server`). This crate knows no database, no server and no HTTP client.
//!
//! # Features
//!
//! - `command`: programs as runners, on Unix: the module `trigger::command`.
//! - `conditions`: what must hold of an event, in CEL: the type `Condition`.
//! - `conformance`: the promises of the store traits as tests, for who writes a store: the module
//!   `conformance`.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod ingest;
pub mod limit;
pub mod store;
pub mod trigger;
pub mod verify;

mod answer;
mod auth;
mod clock;
#[cfg(feature = "conditions")]
mod condition;
mod endpoint;
mod event;
mod fields;
mod id;
mod limits;
mod ploybook;
mod pointer;
mod publish;
mod retention;
mod run;
mod seal;
mod secret;
mod subscription;
mod task;
mod value_source;
mod workspace;

pub use answer::{AnswerBody, ParseAnswerBodyError, SuccessAnswer, SuccessStatus};
pub use auth::{Auth, KeyDigest, SecretOwner, SignatureAuth, SignatureAuthError, SigningSecret};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
#[cfg(feature = "conditions")]
pub use condition::{Condition, ConditionError, Facts, Place, Verdict};
pub use endpoint::{
    AllowList, DedupBy, DedupRule, Endpoint, EndpointConfig, EndpointTrigger, ParseSlugError,
    Revision, Slug, Status,
};
pub use event::{
    Dedup, DedupKey, Event, EventSummary, EventType, Fence, KeptHeaders, NewEvent,
    ParseEventTypeError,
};
pub use fields::{
    Absence, Field, FieldMap, FieldMapError, FieldName, Fields, MissingField, ParseFieldNameError,
};
pub use id::{
    CredentialId, DestinationId, EndpointId, EventId, ParseIdError, RunId, SubscriptionId, TokenId,
    WorkspaceId,
};
pub use ingest::Ingest;
pub use limits::{Limits, Quota, QuotaCount, Rate};
pub use ploybook::{
    Gaps, Means, ParsePloybookNameError, Ploybook, PloybookError, PloybookName, RetryPolicy,
};
pub use pointer::{JsonPointer, ParsePointerError};
pub use publish::{Publication, Published, publish};
pub use retention::{Retention, RetentionError};
pub use run::{
    Attempt, AttemptEnd, Lane, Lease, LeasedRun, NewRun, Outcome, ParseWorkerNameError, Run,
    RunState, WorkerName,
};
pub use seal::{Keyring, KeyringError, MasterKey, ParseMasterKeyError, Sealed, UnsealError};
pub use secret::{Secret, SecretDigest};
pub use subscription::{
    ParseTypePatternError, Subscription, SubscriptionError, TypePattern, rewire,
};
pub use task::{Action, Route, Rule, Task, Trigger};
pub use value_source::ValueSource;
pub use workspace::{Workspace, WorkspaceError, WorkspaceLimits};
