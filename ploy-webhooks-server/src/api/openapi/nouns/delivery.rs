//! What is kept of an attempt to deliver.

use schemars::JsonSchema;

use super::text::{Texts, one_of, schemas};

/// What is kept of an attempt to deliver.
#[derive(JsonSchema)]
#[schemars(rename = "DeliveryRecord")]
pub(in crate::api) struct Record {
    /// What went wrong, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<FailureClass>,
    /// Whether nothing was tried, since it could not be at that time.
    #[serde(skip_serializing_if = "may_be_left_out")]
    held: bool,
    /// Whether the attempt does not count among those that its policy allows.
    #[serde(skip_serializing_if = "may_be_left_out")]
    uncounted: bool,
    /// Whether nothing was sent, since it is a draft.
    #[serde(skip_serializing_if = "may_be_left_out")]
    draft: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Request>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Response>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<Timings>,
}

/// What was sent, or would have been.
#[derive(JsonSchema)]
#[schemars(rename = "DeliveryRequest")]
struct Request {
    method: String,
    url: String,
    #[serde(skip_serializing_if = "may_be_left_out")]
    headers: Texts,
    body_bytes: u64,
    /// Its beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

/// What was answered.
#[derive(JsonSchema)]
#[schemars(rename = "DeliveryResponse")]
struct Response {
    status: u16,
    #[serde(skip_serializing_if = "may_be_left_out")]
    headers: Texts,
    /// Its beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// Whether there was more of it.
    #[serde(skip_serializing_if = "may_be_left_out")]
    body_is_cut: bool,
    /// The address that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
}

/// How long it took, in milliseconds.
#[derive(JsonSchema)]
#[schemars(rename = "DeliveryTimings")]
struct Timings {
    #[serde(skip_serializing_if = "Option::is_none")]
    dns_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_byte_ms: Option<f64>,
    total_ms: f64,
}

schemas! {
    FailureClass = one_of([
        "address-refused", "dns", "connect", "tls", "timeout", "broken-answer", "unusable", "status",
        "template", "exhausted", "destination",
    ]);
}
