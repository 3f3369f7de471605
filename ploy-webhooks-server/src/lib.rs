#![doc = include_str!("../README.md")]

pub mod api;
pub mod store;

mod cli;
mod config;
mod log;
mod metrics;
mod serve;
mod url;

pub use cli::run;
