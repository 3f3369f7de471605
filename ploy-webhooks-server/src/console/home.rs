//! The first page: what came in and went wrong, and what needs a look.

use askama::Template;
use axum::Router;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
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
    charts: Option<[Chart; 3]>,
    failed: Vec<Run>,
    paused: Vec<Endpoint>,
    troubled: Vec<Destination>,
    has_endpoints: bool,
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
    let (mut paused, mut troubled) = (endpoints?.data, destinations?.data);
    let has_endpoints = !paused.is_empty();
    paused.retain(Endpoint::is_paused);
    troubled.retain(Destination::is_troubled);
    let frame = visitor.frame(Section::Home);
    let (charts, failed) = (charts?, failed?.data);
    Ok(ok(&HomePage { frame, charts, failed, paused, troubled, has_endpoints }))
}

/// The charts of the last day; none where the server counts nothing.
async fn charts(api: &ApiClient) -> Result<Option<[Chart; 3]>, ApiError> {
    let to = Moment::now();
    let from = to.before(HOURS * 3_600);
    let call = Call::get(&["activity"]).with("from", &from.iso()).with("to", &to.iso());
    let activity: Activity = match api.read(call).await {
        Ok(activity) => activity,
        Err(ApiError::Refused { status: StatusCode::NOT_FOUND, .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let chart = |title, tone, count: fn(&Step) -> u64| {
        let counts: Vec<u64> = activity.data.iter().map(count).collect();
        Chart::new(title, tone, &counts, activity.step_seconds, (from, to))
    };
    Ok(Some([
        chart("Accepted", "good", |step| step.accepted),
        chart("Refused", "busy", |step| step.refused),
        chart("Runs failed", "bad", |step| step.failed),
    ]))
}
