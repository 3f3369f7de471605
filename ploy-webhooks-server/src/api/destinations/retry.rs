//! `POST /destinations/{id}/retry`: what was not delivered is tried again, when the receiver is back.

use axum::response::{IntoResponse, Response};
use ploy_webhooks::store::{Altered, PageSize, RunQuery};
use ploy_webhooks::{DestinationId, RunId, RunState, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::find;
use crate::api::caller::TenantApi;
use crate::api::id::Id;
use crate::api::json::{Json, OptionalJsonBody};
use crate::api::openapi::nouns;
use crate::api::page::{from_cursor, to_cursor};
use crate::api::problem::Problem;
use crate::api::query::NoParameters;
use crate::api::time;

/// How many pages of runs a call looks at, and how many runs are on one: 500 in all.
const PAGES_MAX: usize = 5;
const PAGE: PageSize = PageSize::new(100).expect("it is 1 to 200");
/// How many of them are put in line at once: stores write together what comes together, and turn
/// away what is too much.
const AT_ONCE: usize = 16;

/// Which runs are meant.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DeliveriesToRetry")]
pub(super) struct RetryForm {
    /// Only what was accepted then or later.
    #[schemars(with = "Option<nouns::Time>")]
    since: Option<String>,
    /// `next_cursor` of the call before.
    cursor: Option<String>,
}

/// Where a call goes on, and with what.
#[derive(Debug, Serialize, Deserialize)]
struct Position {
    destination: DestinationId,
    since: Option<Timestamp>,
    below: RunId,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Retried {
    /// How many are tried again.
    retried: usize,
    next_cursor: Option<String>,
}

/// Has failed runs tried again, the newest first; deliveries keep to the pace of the destination.
pub(super) async fn retry(
    api: TenantApi,
    Id(id): Id<DestinationId>,
    _: NoParameters,
    OptionalJsonBody(form): OptionalJsonBody<RetryForm>,
) -> Result<Response, Problem> {
    find(&api, id).await?;
    let (since, below) = form.read(id)?;
    let mut query = RunQuery::all(*api.workspace());
    (query.destination, query.state) = (Some(id), Some(RunState::Failed));
    (query.below, query.limit) = (below, PAGE);
    let (retried, below) = retry_all(&api, query, since).await?;
    let next_cursor = below.map(|below| to_cursor(&Position { destination: id, since, below }));
    Ok(Json(Retried { retried, next_cursor }).into_response())
}

impl RetryForm {
    /// Since when, and below which run.
    fn read(self, id: DestinationId) -> Result<(Option<Timestamp>, Option<RunId>), Problem> {
        let since = self.since.as_deref().map(time::parse).transpose();
        let since = since.map_err(|_| {
            Problem::invalid(
                "`since` is not a time as RFC 3339 writes it, as in 2026-01-31T09:00:00Z",
            )
        })?;
        let Some(cursor) = self.cursor else { return Ok((since, None)) };
        match from_cursor::<Position>(&cursor) {
            Some(position) if position.destination != id => {
                Err(Problem::invalid("`cursor` is one of another destination"))
            }
            Some(position) if since.is_some() && since != position.since => Err(Problem::invalid(
                "`since` differs from that which the cursor was made for; leave it out, or begin \
                 without the cursor",
            )),
            Some(position) => Ok((position.since, Some(position.below))),
            None => Err(Problem::invalid("`cursor` is not a cursor of this call")),
        }
    }
}

/// How many runs are tried again, and below which to go on, if there may be more.
async fn retry_all(
    api: &TenantApi,
    mut query: RunQuery,
    since: Option<Timestamp>,
) -> Result<(usize, Option<RunId>), Problem> {
    let least = since.map(RunId::least_at);
    let mut retried = 0;
    for _ in 0..PAGES_MAX {
        let page = api.store().list_runs(&query).await?;
        let runs: Vec<RunId> = page.items.iter().map(|run| run.id).collect();
        let meant = runs.iter().take_while(|run| least.is_none_or(|least| **run >= least)).count();
        retried += requeue(api, &runs[..meant]).await?;
        match page.next {
            Some(next) if meant == runs.len() => query = next,
            _ => return Ok((retried, None)),
        }
    }
    Ok((retried, query.below))
}

/// Has these tried again that are still failed, and says how many.
async fn requeue(api: &TenantApi, runs: &[RunId]) -> Result<usize, Problem> {
    let mut retried = 0;
    for some in runs.chunks(AT_ONCE) {
        let mut under_way = JoinSet::new();
        for run in some {
            let (api, run) = (api.clone(), *run);
            under_way.spawn(async move { api.store().requeue(api.workspace(), &run).await });
        }
        while let Some(done) = under_way.join_next().await {
            let done = done.map_err(|error| {
                tracing::error!(%error, "a run was not tried again");
                Problem::Unavailable(None)
            })?;
            retried += usize::from(done? == Altered::Done);
        }
    }
    Ok(retried)
}
