//! `GET /events/export`: all that a search finds, with payloads, as one stream of lines.
//!
//! What is held at a time is a page of summaries, and a few events of it; the next ones are read when
//! who receives has taken those.

use std::borrow::Cow;
use std::time::Duration;
use std::vec::IntoIter;

use axum::Extension;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::future::try_join_all;
use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use ploy_webhooks::EventSummary;
use ploy_webhooks::store::{EventQuery, StoreError};
use schemars::JsonSchema;
use serde::Serialize;

use super::search::{self, take_export_query};
use super::view::LineView;
use crate::api::admission::Admission;
use crate::api::auth::Shown;
use crate::api::caller::TenantApi;
use crate::api::openapi::{Operation, call, nouns};
use crate::api::pieces::{NobodyThere, Pieces, body_in_pieces};
use crate::api::places::Place;
use crate::api::problem::Problem;
use crate::api::query::Parameters;
use crate::log::chain;

/// How many events are read at once, and how many bytes of payload, where it is more than one event.
const EVENTS_AT_ONCE: usize = 32;
const BYTES_AT_ONCE: u64 = 1 << 20;

/// Whether the caller is still let in is asked no more often.
const ADMITTED_FOR: Duration = Duration::from_secs(5);

const ABOUT: &str = "A line an event, the oldest first where nothing else is said; then one that says \
    how many there were, without which it is not complete. An empty line says that it is still searched. \
    A payload stands on its line as it was sent, but that a line break between its parts is a space. To \
    go on where a connection broke, ask again with the `id` of the last line in `after`. What is being \
    accepted meanwhile may be missing: an export is complete that has a `to` which is some seconds past; \
    what comes after that, the stream tells.";

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

pub(super) async fn export(
    api: TenantApi,
    Extension(shown): Extension<Shown>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let query = take_export_query(parameters, *api.workspace())?;
    let room = api.room_for_an_export();
    let room = room.ok_or(Problem::Full("too many exports are under way"))?;
    let admission = Admission::of(&api, shown);
    let export =
        Export { api, admission, query: Some(query), found: Vec::new().into_iter(), events: 0 };
    let (lines, body) = body_in_pieces();
    tokio::spawn(export.run(lines, room));
    let headers = [(CONTENT_TYPE, "application/x-ndjson"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    Ok((headers, body).into_response())
}

/// An export on its way.
struct Export {
    api: TenantApi,
    admission: Admission,
    /// The page that comes next; `None` after the last.
    query: Option<EventQuery>,
    /// What was found and is not read yet.
    found: IntoIter<EventSummary>,
    events: u64,
}

/// Why an export is not complete.
enum Broken {
    /// The client has gone.
    Left,
    /// Its token opens nothing any more.
    Locked,
    Store(StoreError),
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<NobodyThere> for Broken {
    fn from(NobodyThere: NobodyThere) -> Self {
        Self::Left
    }
}

impl Export {
    /// Gives all lines, and keeps its room until then. Where it cannot, the answer breaks off: who
    /// receives knows that it is not complete, and where to go on.
    async fn run(mut self, lines: Pieces, room: Place) {
        let given = tokio::select! {
            given = self.give_all(&lines) => given,
            () = lines.client_goes() => Err(Broken::Left),
        };
        drop(room);
        match given {
            Ok(()) | Err(Broken::Left) => {}
            Err(Broken::Locked) => lines.break_off().await,
            Err(Broken::Store(error)) => {
                tracing::error!(error = chain(&error), "an export broke off");
                lines.break_off().await;
            }
        }
    }

    async fn give_all(&mut self, lines: &Pieces) -> Result<(), Broken> {
        while let Some(some) = self.lines().await? {
            lines.give(some).await?;
        }
        let end = line_of(&End { end: true, events: self.events });
        Ok(lines.give(end.into()).await?)
    }

    /// `None` at the end.
    async fn lines(&mut self) -> Result<Option<Bytes>, Broken> {
        if !self.admission.holds(ADMITTED_FOR).await {
            return Err(Broken::Locked);
        }
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
