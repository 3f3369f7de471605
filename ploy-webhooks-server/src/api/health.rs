//! For whoever watches the server: is it alive, and does its store answer?

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::Api;
use super::json::Json;
use super::problem::Problem;

/// How long the store may take before the server is not ready.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/health/live", get(live)).route("/health/ready", get(ready))
}

/// The process answers.
async fn live() -> Response {
    Json(json!({"status": "live"})).into_response()
}

/// The store answers a read. That it takes events too, only an event can tell.
async fn ready(State(api): State<Api>) -> Result<Response, Problem> {
    match tokio::time::timeout(READY_TIMEOUT, api.store().root_token()).await {
        Ok(asked) => asked?,
        Err(_) => return Err(Problem::Unavailable(None)),
    };
    Ok(Json(json!({"status": "ready"})).into_response())
}
