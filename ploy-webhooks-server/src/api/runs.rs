//! `/runs`: listed, shown, tried again, called off.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use ploy_webhooks::store::{Altered, PageSize, RunQuery};
use ploy_webhooks::{EventId, Run, RunId, RunState};

use super::Api;
use super::id::Id;
use super::json::Json;
use super::page::{List, take_cursor, take_limit, to_cursor};
use super::problem::Problem;
use super::query::{NoParameters, Parameters};
use super::run::RunView;

/// A page that the store leaves empty is looked beyond so often.
const EMPTY_PAGES_MAX: usize = 50;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/runs", get(list))
        .route("/runs/{id}", get(show))
        .route("/runs/{id}/retry", post(retry))
        .route("/runs/{id}/cancel", post(cancel))
}

async fn list(State(api): State<Api>, mut parameters: Parameters) -> Result<Response, Problem> {
    let limit = take_limit(&mut parameters)?;
    let event = parameters.take("event", str::parse::<EventId>)?;
    let state = parameters.take("state", |text| {
        RunState::from_name(text)
            .ok_or("none of `queued`, `running`, `retrying`, `succeeded`, `failed` and `cancelled`")
    })?;
    let cursor = take_cursor::<Position>(&mut parameters)?;
    parameters.finish()?;

    let below = match cursor {
        None => None,
        Some(position) if position.is_of(event, state) => Some(position.below),
        Some(_) => {
            return Err(Problem::invalid(
                "the conditions differ from those that the cursor was made for; give the same, \
                 or begin without the cursor",
            ));
        }
    };
    let limit = limit.unwrap_or(PageSize::DEFAULT);
    let (runs, next) = match event {
        Some(event) => of_event(&api, &event, state, below, limit).await?,
        None => of_all(&api, state, below, limit).await?,
    };
    Ok(Json(List {
        next_cursor: next.map(|below| to_cursor(&Position { event, state, below })),
        data: runs.iter().map(RunView::of).collect(),
    })
    .into_response())
}

/// Where a list goes on, and what it is a list of.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Position {
    event: Option<EventId>,
    state: Option<RunState>,
    below: RunId,
}

impl Position {
    fn is_of(&self, event: Option<EventId>, state: Option<RunState>) -> bool {
        self.event == event && self.state == state
    }
}

/// The runs of one event, the newest first; and where to go on, if there are more.
async fn of_event(
    api: &Api,
    event: &EventId,
    state: Option<RunState>,
    below: Option<RunId>,
    limit: PageSize,
) -> Result<(Vec<Run>, Option<RunId>), Problem> {
    let mut runs = api.store().runs(api.workspace(), event).await?;
    runs.retain(|run| {
        state.is_none_or(|state| state == run.state) && below.is_none_or(|below| run.id < below)
    });
    runs.reverse();
    let has_more = runs.len() > limit.get();
    runs.truncate(limit.get());
    let next = runs.last().filter(|_| has_more).map(|run| run.id);
    Ok((runs, next))
}

/// The runs of all events, likewise.
async fn of_all(
    api: &Api,
    state: Option<RunState>,
    below: Option<RunId>,
    limit: PageSize,
) -> Result<(Vec<Run>, Option<RunId>), Problem> {
    let mut query = RunQuery::all(*api.workspace());
    (query.state, query.below, query.limit) = (state, below, limit);
    let mut page = api.store().list_runs(&query).await?;
    for _ in 0..EMPTY_PAGES_MAX {
        match page.next.as_ref().filter(|_| page.items.is_empty()) {
            Some(next) => page = api.store().list_runs(next).await?,
            None => break,
        }
    }
    Ok((page.items, page.next.and_then(|next| next.below)))
}

async fn show(
    State(api): State<Api>,
    Id(id): Id<RunId>,
    _: NoParameters,
) -> Result<Response, Problem> {
    answer(&api, &id).await
}

async fn retry(
    State(api): State<Api>,
    Id(id): Id<RunId>,
    _: NoParameters,
) -> Result<Response, Problem> {
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

async fn cancel(
    State(api): State<Api>,
    Id(id): Id<RunId>,
    _: NoParameters,
) -> Result<Response, Problem> {
    match api.store().cancel(api.workspace(), &id).await? {
        Altered::Done => answer(&api, &id).await,
        Altered::Missing => Err(Problem::NotFound),
        Altered::Refused(state) => Err(Problem::conflict(format!(
            "the run is {} already: there is nothing to call off",
            state.as_str()
        ))),
    }
}

async fn answer(api: &Api, id: &RunId) -> Result<Response, Problem> {
    let run = api.store().run(api.workspace(), id).await?.ok_or(Problem::NotFound)?;
    Ok(Json(RunView::of(&run)).into_response())
}
