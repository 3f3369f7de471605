//! The sender's address is on the endpoint's list, if it has one.

use std::net::IpAddr;

use crate::endpoint::Endpoint;
use crate::ingest::Refusal;

/// Where the address is not known, nobody is on the list.
pub(in crate::ingest) fn check(endpoint: &Endpoint, source: Option<IpAddr>) -> Result<(), Refusal> {
    match &endpoint.config.allow {
        Some(list) if !source.is_some_and(|address| list.contains(address)) => {
            Err(Refusal::AddressNotAllowed)
        }
        _ => Ok(()),
    }
}
