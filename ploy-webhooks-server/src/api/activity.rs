//! `/activity`: how much has happened in the workspace, and when.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use ploy_webhooks::store::{HISTORY_STEP, HistoryBucket, HistoryCounts};
use ploy_webhooks::{Clock, SystemClock};
use serde::Serialize;

use super::caller::TenantApi;
use super::json::Json;
use super::problem::Problem;
use super::query::Parameters;
use super::routing::{self, Call};
use super::time::{self, Rfc3339};

/// What is shown where nobody says since when.
const USUAL: Duration = Duration::from_secs(86_400);

pub(super) fn calls() -> [Call; 1] {
    [routing::get("/activity", show)]
}

/// What has happened, in buckets of time. Those in which nothing has are left out.
#[derive(Debug, Serialize)]
struct ActivityView {
    step_seconds: u64,
    data: Vec<BucketView>,
}

#[derive(Debug, Serialize)]
struct BucketView {
    /// When it begins.
    at: Rfc3339,
    #[serde(flatten)]
    counts: HistoryCounts,
}

async fn show(api: TenantApi, mut parameters: Parameters) -> Result<Response, Problem> {
    let from = parameters.take("from", time::parse)?;
    let to = parameters.take("to", time::parse)?;
    parameters.finish()?;
    let to = to.unwrap_or_else(|| SystemClock.now());
    let usual = USUAL.as_millis() as u64;
    let from = from.unwrap_or_else(|| {
        ploy_webhooks::Timestamp::from_millis(to.as_millis().saturating_sub(usual))
    });
    if from > to {
        return Err(Problem::invalid("the parameter `from` is after `to`"));
    }
    let buckets = api.store().history(api.workspace(), from..to).await?;
    let view = |HistoryBucket { at, counts }| BucketView { at: Rfc3339(at), counts };
    let data = buckets.into_iter().map(view).collect();
    Ok(Json(ActivityView { step_seconds: HISTORY_STEP.as_secs(), data }).into_response())
}
