//! `/endpoints`: made, listed, shown, changed, rotated, deleted.

mod form;
mod view;

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use ploy_webhooks::store::{Created, EndpointPatch, PageSize, Updated};
use ploy_webhooks::{Auth, Clock, Endpoint, EndpointId, KeyDigest, Secret, SystemClock, Timestamp};

use self::form::{Changes, NewEndpoint, Rotation};
use self::view::View;
use super::caller::TenantApi;
use super::id::Id;
use super::json::{Json, JsonBody, OptionalJsonBody};
use super::page::{List, take_cursor, take_limit, to_cursor};
use super::problem::Problem;
use super::query::{NoParameters, Parameters};
use super::routing::{self, Call};

/// How many keys an endpoint has at most, while rotations overlap.
const KEYS_MAX: usize = 4;
/// How often a change is tried against changes that run at the same time.
const ROUNDS_MAX: usize = 8;

pub(super) fn calls() -> [Call; 6] {
    [
        routing::get("/endpoints", list),
        routing::post("/endpoints", create),
        routing::get("/endpoints/{id}", show),
        routing::patch("/endpoints/{id}", patch),
        routing::delete("/endpoints/{id}", delete),
        routing::post("/endpoints/{id}/rotate", rotate),
    ]
}

async fn create(
    api: TenantApi,
    _: NoParameters,
    JsonBody(form): JsonBody<NewEndpoint>,
) -> Result<Response, Problem> {
    let config = form.into_config()?;
    let (endpoint, key) = Endpoint::mint(*api.workspace(), config, SystemClock.now());
    let answer = View::of(&api, &endpoint).with_key(&key).into_response();
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
    Ok(View::of(&api, &endpoint).into_response())
}

async fn patch(
    api: TenantApi,
    Id(id): Id<EndpointId>,
    _: NoParameters,
    JsonBody(changes): JsonBody<Changes>,
) -> Result<Response, Problem> {
    changes.check()?;
    let endpoint = change(&api, &id, |endpoint| {
        let config = changes.apply_to(&endpoint.config);
        let config = (config != endpoint.config).then_some(config);
        Ok(config.map(|config| EndpointPatch { config: Some(config), auth: None }))
    });
    Ok(View::of(&api, &*endpoint.await?).into_response())
}

async fn rotate(
    api: TenantApi,
    Id(id): Id<EndpointId>,
    _: NoParameters,
    OptionalJsonBody(rotation): OptionalJsonBody<Rotation>,
) -> Result<Response, Problem> {
    let overlap = rotation.overlap()?;
    let (key, now) = (Secret::mint_api_key(), SystemClock.now());
    let endpoint = change(&api, &id, |endpoint| {
        let Auth::ApiKey { keys } = &endpoint.auth else {
            return Err(Problem::conflict("the endpoint has no key to rotate"));
        };
        let auth = Auth::ApiKey { keys: rotated(keys, &key, overlap, now) };
        Ok(Some(EndpointPatch { config: None, auth: Some(auth) }))
    });
    let endpoint = endpoint.await?;
    Ok(View::of(&api, &endpoint).with_key(&key).into_response())
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

/// Changes an endpoint as it is now, again if somebody else has changed it meanwhile. `None`
/// from `patch` is nothing to change.
async fn change(
    api: &TenantApi,
    id: &EndpointId,
    patch: impl Fn(&Endpoint) -> Result<Option<EndpointPatch>, Problem>,
) -> Result<Arc<Endpoint>, Problem> {
    for _ in 0..ROUNDS_MAX {
        let endpoint = find(api, id).await?;
        let Some(patch) = patch(&endpoint)? else {
            return Ok(endpoint);
        };
        let update = api.store().update(api.workspace(), id, endpoint.revision, patch);
        match update.await? {
            Updated::Updated(endpoint) => return Ok(endpoint),
            Updated::Missing => return Err(Problem::NotFound),
            Updated::Conflict(_) => {}
        }
    }
    Err(Problem::conflict("the endpoint is being changed by others; try again"))
}

/// The keys after a rotation: the new one without an end, and for the time of the overlap those
/// that were valid, the latest of them.
fn rotated(keys: &[KeyDigest], new: &Secret, overlap: Duration, now: Timestamp) -> Vec<KeyDigest> {
    let end = now.after(overlap);
    let still_valid = keys.iter().map(|key| KeyDigest {
        digest: key.digest,
        expires_at: Some(key.expires_at.map_or(end, |expires_at| expires_at.min(end))),
    });
    let mut keys: Vec<_> = still_valid.filter(|key| key.expires_at > Some(now)).collect();
    keys.drain(..keys.len().saturating_sub(KEYS_MAX - 1));
    keys.push(KeyDigest { digest: new.digest(), expires_at: None });
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_keeps_the_latest_keys_for_the_time_of_the_overlap() {
        let now = Timestamp::from_millis(1_000);
        let minute = Duration::from_secs(60);
        let mut keys = Vec::new();
        for _ in 0..6 {
            keys = rotated(&keys, &Secret::mint_api_key(), minute, now);
        }
        let ends: Vec<_> = keys.iter().map(|key| key.expires_at).collect();
        let end = Some(Timestamp::from_millis(61_000));
        assert_eq!(ends, [end, end, end, None]);

        let longer = rotated(&keys, &Secret::mint_api_key(), 2 * minute, now);
        assert_eq!(longer[0].expires_at, end, "an overlap never prolongs a key");
        let later = Timestamp::from_millis(61_000);
        assert_eq!(rotated(&keys, &Secret::mint_api_key(), minute, later).len(), 2);
        assert_eq!(rotated(&keys, &Secret::mint_api_key(), Duration::ZERO, now).len(), 1);
    }
}
