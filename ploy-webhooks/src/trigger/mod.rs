//! Triggers: what carries out the runs that events owe.

mod prompt;
mod runner;

pub use prompt::Prompt;
pub use runner::{Job, Output, Remedy, RunError, Terms, TriggerRunner};
