//! The method is POST: not HEAD, not OPTIONS either, for there is nothing else to ask for here.

use http::Method;

use crate::ingest::Refusal;

pub(in crate::ingest) fn check(method: &Method) -> Result<(), Refusal> {
    if method == Method::POST { Ok(()) } else { Err(Refusal::MethodNotAllowed) }
}
