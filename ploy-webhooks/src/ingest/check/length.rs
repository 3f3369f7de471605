//! The declared length is within the limit: refused before a byte of the body is read.

use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::SizeHint;

use crate::ingest::Refusal;

/// The server has checked the header's form already; a body that is larger than it says is
/// found when it is read.
pub(in crate::ingest) fn check(
    headers: &HeaderMap,
    body: &SizeHint,
    limit: u64,
) -> Result<(), Refusal> {
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
        .unwrap_or(0);
    if declared.max(body.lower()) > limit {
        return Err(Refusal::PayloadTooLarge { limit });
    }
    Ok(())
}
