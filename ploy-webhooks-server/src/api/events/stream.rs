//! `GET /events/stream`: what happens as it happens, as Server-Sent Events.
//!
//! A stream is a task that reads a page of the feed, hands it to the connection, and reads on when the
//! connection has taken it: so a client that reads slowly is held by its socket, and costs one page.
//!
//! The id of an event is the place behind the page that it ends. Whoever comes back with it as
//! `Last-Event-ID` is told the page again that was not told to its end, and all after it.

use std::fmt::Write;
use std::time::Duration;

use axum::Extension;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName};
use ploy_webhooks::store::{
    Change, Changes, FeedQuery, PageSize, Position, RunChange, StoreError, StoreErrorKind,
};
use ploy_webhooks::{EndpointId, EventId, EventType, RunId, RunState};
use serde::Serialize;
use tokio::time::Instant;

use super::view::SummaryView;
use crate::api::admission::Admission;
use crate::api::auth::Shown;
use crate::api::caller::TenantApi;
use crate::api::openapi::{Operation, call, nouns};
use crate::api::pieces::{NobodyThere, Pieces, body_in_pieces};
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
        .query::<nouns::EventType>("type", "Only events of this type, and no runs.")
        .query::<bool>("runs", "Whether runs are told of where no `type` is given [default: true].")
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
        .open(*api.workspace())
        .ok_or(Problem::Full("as many streams of events are open as may be"))?;
    let begin = match last_event_id(&headers)? {
        Some(position) => position,
        None => api.store().end().await?,
    };
    let mut query = FeedQuery::after(*api.workspace(), begin.clone());
    query.limit = PageSize::MAX;
    // Before the answer, so that what is no place is refused.
    let first = api.store().changes(&query).await.map_err(of_position)?;
    let (told, body) = body_in_pieces();
    let admission = Admission::of(&api, shown);
    let teller = Teller { api, admission, filter, query, said: begin, last_word: Instant::now() };
    tokio::spawn(teller.run(first, told, place));
    let headers = [(CONTENT_TYPE, "text/event-stream"), (X_ACCEL_BUFFERING, "no")];
    Ok((headers, body).into_response())
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
        let mut filter = Self {
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
        // A run has no type: who asks for one type asks for events.
        filter.leaves_runs_out |= filter.event_type.is_some();
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
    admission: Admission,
    filter: Filter,
    query: FeedQuery,
    /// The place that the client has heard of.
    said: Position,
    /// When it was given something last.
    last_word: Instant,
}

impl Teller {
    /// Tells until the client or the server goes, or the token opens nothing any more.
    async fn run(mut self, first: Changes, told: Pieces, mut place: OpenStream) {
        let begin = format!("retry: {RETRY_MILLIS}\nid: {}\n\n", id_of(&self.said));
        let telling = async {
            if self.say(begin, &told).await.is_ok() {
                self.tell(first, &told).await;
            }
        };
        tokio::select! {
            () = place.ended() => {}
            () = told.client_goes() => {}
            () = telling => {}
        }
    }

    async fn tell(&mut self, first: Changes, told: &Pieces) {
        let mut page = first;
        loop {
            if self.tell_page(&page, told).await.is_err() {
                return;
            }
            page = match self.next_page(&page, told).await {
                Ok(Ok(page)) => page,
                Ok(Err(error)) => {
                    // The client comes back, and is told the rest by whoever can.
                    tracing::warn!(error = chain(&error), "a stream of events ends early");
                    return;
                }
                Err(NobodyThere) => return,
            };
        }
    }

    /// Tells what there is for this client in the page, if anything.
    async fn tell_page(&mut self, page: &Changes, told: &Pieces) -> Result<(), NobodyThere> {
        let text = self.text_of(page);
        self.query.after = page.next.clone();
        if text.is_empty() {
            return Ok(());
        }
        if !self.admission.holds(ADMITTED_FOR).await {
            return Err(NobodyThere);
        }
        self.said = self.query.after.clone();
        self.say(text, told).await
    }

    /// The page that comes next, once there is something on it, for this client or for others; and a
    /// word now and then, however much there is for others.
    async fn next_page(
        &mut self,
        page: &Changes,
        told: &Pieces,
    ) -> Result<Result<Changes, StoreError>, NobodyThere> {
        if !page.has_more {
            loop {
                let silent_for = HEARTBEAT.saturating_sub(self.last_word.elapsed());
                if let Err(error) = self.api.store().changed(&self.query.after, silent_for).await {
                    return Ok(Err(error));
                }
                if !self.is_word_due() {
                    break;
                }
                self.give_a_word(told).await?;
            }
        } else if self.is_word_due() {
            self.give_a_word(told).await?;
        }
        if !page.has_more || page.items.is_empty() {
            tokio::time::sleep(GATHER).await;
        }
        Ok(self.api.store().changes(&self.query).await)
    }

    fn is_word_due(&self) -> bool {
        self.last_word.elapsed() >= HEARTBEAT
    }

    async fn give_a_word(&mut self, told: &Pieces) -> Result<(), NobodyThere> {
        if !self.admission.holds(Duration::ZERO).await {
            return Err(NobodyThere);
        }
        let word = self.heartbeat();
        self.say(word, told).await
    }

    async fn say(&mut self, text: String, told: &Pieces) -> Result<(), NobodyThere> {
        told.give(text.into()).await?;
        self.last_word = Instant::now();
        Ok(())
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
