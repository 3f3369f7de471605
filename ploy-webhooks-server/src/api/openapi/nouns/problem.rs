//! An answer that is no success.

use schemars::JsonSchema;

use super::text::{one_of, schemas};

/// An answer that is no success (RFC 9457).
#[derive(JsonSchema)]
pub(in crate::api) struct Problem {
    /// The status in words.
    title: String,
    #[schemars(range(min = 400, max = 599))]
    status: u16,
    /// What is wrong and what to do, for people.
    detail: String,
    code: ProblemCode,
}

schemas! {
    ProblemCode = one_of(crate::api::problem::CODES.into_iter().chain(CODES_OF_THE_INTAKE));
}

/// What the intake refuses with alone, as [`ploy_webhooks::ingest::Refusal::code`] has it.
const CODES_OF_THE_INTAKE: [&str; 9] = [
    "address_not_allowed",
    "deduplication_key_missing",
    "endpoint_not_found",
    "endpoint_paused",
    "invalid_signature",
    "not_an_object",
    "quota_exceeded",
    "rate_limited",
    "stale_timestamp",
];
