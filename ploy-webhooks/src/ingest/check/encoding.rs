//! The body is not compressed: it is kept as it comes, and a bomb is not unpacked.

use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use crate::ingest::Refusal;

pub(in crate::ingest) fn check(headers: &HeaderMap) -> Result<(), Refusal> {
    let is_identity =
        |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().all(is_identity) {
        Ok(())
    } else {
        Err(Refusal::UnsupportedEncoding)
    }
}
