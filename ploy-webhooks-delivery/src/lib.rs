#![doc = include_str!("../README.md")]

mod client;
mod excerpt;
mod retry_after;
mod runner;
mod settings;
mod sign;
mod target;
pub mod template;

pub use runner::HttpRunner;
pub use settings::{ClientError, HttpSettings};
pub use sign::{ParseSignerError, Signer, SigningSecret};
pub use target::{Target, TargetError};
