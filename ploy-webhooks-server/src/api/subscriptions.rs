//! `/subscriptions`: which events run what, or are delivered where.
//!
//! A change holds when it is answered: no event is accepted any more by what was wired before.

mod tester;

use std::num::NonZeroU16;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use ploy_webhooks::store::DefinitionKind;
use ploy_webhooks::{
    Action, Clock, Condition, EndpointId, Revision, Subscription, SubscriptionId, SystemClock,
    rewire,
};
use serde_json::{Map, Value};

use super::caller::TenantApi;
use super::definitions::{self, Called, Changed, Defines, PageOf, View};
use super::destinations;
use super::id::Id;
use super::json::{Json, JsonBody};
use super::openapi::nouns::{self, NewSubscription, SubscriptionView};
use super::openapi::{Changes, call, call_on};
use super::page::List;
use super::problem::Problem;
use super::query::{NoParameters, Parameters};
use super::routing::{self, Call};
use super::to_its_end::to_its_end;

impl Defines for Subscription {
    const KIND: DefinitionKind = DefinitionKind::Subscription;

    const SETTINGS: &[&str] = &[];

    fn check(&self, before: Option<&Self>, _: &TenantApi) -> Result<(), Problem> {
        self.check().map_err(Problem::invalid)?;
        let is_new = before.is_none_or(|before| before.condition != self.condition);
        let condition = self.condition.as_deref().filter(|_| is_new).map(Condition::compile);
        match condition.transpose() {
            Ok(_) => Ok(()),
            Err(error) => Err(Problem::invalid(format!("`condition`: {error}"))),
        }
    }
}

pub(super) fn calls() -> [Call; 6] {
    [
        routing::get(
            "/subscriptions",
            list,
            call("list_subscriptions", "The subscriptions of the workspace, the oldest first.")
                .answers::<List<SubscriptionView>>()
                .pages(),
        ),
        routing::post(
            "/subscriptions",
            create,
            call("create_subscription", "Say which events run what, or are delivered where.")
                .creates::<SubscriptionView>()
                .takes::<NewSubscription>()
                .conflicts(),
        ),
        routing::post("/subscriptions/test", tester::test, tester::operation()),
        routing::get(
            "/subscriptions/{id}",
            show,
            call_on::<nouns::SubscriptionId>("show_subscription", "A subscription.")
                .answers::<SubscriptionView>(),
        ),
        routing::patch(
            "/subscriptions/{id}",
            patch,
            call_on::<nouns::SubscriptionId>("change_subscription", "Change a subscription.")
                .answers::<SubscriptionView>()
                .details(
                    "No event is accepted any more by what was wired before, once it is answered.",
                )
                .takes::<Changes<NewSubscription>>()
                .conflicts(),
        ),
        routing::delete(
            "/subscriptions/{id}",
            delete,
            call_on::<nouns::SubscriptionId>("delete_subscription", "Delete a subscription.")
                .answers_nothing()
                .conflicts(),
        ),
    ]
}

async fn create(
    api: TenantApi,
    _: NoParameters,
    JsonBody(subscription): JsonBody<Subscription>,
) -> Result<Response, Problem> {
    const ALL: NonZeroU16 = NonZeroU16::new(Subscription::COUNT_MAX).expect("it is not zero");
    let there = api.store().definitions(api.workspace(), Subscription::KIND, None, ALL).await?;
    if there.len() >= usize::from(ALL.get()) {
        return Err(Problem::conflict("a workspace has at most 200 subscriptions: delete one"));
    }
    if let Action::Destination(destination) = subscription.action {
        destinations::require(&api, destination).await?;
    }
    let id = SubscriptionId::mint(SystemClock.now());
    to_its_end(async move {
        let made = definitions::make(&api, &id.to_string(), &subscription).await?;
        let revision = made.ok_or(Problem::conflict("the id is taken; try again"))?;
        if let Err(problem) = settle(&api, &[&subscription], Meant::Named).await {
            // Whoever is told that it failed makes it again: there would be two.
            api.store().undefine(api.workspace(), Subscription::KIND, &id.to_string()).await?;
            return Err(problem);
        }
        Ok((StatusCode::CREATED, view(id, revision, subscription)).into_response())
    })
    .await
}

async fn list(api: TenantApi, parameters: Parameters) -> Result<Response, Problem> {
    let List { data, next_cursor } =
        definitions::page::<Subscription>(&api, &PageOf::take(parameters)?).await?;
    let data = data.iter().map(|(id, revision, defined)| View {
        called: Called::Id(id),
        revision: *revision,
        defined,
    });
    Ok(Json(List { data: data.collect(), next_cursor }).into_response())
}

async fn show(
    api: TenantApi,
    Id(id): Id<SubscriptionId>,
    _: NoParameters,
) -> Result<Response, Problem> {
    let found = definitions::find(&api, &id.to_string()).await?;
    let (subscription, revision) = found.ok_or(Problem::NotFound)?;
    Ok(view(id, revision, subscription))
}

async fn patch(
    api: TenantApi,
    Id(id): Id<SubscriptionId>,
    _: NoParameters,
    JsonBody(changes): JsonBody<Map<String, Value>>,
) -> Result<Response, Problem> {
    // A change that is made again, since it failed on the way, does not know any more which
    // endpoints were meant before.
    let meant = if changes.contains_key("endpoints") { Meant::All } else { Meant::Named };
    // What is no id is refused by its name when it is set.
    let destination = changes.get("destination").and_then(Value::as_str);
    if let Some(destination) = destination.and_then(|text| text.parse().ok()) {
        destinations::require(&api, destination).await?;
    }
    to_its_end(async move {
        let Changed { before, now, revision } =
            definitions::change::<Subscription>(&api, &id.to_string(), &changes).await?;
        settle(&api, &[&before, &now], meant).await?;
        Ok(view(id, revision, now))
    })
    .await
}

async fn delete(
    api: TenantApi,
    Id(id): Id<SubscriptionId>,
    _: NoParameters,
) -> Result<StatusCode, Problem> {
    to_its_end(async move {
        // It goes when that holds, so that a call that fails on the way can be made again.
        let disabled = Map::from_iter([("enabled".to_owned(), false.into())]);
        let Changed { before, .. } = definitions::change(&api, &id.to_string(), &disabled).await?;
        settle(&api, &[&before], Meant::Named).await?;
        match api.store().undefine(api.workspace(), Subscription::KIND, &id.to_string()).await? {
            true => Ok(StatusCode::NO_CONTENT),
            false => Err(Problem::NotFound),
        }
    })
    .await
}

/// For which endpoints a change is made to hold.
#[derive(Clone, Copy)]
enum Meant {
    /// Those that it names.
    Named,
    /// All of the workspace.
    All,
}

/// Has the change hold for every endpoint that was meant before or is meant now.
async fn settle(api: &TenantApi, meant_by: &[&Subscription], meant: Meant) -> Result<(), Problem> {
    let means_all = matches!(meant, Meant::All)
        || meant_by.iter().any(|subscription| subscription.endpoints.is_empty());
    let mut endpoints: Vec<EndpointId> =
        meant_by.iter().flat_map(|subscription| &subscription.endpoints).copied().collect();
    endpoints.sort_unstable();
    endpoints.dedup();
    let endpoints = if means_all { &[][..] } else { &endpoints };
    rewire(api.store(), api.workspace(), endpoints).await.map_err(|error| {
        tracing::error!(%error, "a change of a subscription does not hold everywhere yet");
        Problem::from(error)
    })
}

fn view(id: SubscriptionId, revision: Revision, defined: Subscription) -> Response {
    Json(View { called: Called::Id(&id.to_string()), revision, defined }).into_response()
}
