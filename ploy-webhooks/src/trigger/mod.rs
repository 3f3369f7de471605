//! Triggers: how the runs that events owe are carried out.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use ploy_webhooks::store::MemoryStore;
//! use ploy_webhooks::trigger::{Dispatcher, DispatcherSettings, Job, runner_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Arc::new(MemoryStore::new());
//! let runner = runner_fn(|job: Job| async move { Ok(format!("did {}", job.run)) });
//! let dispatcher = Dispatcher::start(store, runner, DispatcherSettings::new("node-1".parse()?));
//! // … events are accepted, and what they owe is carried out …
//! dispatcher.drain(Duration::from_secs(10)).await;
//! # Ok(()) }
//! ```
//!
//! # What may be relied on
//!
//! - *At least once*: every run that is owed is carried out, until it ends `succeeded` or
//!   `failed`, with every attempt on record. When a worker is lost, its runs are carried out
//!   again when their leases end.
//! - *One at a time*: two attempts of a run are never under way at once, as long as the runner
//!   stops when its future is dropped.
//! - *Nobody waits for a neighbour*: lanes, one for each endpoint and one for each destination,
//!   have a bound of their own, and a runner may [hold one back](Gates).
//! - *A runner harms nothing but its own run*: it may panic, hang, and return as much as it likes.

#[cfg(all(feature = "command", unix))]
pub mod command;

mod attempt;
mod dispatcher;
mod function;
mod gates;
#[cfg(feature = "conditions")]
mod judge;
mod observer;
mod ploybooks;
mod prompt;
mod remembered;
mod replay;
mod route;
mod runner;
mod settings;

pub use attempt::INTERRUPTED;
pub use dispatcher::Dispatcher;
pub use function::{BlockingFn, RunnerFn, blocking_fn, runner_fn};
pub use gates::Gates;
pub use observer::{Ended, Observer};
pub use ploybooks::Ploybooks;
pub use prompt::Prompt;
pub use replay::{Replayed, replay};
pub use runner::{Job, Output, Remedy, RunError, Terms, TriggerRunner};
pub use settings::DispatcherSettings;
