//! `GET /events/export`: all that a search finds, with payloads, as one stream of lines.
//!
//! What is held at a time is a page of summaries, and a few events of it; the next ones are read when
//! who receives has taken those.

use std::borrow::Cow;
use std::vec::IntoIter;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::stream::try_unfold;
use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use ploy_webhooks::EventSummary;
use ploy_webhooks::store::{EventQuery, StoreError};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use super::search::{self, take_export_query};
use super::view::LineView;
use crate::api::caller::TenantApi;
use crate::api::openapi::{Operation, call, nouns};
use crate::api::problem::Problem;
use crate::api::query::Parameters;
use crate::log::chain;

/// How many events are read at once, and how many bytes of payload, where it is more than one event.
const EVENTS_AT_ONCE: usize = 32;
const BYTES_AT_ONCE: u64 = 1 << 20;

const ABOUT: &str = "A line an event, the oldest first where nothing else is said; then one that says \
    how many there were, without which it is not complete. An empty line says that it is still searched. \
    A payload stands on its line as it was sent, but that a line break between its parts is a space. To \
    go on where a connection broke, ask again with the `id` of the last line in `after`.";

pub(super) fn operation() -> Operation {
    search::describe(
        call("export_events", "All events that a search finds, with payloads, line by line.")
            .answers_lines::<LineOrEnd>(),
    )
    .query::<nouns::EventId>("after", "Go on after this event, under the same conditions.")
    .details(ABOUT)
}

/// A line of an export.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "ExportLine")]
#[expect(dead_code, reason = "a schema is made of it, and nothing else")]
enum LineOrEnd {
    Event(LineView<'static>),
    End(End),
}

/// The last line of an export.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ExportEnd")]
struct End {
    #[schemars(extend("const" = true))]
    end: bool,
    /// How many lines there were.
    events: u64,
}

pub(super) async fn export(api: TenantApi, parameters: Parameters) -> Result<Response, Problem> {
    let query = take_export_query(parameters, *api.workspace())?;
    let room = api.room_for_an_export();
    let room = room.ok_or(Problem::Busy("too many exports are under way"))?;
    let export = Export { api, query: Some(query), found: Vec::new().into_iter(), events: 0, room };
    let lines = try_unfold(Some(export), |export| async {
        match export {
            Some(export) => export.go_on().await,
            None => Ok(None),
        }
    });
    let headers = [(CONTENT_TYPE, "application/x-ndjson"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    Ok((headers, Body::from_stream(lines)).into_response())
}

/// An export on its way.
struct Export {
    api: TenantApi,
    /// The page that comes next; `None` after the last.
    query: Option<EventQuery>,
    /// What was found and is not read yet.
    found: IntoIter<EventSummary>,
    events: u64,
    #[expect(dead_code, reason = "it is held")]
    room: OwnedSemaphorePermit,
}

impl Export {
    /// Some lines more, and what is left. Where the store fails, the answer breaks off: who receives
    /// knows that it is not complete, and where to go on.
    async fn go_on(mut self) -> Result<Option<(Bytes, Option<Self>)>, StoreError> {
        let lines = self.lines().await.inspect_err(|error| {
            tracing::error!(error = chain(error), "an export broke off");
        })?;
        Ok(Some(match lines {
            Some(lines) => (lines, Some(self)),
            None => (line_of(&End { end: true, events: self.events }).into(), None),
        }))
    }

    /// `None` at the end.
    async fn lines(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.found.as_slice().is_empty() {
            let Some(query) = self.query.take() else { return Ok(None) };
            let page = self.api.store().search(&query).await?;
            (self.found, self.query) = (page.items.into_iter(), page.next);
            if self.found.as_slice().is_empty() {
                return Ok(Some(Bytes::from_static(b"\n")));
            }
        }
        let (store, workspace) = (self.api.store(), self.api.workspace());
        let wanted: Vec<_> = some_of(&mut self.found).collect();
        let reading = wanted.iter().map(|summary| store.event(workspace, &summary.id));
        let mut lines = Vec::new();
        // One that was deleted meanwhile is missing.
        for event in try_join_all(reading).await?.into_iter().flatten() {
            lines.extend(line_of(&LineView::of(&event, &in_one_line(&event.payload))));
            self.events += 1;
        }
        Ok(Some(lines.into()))
    }
}

/// So many of them as may be held: one at least.
fn some_of(found: &mut IntoIter<EventSummary>) -> impl Iterator<Item = EventSummary> {
    let mut bytes = 0;
    let count = found.as_slice().iter().take(EVENTS_AT_ONCE).take_while(|summary| {
        let has_room = bytes < BYTES_AT_ONCE;
        bytes += summary.size;
        has_room
    });
    let count = count.count();
    found.by_ref().take(count)
}

fn line_of(view: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(view).expect("lines have string keys only");
    line.push(b'\n');
    line
}

/// JSON has line breaks between its parts alone (RFC 8259 §7), where a space says the same.
fn in_one_line(payload: &[u8]) -> Cow<'_, [u8]> {
    let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
    match payload.iter().any(is_break) {
        false => payload.into(),
        true => payload.iter().map(|byte| if is_break(byte) { b' ' } else { *byte }).collect(),
    }
}
