//! The endpoint is active.

use crate::endpoint::{Endpoint, Status};
use crate::ingest::Refusal;

pub(in crate::ingest) fn check(endpoint: &Endpoint) -> Result<(), Refusal> {
    match endpoint.config.status {
        Status::Active => Ok(()),
        Status::Paused => Err(Refusal::EndpointPaused),
    }
}
