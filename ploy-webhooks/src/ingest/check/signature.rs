//! The sender's signature is by a secret that is valid here, over what it sends, and recent.

use http::HeaderMap;

use crate::clock::Timestamp;
use crate::ingest::Refusal;
use crate::verify::{Presented, Proven, SignatureFault, Signed, Verifier};

/// What the headers say, if that can be right.
pub(in crate::ingest) fn present<'headers>(
    verifier: &Verifier,
    headers: &'headers HeaderMap,
    now: Timestamp,
) -> Result<Presented<'headers>, Refusal> {
    verifier.present(headers, now).map_err(|fault| refusal(verifier, fault))
}

/// Whether it is.
pub(in crate::ingest) fn verify(
    verifier: &Verifier,
    presented: &Presented<'_>,
    signed: &Signed<'_>,
    now: Timestamp,
) -> Result<Proven, Refusal> {
    verifier.verify(presented, signed, now).map_err(|fault| refusal(verifier, fault))
}

fn refusal(verifier: &Verifier, fault: SignatureFault) -> Refusal {
    match fault {
        SignatureFault::Stale => Refusal::StaleTimestamp { tolerance: verifier.tolerance() },
        fault => {
            let header = verifier.scheme().description().header.clone();
            Refusal::InvalidSignature { fault, header }
        }
    }
}
