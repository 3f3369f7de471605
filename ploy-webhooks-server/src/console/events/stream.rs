//! Events and runs as they come: what the API streams, for the script of the page.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
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
    let body = until(body, visitor.session.left());
    // A proxy in front is not to wait until there is more of it.
    let headers =
        [(CONTENT_TYPE, "text/event-stream"), (HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((headers, body).into_response())
}

/// The body, which ends after that time whatever is still to come: the browser connects again, and
/// is told that the session is over.
fn until(body: Body, left: Duration) -> Body {
    Body::from_stream(body.into_data_stream().take_until(Box::pin(tokio::time::sleep(left))))
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_stream_ends_with_its_session() {
        let first = stream::iter([Ok::<_, std::io::Error>("event: run\ndata: {}\n\n")]);
        let endless = Body::from_stream(first.chain(stream::pending()));
        let got = until(endless, Duration::from_millis(50)).collect().await.unwrap();
        assert_eq!(got.to_bytes(), "event: run\ndata: {}\n\n");
    }
}
