//! The checks of the pipeline, one a file, each named for what it looks at.
//!
//! A check is a function of what it checks and nothing else; the order is the service's.

pub(super) mod address;
pub(super) mod body;
pub(super) mod credential;
pub(super) mod encoding;
pub(super) mod json;
pub(super) mod length;
pub(super) mod media_type;
pub(super) mod method;
pub(super) mod rate;
pub(super) mod signature;
pub(super) mod status;
