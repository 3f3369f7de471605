//! The declared length is within the limit: refused before a byte of the body is read.

use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::SizeHint;

use crate::ingest::Refusal;

/// A server tells the length by the body, and has checked the header that says it. Where a layer
/// in between hides that, the header still tells. A body that is larger than it says is found
/// when it is read.
pub(in crate::ingest) fn check(
    headers: &HeaderMap,
    body: &SizeHint,
    limit: u64,
) -> Result<(), Refusal> {
    let declared =
        body.exact().or_else(|| headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok());
    if declared.unwrap_or(0).max(body.lower()) > limit {
        return Err(Refusal::PayloadTooLarge { limit });
    }
    Ok(())
}
