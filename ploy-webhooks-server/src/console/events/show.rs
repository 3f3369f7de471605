//! An event by itself: what came, as it came, and what became of it.

use askama::Template;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};

use super::view::Event;
use crate::api_client::{ApiError, Call};
use crate::console::endpoints::faulty;
use crate::console::endpoints::proof::Proof;
use crate::console::endpoints::view::Endpoint;
use crate::console::fault::Fault;
use crate::console::form::{Fields, Posted};
use crate::console::page::{self, Frame, Section, html, notice};
use crate::console::payload::{Part, laid_out, verbatim};
use crate::console::refusal::Refusal;
use crate::console::shell_word::{printed, quoted};
use crate::console::visitor::Visitor;

/// The longest payload that a command to be pasted holds: shells take no longer lines for sure.
const PASTED_BYTES_MAX: usize = 16 << 10;

#[derive(Template)]
#[template(path = "event.html")]
struct ShowPage {
    frame: Frame,
    notice: Option<&'static str>,
    fault: Fault,
    event: Event,
    endpoint: Option<Endpoint>,
    payload: Part,
    is_raw: bool,
    command: Option<String>,
}

pub(super) async fn show(
    visitor: Visitor,
    Path(id): Path<String>,
    query: Fields,
) -> Result<Response, Refusal> {
    answer(&visitor, &id, &query, Fault::default()).await
}

async fn answer(
    visitor: &Visitor,
    id: &str,
    query: &Fields,
    fault: Fault,
) -> Result<Response, Refusal> {
    let api = visitor.api();
    let (event, payload) = tokio::join!(
        api.read::<Event>(Call::get(&["events", id])),
        api.bytes(Call::get(&["events", id, "payload"])),
    );
    let (event, payload) = (event?, payload?);
    let endpoint = match &event.summary.endpoint_id {
        Some(id) => api.read::<Endpoint>(Call::get(&["endpoints", id.raw()])).await.ok(),
        None => None,
    };
    let text = String::from_utf8_lossy(&payload);
    let is_raw = query.get("view") == "raw";
    let page = ShowPage {
        frame: visitor.frame(Section::Events),
        notice: notice(query),
        fault,
        command: endpoint.as_ref().and_then(|endpoint| command(endpoint, &event, &text)),
        payload: if is_raw { verbatim(&text) } else { laid_out(&text) },
        is_raw,
        event,
        endpoint,
    };
    Ok(html(page.fault.status(), &page))
}

/// A command that sends the same again, but for what proves who sends: that is nowhere any more.
/// There is none where nobody but the sender can prove it.
fn command(endpoint: &Endpoint, event: &Event, payload: &str) -> Option<String> {
    let proof = match Proof::of(endpoint)? {
        Proof::Key => "Authorization: Bearer <key>".to_owned(),
        Proof::Token(header) => format!("{header}: <secret>"),
        Proof::Signature => return Some(signed(endpoint, event, payload)),
    };
    let url = quoted(endpoint.url.raw());
    let is_pasted = payload.len() <= PASTED_BYTES_MAX;
    let file = saved(event);
    let kept = event.headers.iter().map(|(name, value)| format!("{name}: {}", value.raw()));
    let headers: String = [proof, "Content-Type: application/json".to_owned()]
        .into_iter()
        .chain(kept)
        .filter(|header| !header.contains(crate::console::text::is_control))
        .map(|header| format!(" \\\n  -H {}", quoted(&header)))
        .collect();
    let has_signs = payload.contains(crate::console::text::is_control);
    Some(match (is_pasted, has_signs) {
        (true, false) => {
            format!("curl -X POST {url}{headers} \\\n  --data-binary {}", quoted(payload))
        }
        // What cannot be seen is written so that it can.
        (true, true) => {
            let printed = printed(payload);
            format!("{printed} | \\\n  curl -X POST {url}{headers} \\\n  --data-binary @-")
        }
        (false, _) => format!("curl -X POST {url}{headers} \\\n  --data-binary @{file}"),
    })
}

/// A command that signs the same again.
fn signed(endpoint: &Endpoint, event: &Event, payload: &str) -> String {
    let (url, scheme) = (quoted(endpoint.url.raw()), quoted(endpoint.auth.scheme.raw()));
    let send = format!("ploy-webhooks send --url {url} --scheme {scheme}");
    // A line is an event there.
    match payload.len() <= PASTED_BYTES_MAX && !payload.contains('\n') {
        true => format!("{} | PLOY_SECRET='<secret>' \\\n  {send}", printed(payload)),
        false => {
            let file = saved(event);
            format!("tr -d '\\n' < {file} | PLOY_SECRET='<secret>' \\\n  {send}")
        }
    }
}

/// The name that a browser saves the payload by.
fn saved(event: &Event) -> String {
    quoted(&format!("{}.json", event.summary.id.raw()))
}

/// The bytes that came, as text: a browser is to make nothing more of them.
pub(super) async fn payload(
    visitor: Visitor,
    Path(id): Path<String>,
    query: Fields,
) -> Result<Response, Refusal> {
    let payload: Bytes = visitor.api().bytes(Call::get(&["events", &id, "payload"])).await?;
    let mut response = payload.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if query.has("download")
        && let Ok(value) = format!("attachment; filename=\"{id}.json\"").parse()
    {
        headers.insert(HeaderName::from_static("content-disposition"), value);
    }
    Ok(response)
}

pub(super) async fn replay(Path(id): Path<String>, posted: Posted) -> Result<Response, Refusal> {
    let visitor = posted.visitor;
    match visitor.api().done(Call::post(&["events", &id, "replay"])).await {
        Ok(()) => Ok(page::done(&["events", &id], "replayed")),
        Err(error @ ApiError::Refused { .. }) => {
            answer(&visitor, &id, &Fields::default(), faulty(error)?).await
        }
        Err(error) => Err(error.into()),
    }
}
