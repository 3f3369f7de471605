//! `/events`: published, searched, told as they come, shown, and given out byte for byte.

mod export;
mod publish;
mod search;
mod stream;
mod view;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use ploy_webhooks::trigger::{self, Replayed};
use ploy_webhooks::{Event, EventId};
use schemars::JsonSchema;
use serde::Serialize;

use self::search::take_query;
use self::view::{EventView, SummaryView};
use super::caller::TenantApi;
use super::id::Id;
use super::json::Json;
use super::openapi::{call, call_on, nouns};
use super::page::{List, to_cursor};
use super::problem::Problem;
use super::query::{NoParameters, Parameters};
use super::routing::{self, Call};
use super::run::RunView;

pub(super) fn calls() -> [Call; 7] {
    [
        routing::get(
            "/events",
            list,
            search::describe(
                call("list_events", "Search events: the newest first, where nothing else is said.")
                    .answers::<List<SummaryView>>(),
            )
            .details(
                "A page may be short, or empty, and not be the last: go on while there is a \
                `next_cursor`. The cursor carries the conditions, which may be left out beside it.",
            )
            .pages(),
        ),
        routing::post("/events", publish::publish, publish::operation()),
        routing::get("/events/export", export::export, export::operation()),
        routing::get("/events/stream", stream::stream, stream::operation()),
        routing::get(
            "/events/{id}",
            show,
            call_on::<nouns::EventId>("show_event", "An event with its payload and its runs.")
                .answers::<EventView>(),
        ),
        routing::get(
            "/events/{id}/payload",
            payload,
            call_on::<nouns::EventId>("show_payload", "The payload, byte for byte.")
                .answers_any("application/json", "The bytes that were sent."),
        ),
        routing::post(
            "/events/{id}/replay",
            replay,
            call_on::<nouns::EventId>("replay_event", "Run again what is wired to an event.")
                .answers::<Replay>()
                .details("As runs of their own; the event is not copied.")
                .conflicts(),
        ),
    ]
}

async fn list(api: TenantApi, parameters: Parameters) -> Result<Response, Problem> {
    let query = take_query(parameters, *api.workspace())?;
    let page = api.store().search(&query).await?;
    Ok(Json(List {
        data: page
            .items
            .into_iter()
            .map(|event| SummaryView::of(event, *api.workspace()))
            .collect(),
        next_cursor: page.next.as_ref().map(to_cursor),
    })
    .into_response())
}

async fn show(api: TenantApi, Id(id): Id<EventId>, _: NoParameters) -> Result<Response, Problem> {
    let event = find(&api, &id).await?;
    let runs = api.store().runs(api.workspace(), &id).await?;
    Ok(Json(EventView::of(&event, &runs)).into_response())
}

async fn payload(
    api: TenantApi,
    Id(id): Id<EventId>,
    _: NoParameters,
) -> Result<Response, Problem> {
    let event = find(&api, &id).await?;
    let headers = [
        (CONTENT_TYPE, "application/json"),
        // What senders write is nothing that a browser should make more of.
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, event.payload).into_response())
}

async fn find(api: &TenantApi, id: &EventId) -> Result<Event, Problem> {
    let found = api.store().event(api.workspace(), id).await?;
    found.ok_or(Problem::NotFound)
}

/// Runs what is wired to the event, as runs of their own.
async fn replay(api: TenantApi, Id(id): Id<EventId>, _: NoParameters) -> Result<Response, Problem> {
    let workspace = api.workspace();
    let ids = match trigger::replay(api.store(), workspace, &id).await? {
        Replayed::Runs(ids) => ids,
        Replayed::Missing => return Err(Problem::NotFound),
        Replayed::Unwired => {
            return Err(Problem::conflict(
                "nothing is wired to this event: set a trigger on its endpoint or subscribe to \
                 it, then replay it",
            ));
        }
    };
    let mut runs = Vec::with_capacity(ids.len());
    for id in ids {
        runs.extend(api.store().run(workspace, &id).await?);
    }
    Ok(Json(Replay { runs: runs.iter().map(RunView::of).collect() }).into_response())
}

/// The answer to a replay: the runs that it has added.
#[derive(Debug, Serialize, JsonSchema)]
struct Replay<'a> {
    runs: Vec<RunView<'a>>,
}
