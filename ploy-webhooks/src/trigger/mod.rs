//! Triggers: what carries out the runs that events owe.

mod runner;

pub use runner::{Job, Output, Remedy, RunError, Terms, TriggerRunner};
