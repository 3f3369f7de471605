//! What the project measures itself by. How to run each, and what its numbers mean, stands in
//! `BENCHMARKING.md`.
//!
//! - [`http`]: servers over loopback, each beside a bare handler in the same run. Made of
//!   [`load`] (who sends), [`server`] (who is sent to), [`cpu`] (cores and what they cost) and
//!   [`report`] (what came of it).
//! - [`auth`]: what proving a sender costs, and whether its time tells anything.
//! - [`pipeline`]: the intake in process, beside the parts that it cannot do without.
//! - [`engines`]: stores on servers of databases, in process, each beside what is written by hand.
//! - [`deliveries`]: how fast events are delivered, beside a plain loop of the HTTP client.
//! - [`dedup`]: what deduplication costs beside many keys that are remembered.
//! - [`runs`]: how runs are carried out on each store, and what an event that owes one costs.
//! - [`search`]: looking for a rare text among many events, at rest and during ingest.
//! - [`payload`]: the bodies that all of them send; [`folder`]: where their stores lie.

pub mod auth;
pub mod cpu;
pub mod dedup;
pub mod deliveries;
pub mod engines;
pub mod folder;
pub mod http;
pub mod load;
pub mod payload;
pub mod pipeline;
pub mod report;
pub mod runs;
pub mod search;
pub mod server;
