//! Runs: listed, shown with their attempts, tried again, called off.

use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Console;
use super::endpoints::faulty;
use super::fault::Fault;
use super::form::{Fields, Posted};
use super::page::{self, Frame, Listing, Pages, Section, html, notice, ok};
use super::payload;
use super::refusal::Refusal;
use super::text::{State, Text};
use super::time::Moment;
use super::visitor::Visitor;
use crate::api_client::Call;

/// The states that a run may be in.
const STATES: [&str; 6] = ["queued", "running", "retrying", "succeeded", "failed", "cancelled"];

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/runs", get(list))
        .route("/runs/{id}", get(show))
        .route("/runs/{id}/retry", post(retry))
        .route("/runs/{id}/cancel", post(cancel))
}

/// A run, as the API answers it.
#[derive(Debug, Deserialize)]
pub(super) struct Run {
    pub(super) id: Text,
    pub(super) event_id: Text,
    pub(super) state: State,
    pub(super) trigger: Trigger,
    pub(super) created_at: Moment,
    pub(super) attempts: Vec<Attempt>,
}

/// What it carries out.
#[derive(Debug, Deserialize)]
pub(super) struct Trigger {
    #[serde(default)]
    pub(super) ploybook: Option<Text>,
    #[serde(default)]
    pub(super) destination: Option<Text>,
    #[serde(default)]
    pub(super) subscription: Option<Text>,
    #[serde(default)]
    pub(super) draft: bool,
    #[serde(default)]
    pub(super) group: Option<Text>,
    #[serde(default)]
    pub(super) rules: Option<Vec<Rule>>,
}

/// A rule of a route that is tried.
#[derive(Debug, Deserialize)]
pub(super) struct Rule {
    pub(super) subscription: Text,
    #[serde(default)]
    pub(super) condition: Option<Text>,
}

/// One attempt at it.
#[derive(Debug, Deserialize)]
pub(super) struct Attempt {
    pub(super) number: u32,
    pub(super) started_at: Moment,
    pub(super) worker: Text,
    pub(super) ended_at: Option<Moment>,
    pub(super) outcome: Option<State>,
    pub(super) output: Option<Text>,
    pub(super) error: Option<Text>,
    #[serde(default)]
    delivery: Option<Box<RawValue>>,
}

impl Run {
    pub(super) fn page(&self) -> String {
        page::url(&["runs", self.id.raw()])
    }

    pub(super) fn event_page(&self) -> String {
        page::url(&["events", self.event_id.raw()])
    }

    /// Whether it may be tried again.
    pub(super) fn may_be_retried(&self) -> bool {
        ["failed", "cancelled", "retrying"].iter().any(|state| self.state.is(state))
    }

    pub(super) fn is_under_way(&self) -> bool {
        ["queued", "running", "retrying"].iter().any(|state| self.state.is(state))
    }

    /// What went wrong last, if something did.
    pub(super) fn last_error(&self) -> Option<&Text> {
        self.attempts.iter().rev().find_map(|attempt| attempt.error.as_ref())
    }
}

impl Attempt {
    /// What is on record of a delivery, laid out.
    pub(super) fn record(&self) -> Option<Text> {
        self.delivery.as_ref().map(|record| payload::laid_out(record.get()).text)
    }

    /// How long it took.
    pub(super) fn took(&self) -> Option<String> {
        self.ended_at.map(|ended_at| ended_at.since(&self.started_at))
    }

    /// What it has put out, as far as it is shown.
    pub(super) fn shown_output(&self) -> Option<payload::Part> {
        let output = self.output.as_ref().filter(|output| !output.is_empty());
        output.map(|output| payload::verbatim(output.raw()))
    }
}

impl Trigger {
    /// The page of what is run.
    pub(super) fn page(&self) -> Option<String> {
        match (&self.ploybook, &self.destination) {
            (Some(name), _) => Some(page::url(&["ploybooks", name.raw()])),
            (None, Some(id)) => Some(page::url(&["destinations", id.raw()])),
            (None, None) => None,
        }
    }

    /// What is run, in words.
    pub(super) fn title(&self) -> Text {
        match (&self.ploybook, &self.destination, &self.group) {
            (Some(name), ..) => name.clone(),
            (_, Some(id), _) => id.clone(),
            (.., Some(group)) => format!("route {}", group.raw()).into(),
            _ => "route".into(),
        }
    }
}

#[derive(Template)]
#[template(path = "runs.html")]
struct ListPage {
    frame: Frame,
    runs: Vec<Run>,
    states: [&'static str; 6],
    state: String,
    destination: String,
    event: String,
    fault: Fault,
    pages: Pages,
}

async fn list(visitor: Visitor, query: Fields) -> Result<Response, Refusal> {
    const FILTERS: [&str; 3] = ["state", "destination", "event"];
    let call = FILTERS
        .iter()
        .fold(page::list("runs", &query), |call, name| call.with_some(name, query.trimmed(name)));
    let (found, fault) = match visitor.api().read::<Listing<Run>>(call).await {
        Ok(found) => (found, Fault::default()),
        Err(error) => (Listing { data: Vec::new(), next_cursor: None }, faulty(error)?),
    };
    let text = |name: &str| query.trimmed(name).to_owned();
    let page = ListPage {
        frame: visitor.frame(Section::Runs),
        pages: Pages::of("/console/runs", &query, &FILTERS, found.next_cursor.as_deref()),
        runs: found.data,
        states: STATES,
        state: text("state"),
        destination: text("destination"),
        event: text("event"),
        fault,
    };
    Ok(html(page.fault.status(), &page))
}

#[derive(Template)]
#[template(path = "run.html")]
struct ShowPage {
    frame: Frame,
    notice: Option<&'static str>,
    fault: Fault,
    run: Run,
}

async fn show(
    visitor: Visitor,
    Path(id): Path<String>,
    query: Fields,
) -> Result<Response, Refusal> {
    let run = visitor.api().read(Call::get(&["runs", &id])).await?;
    let (frame, notice) = (visitor.frame(Section::Runs), notice(&query));
    Ok(ok(&ShowPage { frame, notice, fault: Fault::default(), run }))
}

async fn retry(Path(id): Path<String>, posted: Posted) -> Result<Response, Refusal> {
    alter(&posted.visitor, &id, "retry", "retried").await
}

async fn cancel(Path(id): Path<String>, posted: Posted) -> Result<Response, Refusal> {
    alter(&posted.visitor, &id, "cancel", "cancelled").await
}

async fn alter(
    visitor: &Visitor,
    id: &str,
    how: &str,
    done: &'static str,
) -> Result<Response, Refusal> {
    let api = visitor.api();
    let fault = match api.done(Call::post(&["runs", id, how])).await {
        Ok(()) => return Ok(page::done(&["runs", id], done)),
        Err(error) => faulty(error)?,
    };
    let run = api.read(Call::get(&["runs", id])).await?;
    let page = ShowPage { frame: visitor.frame(Section::Runs), notice: None, fault, run };
    Ok(html(page.fault.status(), &page))
}
