//! The first page: what came in and went wrong, and what needs a look.

use askama::Template;
use axum::Router;
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;

use super::Console;
use super::chart::Chart;
use super::destinations::view::Destination;
use super::endpoints::view::Endpoint;
use super::page::{Frame, Listing, Section, ok};
use super::refusal::Refusal;
use super::runs::Run;
use super::time::Moment;
use super::visitor::Visitor;
use crate::api_client::{ApiClient, ApiError, Call};

/// How far back the charts go.
const HOURS: i64 = 24;

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/", get(home))
}

/// What was counted, as the API answers it.
#[derive(Debug, Deserialize)]
struct Activity {
    step_seconds: u64,
    data: Vec<Step>,
}

#[derive(Debug, Deserialize)]
struct Step {
    /// When it begins.
    at: Moment,
    #[serde(default)]
    accepted: u64,
    #[serde(default)]
    refused: u64,
    #[serde(default)]
    failed: u64,
}

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage {
    frame: Frame,
    charts: [Chart; 3],
    failed: Vec<Run>,
    paused: Vec<Endpoint>,
    troubled: Vec<Destination>,
    has_endpoints: bool,
    /// There are more endpoints or destinations than were looked at.
    is_of_the_first: bool,
}

async fn home(visitor: Visitor) -> Result<Response, Refusal> {
    let api = visitor.api();
    let failed = Call::get(&["runs"]).with("state", "failed").with("limit", "8");
    let endpoints = Call::get(&["endpoints"]).with("limit", "200");
    let destinations = Call::get(&["destinations"]).with("limit", "200");
    let (charts, failed, endpoints, destinations) = tokio::join!(
        charts(&api),
        api.read::<Listing<Run>>(failed),
        api.read::<Listing<Endpoint>>(endpoints),
        api.read::<Listing<Destination>>(destinations),
    );
    let (endpoints, destinations) = (endpoints?, destinations?);
    let is_of_the_first = endpoints.next_cursor.is_some() || destinations.next_cursor.is_some();
    let (mut paused, mut troubled) = (endpoints.data, destinations.data);
    let has_endpoints = !paused.is_empty();
    paused.retain(Endpoint::is_paused);
    troubled.retain(Destination::is_troubled);
    let frame = visitor.frame(Section::Home);
    let (charts, failed) = (charts?, failed?.data);
    Ok(ok(&HomePage { frame, charts, failed, paused, troubled, has_endpoints, is_of_the_first }))
}

/// The charts of the last day.
async fn charts(api: &ApiClient) -> Result<[Chart; 3], ApiError> {
    let to = Moment::now();
    let from = to.before(HOURS * 3_600);
    let call = Call::get(&["activity"]).with("from", &from.iso()).with("to", &to.iso());
    let activity: Activity = api.read(call).await?;
    let chart = |title, tone, count: fn(&Step) -> u64| {
        let counts = activity.spread(to, count);
        Chart::new(title, tone, &counts, activity.step_seconds, (from, to))
    };
    Ok([
        chart("Accepted", "good", |step| step.accepted),
        chart("Refused", "busy", |step| step.refused),
        chart("Runs failed", "bad", |step| step.failed),
    ])
}

impl Activity {
    /// One count for each step of the day that ends with that moment: a step that is not told of is
    /// one in which nothing has happened.
    fn spread(&self, to: Moment, count: fn(&Step) -> u64) -> Vec<u64> {
        let step = i64::try_from(self.step_seconds).unwrap_or(i64::MAX).max(1);
        let last = to.seconds() / step;
        let mut counts = vec![0; usize::try_from(HOURS * 3_600 / step).unwrap_or(1).max(1)];
        for told in &self.data {
            let from_the_end = usize::try_from(last - told.at.seconds() / step).ok();
            let place = from_the_end.and_then(|steps| counts.len().checked_sub(1 + steps));
            if let Some(place) = place {
                counts[place] += count(told);
            }
        }
        counts
    }
}
