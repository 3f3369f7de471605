//! `/endpoints`: made, listed, shown, changed, rotated, deleted.

mod auth;
mod form;
mod view;

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use ploy_webhooks::store::{Created, EndpointPatch, PageSize, Updated};
use ploy_webhooks::{Clock, Endpoint, EndpointId, Retention, Slug, SystemClock, Workspace};

use self::auth::{NewAuth, Rotated};
use self::form::{Changes, NewEndpoint};
use self::view::View;
use super::caller::TenantApi;
use super::id::Id;
use super::json::{Json, JsonBody, OptionalJsonBody};
use super::openapi::{call, call_on, nouns};
use super::page::{List, take_cursor, take_limit, to_cursor};
use super::problem::Problem;
use super::query::{NoParameters, Parameters};
use super::rotation::Rotation;
use super::routing::{self, Call};

/// How often a change is tried against changes that run at the same time.
const ROUNDS_MAX: usize = 8;

pub(super) fn calls() -> [Call; 6] {
    [
        routing::get(
            "/endpoints",
            list,
            call("list_endpoints", "The endpoints of the workspace, the oldest first.")
                .answers::<List<View>>()
                .pages(),
        ),
        routing::post(
            "/endpoints",
            create,
            call("create_endpoint", "Make an endpoint, whose key or secret is shown this once.")
                .creates::<View>()
                .takes::<NewEndpoint>()
                .conflicts(),
        ),
        routing::get(
            "/endpoints/{id}",
            show,
            call_on::<nouns::EndpointId>("show_endpoint", "An endpoint, and what it was sent.")
                .answers::<View>(),
        ),
        routing::patch(
            "/endpoints/{id}",
            patch,
            call_on::<nouns::EndpointId>("change_endpoint", "Change, pause or resume an endpoint.")
                .answers::<View>()
                .details("No event is accepted any more by what held before, once it is answered.")
                .takes::<Changes>()
                .conflicts(),
        ),
        routing::delete(
            "/endpoints/{id}",
            delete,
            call_on::<nouns::EndpointId>("delete_endpoint", "Delete an endpoint and its history.")
                .answers_nothing(),
        ),
        routing::post(
            "/endpoints/{id}/rotate",
            rotate,
            call_on::<nouns::EndpointId>(
                "rotate_endpoint",
                "Give an endpoint a new key or secret.",
            )
            .answers::<View>()
            .details("The one before dies at once, or after the overlap that is asked for.")
            .may_take::<Rotation>()
            .conflicts(),
        ),
    ]
}

async fn create(
    api: TenantApi,
    _: NoParameters,
    JsonBody(form): JsonBody<NewEndpoint>,
) -> Result<Response, Problem> {
    let (auth, config) = form.into_parts()?;
    check_retention(&api, config.limits.retention).await?;
    let (id, now) = (EndpointId::mint(SystemClock.now()), SystemClock.now());
    let (auth, shown) = NewAuth::of(auth).create(id, api.keyring(), now)?;
    auth::check(&auth, &config)?;
    let endpoint = Endpoint::new(id, *api.workspace(), Slug::mint(), now, auth, config);
    let answer = View::of(&api, &endpoint).with_secret(&shown).into_response();
    match api.store().create(endpoint).await? {
        Created::Created => Ok((StatusCode::CREATED, answer).into_response()),
        Created::Taken => {
            Err(Problem::conflict("another endpoint has the address that was chosen; try again"))
        }
    }
}

async fn list(api: TenantApi, mut parameters: Parameters) -> Result<Response, Problem> {
    let limit = take_limit(&mut parameters)?.unwrap_or(PageSize::DEFAULT);
    let after = take_cursor::<EndpointId>(&mut parameters)?;
    parameters.finish()?;

    let found = api.store().endpoints(api.workspace(), after, limit.one_more());
    let mut endpoints = found.await?;
    let has_more = endpoints.len() > limit.get();
    endpoints.truncate(limit.get());
    let last = endpoints.last().filter(|_| has_more);
    Ok(Json(List {
        next_cursor: last.map(|endpoint| to_cursor(&endpoint.id)),
        data: endpoints.iter().map(|endpoint| View::of(&api, endpoint)).collect(),
    })
    .into_response())
}

async fn show(
    api: TenantApi,
    Id(id): Id<EndpointId>,
    _: NoParameters,
) -> Result<Response, Problem> {
    let endpoint = find(&api, &id).await?;
    let activity = api.store().activity(api.workspace(), &id).await?;
    let view = View::of(&api, &endpoint).with_activity(activity.unwrap_or_default());
    Ok(view.into_response())
}

async fn patch(
    api: TenantApi,
    Id(id): Id<EndpointId>,
    _: NoParameters,
    JsonBody(mut changes): JsonBody<Changes>,
) -> Result<Response, Problem> {
    changes.check()?;
    check_retention(&api, changes.retention()).await?;
    let auth = changes.take_auth().map(|form| NewAuth::of(Some(form)));
    let (endpoint, shown) = change(&api, &id, |endpoint| {
        let config = changes.apply_to(&endpoint.config);
        let (auth, shown) = match &auth {
            Some(auth) => auth.change(endpoint, api.keyring(), SystemClock.now())?,
            None => (endpoint.auth.clone(), None),
        };
        auth::check(&auth, &config)?;
        let patch = EndpointPatch {
            config: (config != endpoint.config).then_some(config),
            auth: (auth != endpoint.auth).then_some(auth),
        };
        Ok((patch, shown))
    })
    .await?;
    let view = View::of(&api, &endpoint);
    Ok(match &shown {
        Some(shown) => view.with_secret(shown).into_response(),
        None => view.into_response(),
    })
}

async fn rotate(
    api: TenantApi,
    Id(id): Id<EndpointId>,
    _: NoParameters,
    OptionalJsonBody(rotation): OptionalJsonBody<Rotation>,
) -> Result<Response, Problem> {
    let (given, overlap) = rotation.into_parts()?;
    let rotated = Rotated::new(given, overlap);
    let (endpoint, shown) = change(&api, &id, |endpoint| {
        let (auth, shown) = rotated.apply(endpoint, api.keyring())?;
        Ok((EndpointPatch { config: None, auth: Some(auth) }, shown))
    })
    .await?;
    Ok(View::of(&api, &endpoint).with_secret(&shown).into_response())
}

async fn delete(
    api: TenantApi,
    Id(id): Id<EndpointId>,
    _: NoParameters,
) -> Result<StatusCode, Problem> {
    match api.store().delete(api.workspace(), &id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::NotFound),
    }
}

async fn find(api: &TenantApi, id: &EndpointId) -> Result<Arc<Endpoint>, Problem> {
    let found = api.store().endpoint_by_id(api.workspace(), id).await?;
    found.ok_or(Problem::NotFound)
}

/// Refuses a retention that is longer than the workspace's, by which it would not hold. Where that is
/// shortened afterwards, the shorter one holds.
async fn check_retention(api: &TenantApi, asked: Option<Retention>) -> Result<(), Problem> {
    let Some(asked) = asked else {
        return Ok(());
    };
    let workspace = Workspace::look_up(api.store(), api.workspace()).await?;
    match workspace.and_then(|workspace| workspace.limits.retention) {
        Some(most) if asked > most => Err(Problem::invalid(format!(
            "`limits.retention_seconds` is at most {}, for which the workspace keeps events",
            u64::from(most)
        ))),
        _ => Ok(()),
    }
}

/// Changes an endpoint as it is now, again if somebody else has changed it meanwhile, and says
/// with it what `patch` said last. An empty patch is nothing to change.
async fn change<T>(
    api: &TenantApi,
    id: &EndpointId,
    patch: impl Fn(&Endpoint) -> Result<(EndpointPatch, T), Problem>,
) -> Result<(Arc<Endpoint>, T), Problem> {
    for _ in 0..ROUNDS_MAX {
        let endpoint = find(api, id).await?;
        let (patch, said) = patch(&endpoint)?;
        if patch == EndpointPatch::default() {
            return Ok((endpoint, said));
        }
        let update = api.store().update(api.workspace(), id, endpoint.revision, patch);
        match update.await? {
            Updated::Updated(endpoint) => return Ok((endpoint, said)),
            Updated::Missing => return Err(Problem::NotFound),
            Updated::Conflict(_) => {}
        }
    }
    Err(Problem::conflict("the endpoint is being changed by others; try again"))
}
