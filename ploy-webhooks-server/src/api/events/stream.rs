//! `GET /events/stream`: what happens as it happens, as Server-Sent Events.
//!
//! A stream is a task that reads a page of the feed, hands it to the connection, and reads on when the
//! connection has taken it: so a client that reads slowly is held by its socket, and costs one page.
//!
//! The id of an event is the place behind the page that it ends. Whoever comes back with it as
//! `Last-Event-ID` is told the page again that was not told to its end, and all after it.

use std::fmt::Write;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName};
use hyper::body::Frame;
use ploy_webhooks::store::{
    Change, Changes, FeedQuery, PageSize, Position, RunChange, StoreError, StoreErrorKind,
};
use ploy_webhooks::{EndpointId, EventId, EventType, RunId, RunState};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::view::SummaryView;
use crate::api::auth::Shown;
use crate::api::caller::TenantApi;
use crate::api::openapi::{Operation, call, nouns};
use crate::api::problem::Problem;
use crate::api::query::Parameters;
use crate::api::streams::OpenStream;
use crate::log::chain;

/// The place that a client has come to.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Tells proxies of the kind of nginx to hand on what comes as it comes.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A stream says at least so often that it is there.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Whether a caller is still let in is asked when there is something to tell, and no more often.
const ADMITTED_FOR: Duration = Duration::from_secs(5);
/// So long it is waited for more that comes at the same time: a busy store is read a few times a
/// second, whatever it stores.
const GATHER: Duration = Duration::from_millis(50);
/// After how long a client that was cut off comes back.
const RETRY_MILLIS: u32 = 1_000;

/// What is told.
#[derive(Debug, Default)]
struct Filter {
    endpoint: Option<EndpointId>,
    event: Option<EventId>,
    event_type: Option<EventType>,
    leaves_runs_out: bool,
}

pub(super) fn operation() -> Operation {
    call("stream_events", "What happens as it happens: events that are accepted, runs that change.")
        .answers_any(
            "text/event-stream",
            "Server-Sent Events: `accepted`, with an event as in lists; `run`, with a run; `gap`, \
             where more has happened than is kept.",
        )
        .query::<nouns::EndpointId>("endpoint", "Only what is of this endpoint.")
        .query::<nouns::EventId>("event", "Only what is of this event.")
        .query::<nouns::EventType>("type", "Only events of this type.")
        .query::<bool>("runs", "Whether runs are told of [default: true].")
        .header::<String>("Last-Event-ID", "Go on after what was told last: its `id`.")
        .details(
            "It begins with what comes now, or after `Last-Event-ID`: then nothing is left out, and \
             something may be told twice.",
        )
}

pub(super) async fn stream(
    api: TenantApi,
    Extension(shown): Extension<Shown>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let filter = Filter::take(parameters)?;
    let place = api
        .api()
        .streams()
        .open()
        .ok_or(Problem::Busy("as many streams of events are open as may be"))?;
    let begin = match last_event_id(&headers)? {
        Some(position) => position,
        None => api.store().end().await?,
    };
    let mut query = FeedQuery::after(*api.workspace(), begin.clone());
    query.limit = PageSize::MAX;
    // Before the answer, so that what is no place is refused.
    let first = api.store().changes(&query).await.map_err(of_position)?;
    let (told, telling) = mpsc::channel(1);
    let teller = Teller { api, shown, filter, query, said: begin, admitted_at: Instant::now() };
    tokio::spawn(teller.run(first, told, place));
    let headers = [(CONTENT_TYPE, "text/event-stream"), (X_ACCEL_BUFFERING, "no")];
    Ok((headers, Body::new(Telling(telling))).into_response())
}

/// What a store says of a position that it has not given is the caller's mistake.
fn of_position(error: StoreError) -> Problem {
    match error.kind() {
        StoreErrorKind::Misuse => not_a_place(),
        _ => error.into(),
    }
}

fn not_a_place() -> Problem {
    Problem::invalid(
        "`Last-Event-ID` is no place in this stream: leave it out, to begin with what comes now",
    )
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<Position>, Problem> {
    let mut values = headers.get_all(LAST_EVENT_ID).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let bytes = URL_SAFE_NO_PAD.decode(value.as_bytes()).map_err(|_| not_a_place())?;
            Ok(Some(Position::from_bytes(bytes)))
        }
        (Some(_), Some(_)) => Err(Problem::invalid("`Last-Event-ID` is given more than once")),
    }
}

impl Filter {
    fn take(mut parameters: Parameters) -> Result<Self, Problem> {
        let filter = Self {
            endpoint: parameters.take("endpoint", str::parse)?,
            event: parameters.take("event", str::parse)?,
            event_type: parameters.take("type", |text| EventType::try_from(text.to_owned()))?,
            leaves_runs_out: parameters
                .take("runs", |text| match text {
                    "true" => Ok(false),
                    "false" => Ok(true),
                    _ => Err("neither `true` nor `false`"),
                })?
                .unwrap_or(false),
        };
        parameters.finish()?;
        Ok(filter)
    }

    fn lets_through(&self, change: &Change) -> bool {
        let (event, endpoint) = match change {
            Change::Accepted(summary) => (summary.id, summary.endpoint),
            Change::Run(run) => (run.event, run.endpoint),
            _ => return false,
        };
        let is_of_kind = match change {
            Change::Accepted(summary) => self
                .event_type
                .as_ref()
                .is_none_or(|wanted| summary.event_type.as_ref() == Some(wanted)),
            _ => !self.leaves_runs_out,
        };
        is_of_kind
            && self.event.is_none_or(|wanted| wanted == event)
            && self.endpoint.is_none_or(|wanted| endpoint == Some(wanted))
    }
}

/// Tells one client what happens.
struct Teller {
    api: TenantApi,
    shown: Shown,
    filter: Filter,
    query: FeedQuery,
    /// The place that the client has heard of.
    said: Position,
    admitted_at: Instant,
}

impl Teller {
    /// Tells until the client or the server goes, or the token opens nothing any more.
    async fn run(mut self, first: Changes, told: mpsc::Sender<Bytes>, mut place: OpenStream) {
        let begin = format!("retry: {RETRY_MILLIS}\nid: {}\n\n", id_of(&self.said));
        let telling = async {
            if told.send(begin.into()).await.is_ok() {
                self.tell(first, &told).await;
            }
        };
        tokio::select! {
            () = place.ended() => {}
            () = told.closed() => {}
            () = telling => {}
        }
    }

    async fn tell(&mut self, first: Changes, told: &mpsc::Sender<Bytes>) {
        let mut page = first;
        loop {
            let text = self.text_of(&page);
            self.query.after = page.next;
            if !text.is_empty() {
                if !self.is_admitted(ADMITTED_FOR).await {
                    return;
                }
                self.said = self.query.after.clone();
                if told.send(text.into()).await.is_err() {
                    return;
                }
            }
            let next = match page.has_more {
                true => self.api.store().changes(&self.query).await,
                false => match self.next_page(told).await {
                    Some(next) => next,
                    None => return,
                },
            };
            page = match next {
                Ok(page) => page,
                Err(error) => {
                    // The client comes back, and is told the rest by whoever can.
                    tracing::warn!(error = chain(&error), "a stream of events ends early");
                    return;
                }
            };
        }
    }

    /// Waits for something to tell, with a word now and then; `None` when there is nobody to tell it.
    async fn next_page(
        &mut self,
        told: &mpsc::Sender<Bytes>,
    ) -> Option<Result<Changes, StoreError>> {
        loop {
            let waited_from = Instant::now();
            if let Err(error) = self.api.store().changed(&self.query.after, HEARTBEAT).await {
                return Some(Err(error));
            }
            if waited_from.elapsed() >= HEARTBEAT {
                if !self.is_admitted(Duration::ZERO).await {
                    return None;
                }
                told.send(self.heartbeat().into()).await.ok()?;
                continue;
            }
            tokio::time::sleep(GATHER).await;
            return Some(self.api.store().changes(&self.query).await);
        }
    }

    /// A comment; or, where others were told of something meanwhile, the place behind that. A client
    /// that comes back after a quiet day does not begin with what is forgotten.
    fn heartbeat(&mut self) -> String {
        if self.said == self.query.after {
            return ":\n\n".to_owned();
        }
        self.said = self.query.after.clone();
        format!("id: {}\n\n", id_of(&self.said))
    }

    /// What the page holds for this client, its place with the last of it.
    fn text_of(&self, page: &Changes) -> String {
        let told: Vec<_> =
            page.items.iter().filter(|change| self.filter.lets_through(change)).collect();
        let mut text = String::new();
        if page.has_gap {
            text.push_str("event: gap\ndata: {}\n");
            if told.is_empty() {
                push_id(&mut text, &page.next);
            }
            text.push('\n');
        }
        for (number, change) in told.iter().enumerate() {
            self.push(&mut text, change);
            if number + 1 == told.len() {
                push_id(&mut text, &page.next);
            }
            text.push('\n');
        }
        text
    }

    fn push(&self, text: &mut String, change: &Change) {
        let (name, data) = match change {
            Change::Accepted(summary) => {
                ("accepted", json(&SummaryView::of(summary.clone(), self.query.workspace)))
            }
            Change::Run(change) => ("run", json(&RunChangeView::of(change))),
            _ => return,
        };
        // JSON as it is written here has no line breaks.
        write!(text, "event: {name}\ndata: {data}\n").expect("a string takes everything");
    }

    /// Whether the token still opens the workspace, as far as was asked not longer ago than that.
    async fn is_admitted(&mut self, asked_within: Duration) -> bool {
        if self.admitted_at.elapsed() < asked_within {
            return true;
        }
        match self.shown.identify(self.api.api()).await {
            Ok(caller) if caller.workspace == self.query.workspace => {
                self.admitted_at = Instant::now();
                true
            }
            // Nobody knows; it is asked again.
            Err(Problem::Unavailable(_)) => true,
            Ok(_) | Err(_) => false,
        }
    }
}

fn push_id(text: &mut String, position: &Position) {
    writeln!(text, "id: {}", id_of(position)).expect("a string takes everything");
}

fn id_of(position: &Position) -> String {
    URL_SAFE_NO_PAD.encode(position.as_bytes())
}

fn json(view: &impl Serialize) -> String {
    serde_json::to_string(view).expect("plain fields have a JSON form")
}

/// What has become of a run, as callers see it.
#[derive(Debug, Serialize)]
struct RunChangeView {
    id: RunId,
    event_id: EventId,
    endpoint_id: Option<EndpointId>,
    state: RunState,
    attempt: u32,
}

impl RunChangeView {
    const fn of(change: &RunChange) -> Self {
        let RunChange { run, event, endpoint, state, attempt } = *change;
        Self { id: run, event_id: event, endpoint_id: endpoint, state, attempt }
    }
}

/// The body of the answer: what the teller says, one piece at a time.
struct Telling(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Telling {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
