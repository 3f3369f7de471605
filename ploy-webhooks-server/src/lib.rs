#![doc = include_str!("../README.md")]

pub mod api;
pub mod console;
pub mod store;

mod api_client;
mod cli;
mod config;
mod log;
mod mcp;
mod metrics;
mod serve;
mod url;

pub use cli::run;
