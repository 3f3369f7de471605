//! `/runs`: listed, shown, tried again, called off.

use axum::response::{IntoResponse, Response};
use ploy_webhooks::store::{Altered, PageSize, RunQuery};
use ploy_webhooks::{DestinationId, EventId, Run, RunId, RunState};

use super::caller::TenantApi;
use super::id::Id;
use super::json::Json;
use super::openapi::{call, call_on, nouns};
use super::page::{List, take_cursor, take_limit, to_cursor};
use super::problem::Problem;
use super::query::{NoParameters, Parameters};
use super::routing::{self, Call};
use super::run::RunView;

/// A page that the store leaves empty is looked beyond so often.
const EMPTY_PAGES_MAX: usize = 50;

pub(super) fn calls() -> [Call; 4] {
    [
        routing::get(
            "/runs",
            list,
            call("list_runs", "The runs of the workspace, the newest first.")
                .answers::<List<RunView>>()
                .query::<nouns::EventId>("event", "Only runs that this event owes.")
                .query::<nouns::DestinationId>("destination", "Only what is delivered there.")
                .query::<nouns::RunState>("state", "Only runs in this state.")
                .pages(),
        ),
        routing::get(
            "/runs/{id}",
            show,
            call_on::<nouns::RunId>("show_run", "A run with its attempts.").answers::<RunView>(),
        ),
        routing::post(
            "/runs/{id}/retry",
            retry,
            call_on::<nouns::RunId>("retry_run", "Try a run again that has failed or waits.")
                .answers::<RunView>()
                .conflicts(),
        ),
        routing::post(
            "/runs/{id}/cancel",
            cancel,
            call_on::<nouns::RunId>("cancel_run", "Call a run off that has not ended.")
                .answers::<RunView>()
                .conflicts(),
        ),
    ]
}

async fn list(api: TenantApi, mut parameters: Parameters) -> Result<Response, Problem> {
    let limit = take_limit(&mut parameters)?;
    let event = parameters.take("event", str::parse::<EventId>)?;
    let destination = parameters.take("destination", str::parse::<DestinationId>)?;
    let state = parameters.take("state", |text| {
        RunState::from_name(text)
            .ok_or("none of `queued`, `running`, `retrying`, `succeeded`, `failed` and `cancelled`")
    })?;
    let cursor = take_cursor::<Position>(&mut parameters)?;
    parameters.finish()?;

    let wanted = Wanted { event, destination, state };
    let below = match cursor {
        None => None,
        Some(position) if position.of == wanted => Some(position.below),
        Some(_) => {
            return Err(Problem::invalid(
                "the conditions differ from those that the cursor was made for; give the same, \
                 or begin without the cursor",
            ));
        }
    };
    let limit = limit.unwrap_or(PageSize::DEFAULT);
    let (runs, next) = match event {
        Some(event) => of_event(&api, &event, &wanted, below, limit).await?,
        None => of_all(&api, &wanted, below, limit).await?,
    };
    Ok(Json(List {
        next_cursor: next.map(|below| to_cursor(&Position { of: wanted, below })),
        data: runs.iter().map(RunView::of).collect(),
    })
    .into_response())
}

/// Which runs are listed.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Wanted {
    event: Option<EventId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    destination: Option<DestinationId>,
    state: Option<RunState>,
}

/// Where a list goes on, and what it is a list of.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Position {
    #[serde(flatten)]
    of: Wanted,
    below: RunId,
}

impl Wanted {
    fn has(&self, run: &Run) -> bool {
        self.state.is_none_or(|state| state == run.state)
            && self.destination.is_none_or(|id| run.trigger.destination() == Some(id))
    }
}

/// The runs of one event, the newest first; and where to go on, if there are more.
async fn of_event(
    api: &TenantApi,
    event: &EventId,
    wanted: &Wanted,
    below: Option<RunId>,
    limit: PageSize,
) -> Result<(Vec<Run>, Option<RunId>), Problem> {
    let mut runs = api.store().runs(api.workspace(), event).await?;
    runs.retain(|run| wanted.has(run) && below.is_none_or(|below| run.id < below));
    runs.reverse();
    let has_more = runs.len() > limit.get();
    runs.truncate(limit.get());
    let next = runs.last().filter(|_| has_more).map(|run| run.id);
    Ok((runs, next))
}

/// The runs of all events, likewise.
async fn of_all(
    api: &TenantApi,
    wanted: &Wanted,
    below: Option<RunId>,
    limit: PageSize,
) -> Result<(Vec<Run>, Option<RunId>), Problem> {
    let mut query = RunQuery::all(*api.workspace());
    (query.state, query.destination) = (wanted.state, wanted.destination);
    (query.below, query.limit) = (below, limit);
    let mut page = api.store().list_runs(&query).await?;
    for _ in 0..EMPTY_PAGES_MAX {
        match page.next.as_ref().filter(|_| page.items.is_empty()) {
            Some(next) => page = api.store().list_runs(next).await?,
            None => break,
        }
    }
    Ok((page.items, page.next.and_then(|next| next.below)))
}

async fn show(api: TenantApi, Id(id): Id<RunId>, _: NoParameters) -> Result<Response, Problem> {
    answer(&api, &id).await
}

async fn retry(api: TenantApi, Id(id): Id<RunId>, _: NoParameters) -> Result<Response, Problem> {
    match api.store().requeue(api.workspace(), &id).await? {
        Altered::Done => answer(&api, &id).await,
        Altered::Missing => Err(Problem::NotFound),
        Altered::Refused(RunState::Succeeded) => {
            Err(Problem::conflict("the run has succeeded: replay its event to run it again"))
        }
        Altered::Refused(state) => Err(Problem::conflict(format!(
            "the run is {}: it is carried out without being told",
            state.as_str()
        ))),
    }
}

async fn cancel(api: TenantApi, Id(id): Id<RunId>, _: NoParameters) -> Result<Response, Problem> {
    match api.store().cancel(api.workspace(), &id).await? {
        Altered::Done => answer(&api, &id).await,
        Altered::Missing => Err(Problem::NotFound),
        Altered::Refused(state) => Err(Problem::conflict(format!(
            "the run is {} already: there is nothing to call off",
            state.as_str()
        ))),
    }
}

async fn answer(api: &TenantApi, id: &RunId) -> Result<Response, Problem> {
    let run = api.store().run(api.workspace(), id).await?.ok_or(Problem::NotFound)?;
    Ok(Json(RunView::of(&run)).into_response())
}
