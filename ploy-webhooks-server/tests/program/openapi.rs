//! The description of the API: as it is checked in, and true.

pub(crate) mod contract;
mod document;
mod requests;
mod truth;
