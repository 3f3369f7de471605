#![doc = include_str!("../README.md")]

mod address;
mod client;
mod courier;
mod deliveries;
mod destination;
mod excerpt;
mod retry_after;
mod runner;
mod settings;
mod sign;
mod target;
pub mod template;

pub use address::{AddressKind, AddressPolicy, AddressRefused, Lookup, SystemLookup};
pub use client::FailureClass;
pub use runner::HttpRunner;
pub use settings::{ClientError, HttpSettings};
pub use sign::{ParseSignerError, Signer, SigningSecret};
pub use target::{Target, TargetError};

pub use courier::{Courier, Record, RequestRecord, ResponseRecord, Sample, TimingsRecord};
pub use deliveries::Deliveries;
pub use destination::{
    Body, Confirmation, Destination, DestinationError, DestinationForm, DestinationState, Disabled,
    HeaderForm, HeaderText, Retry, SecretForm, Signing, SigningForm, Status, Verb, Verified,
};
