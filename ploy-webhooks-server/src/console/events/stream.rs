//! Events and runs as they come: what the API streams, for the script of the page.

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName};

use crate::api_client::Call;
use crate::console::refusal::Refusal;
use crate::console::visitor::Visitor;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Goes on after the last event that the browser has had, where it says so.
pub(super) async fn stream(visitor: Visitor, headers: HeaderMap) -> Result<Response, Refusal> {
    let last = headers.get(LAST_EVENT_ID).cloned();
    let body = visitor.api().stream(Call::get(&["events", "stream"]), last).await?;
    // A proxy in front is not to wait until there is more of it.
    let headers =
        [(CONTENT_TYPE, "text/event-stream"), (HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((headers, body).into_response())
}
