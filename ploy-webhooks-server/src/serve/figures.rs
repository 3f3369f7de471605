//! `/metrics`: the figures of this process.

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use super::front::Intake;
use crate::metrics::{self, Gauges, Metrics};

/// Where figures are asked for.
pub(super) fn route(metrics: Metrics, ingest: Intake, in_flight_bytes_max: u64) -> Router {
    let expose = async move || {
        let text = metrics.expose(Gauges {
            in_flight_bytes: ingest.in_flight_bytes(),
            in_flight_bytes_max,
            cached_endpoints: ingest.cached_endpoints(),
        });
        let headers = [(CONTENT_TYPE, metrics::CONTENT_TYPE), (CACHE_CONTROL, "no-store")];
        (headers, text).into_response()
    };
    Router::new().route("/metrics", get(expose))
}
