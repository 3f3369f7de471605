//! `/activity`: how much has happened in the workspace, and when.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use ploy_webhooks::store::{HISTORY_STEP, HistoryBucket, HistoryCounts};
use ploy_webhooks::{Clock, SystemClock};
use schemars::JsonSchema;
use serde::Serialize;

use super::caller::TenantApi;
use super::json::Json;
use super::openapi::{call, nouns};
use super::problem::Problem;
use super::query::Parameters;
use super::routing::{self, Call};
use super::time::{self, Rfc3339};

/// What is shown where nobody says since when.
const USUAL: Duration = Duration::from_secs(86_400);

pub(super) fn calls() -> [Call; 1] {
    [routing::get(
        "/activity",
        show,
        call("show_activity", "How much has happened, in buckets of time.")
            .answers::<ActivityView>()
            .query::<nouns::Time>("from", "The first moment [default: a day before `to`].")
            .query::<nouns::Time>("to", "The moment at which it ends [default: now].")
            .details(
                "Buckets in which nothing has happened are left out. What has happened in the last \
                 seconds may not be in it yet.",
            ),
    )]
}

/// What has happened, in buckets of time. Those in which nothing has are left out.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Activity")]
struct ActivityView {
    /// How long a bucket is.
    step_seconds: u64,
    data: Vec<BucketView>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ActivityBucket")]
struct BucketView {
    /// When it begins.
    at: Rfc3339,
    /// How many events were accepted.
    accepted: u64,
    /// How many requests to endpoints were refused.
    refused: u64,
    /// How many runs have succeeded.
    succeeded: u64,
    /// How many runs have failed for good.
    failed: u64,
}

impl From<HistoryBucket> for BucketView {
    fn from(HistoryBucket { at, counts }: HistoryBucket) -> Self {
        let HistoryCounts { accepted, refused, succeeded, failed } = counts;
        Self { at: Rfc3339(at), accepted, refused, succeeded, failed }
    }
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
    let data = buckets.into_iter().map(BucketView::from).collect();
    Ok(Json(ActivityView { step_seconds: HISTORY_STEP.as_secs(), data }).into_response())
}
