//! Whether who receives at a destination wants to: they are asked, and answer at once, or later by a
//! link.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use ploy_webhooks::{
    Clock, DestinationId, Secret, SecretDigest, SystemClock, Timestamp, WorkspaceId,
};
use ploy_webhooks_delivery::{
    Confirmation, Destination, DestinationState, Record, Status, Verified,
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{find, hasty, unopened};
use crate::api::Api;
use crate::api::caller::TenantApi;
use crate::api::definitions;
use crate::api::id::Id;
use crate::api::json::Json;
use crate::api::openapi::nouns;
use crate::api::problem::Problem;
use crate::api::query::{NoParameters, Parameters};
use crate::api::to_its_end::to_its_end;

/// For how long a link confirms.
const VALID_FOR: Duration = Duration::from_secs(7 * 86_400);

/// The answer to `POST /destinations/{id}/verify`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Verification {
    /// Whether it is confirmed now; a link may be followed later.
    verified: bool,
    #[schemars(with = "nouns::Record")]
    record: Record,
}

/// Asks whoever receives there. A link that was sent before confirms nothing any more.
pub(super) async fn verify(
    api: TenantApi,
    Id(id): Id<DestinationId>,
    _: NoParameters,
) -> Result<Response, Problem> {
    let (destination, _) = find(&api, id).await?;
    let token = mint_token();
    let expires_at = SystemClock.now().after(VALID_FOR);
    let url = destination.url_digest();
    let confirmation = Confirmation { token: token.digest(), url, expires_at };
    let (store, workspace) = (api.store(), *api.workspace());
    DestinationState::change(store, &workspace, id, |state| {
        state.confirmation = Some(confirmation.clone());
        Some(())
    })
    .await?;
    let link = format!(
        "{}/api/v1/destinations/{id}/confirm?workspace={workspace}&token={}",
        api.public_url(),
        token.expose()
    );
    let asked =
        api.courier().ask_for_confirmation(workspace, id, hasty(destination), &token, &link);
    let (record, is_repeated) = asked.await.map_err(unopened)?;
    if is_repeated {
        redeem(api.clone(), id, token.digest()).await?;
    }
    // Where it was not repeated, the link may have been followed all the same.
    let (state, _) = DestinationState::of(store, &workspace, id).await?;
    let verified =
        state.verified.is_some_and(|verified| verified.url == url) && state.confirmation.is_none();
    Ok(Json(Verification { verified, record }).into_response())
}

/// Takes the link that was sent. The token in it is all that is asked for, and whatever is wrong is
/// answered alike.
///
/// HEAD changes nothing: that is what shows a preview of a link, or looks for malware behind it.
pub(super) async fn confirm(
    method: Method,
    State(api): State<Api>,
    Id(id): Id<DestinationId>,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let mut take = |name| parameters.take(name, |text| Ok::<_, &str>(text.to_owned())).ok()?;
    let (workspace, token) = (take("workspace"), take("token"));
    let workspace = workspace.and_then(|text| text.parse::<WorkspaceId>().ok());
    let (workspace, token) = workspace.zip(token).ok_or(Problem::NotFound)?;
    let (api, token) = (TenantApi::of_link(api, workspace), SecretDigest::of(token));
    let is_known = match method {
        Method::HEAD => is_waited_for(&api, id, &token).await?,
        _ => redeem(api, id, token).await?,
    };
    if !is_known {
        return Err(Problem::NotFound);
    }
    let headers =
        [(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    Ok((headers, "Thank you: it is confirmed that events may be delivered.\n").into_response())
}

/// A token of 190 random bits that nobody takes for one that opens the API.
fn mint_token() -> Secret {
    Secret::from(URL_SAFE_NO_PAD.encode(Secret::mint_token().digest().as_bytes()))
}

/// The confirmation that this token gives, if it gives one. Digests compare in constant time.
fn confirmed_by<'a>(
    state: &'a DestinationState,
    token: &SecretDigest,
    now: Timestamp,
) -> Option<&'a Confirmation> {
    let waited_for = state.confirmation.as_ref();
    waited_for.filter(|asked| asked.token == *token && asked.expires_at > now)
}

async fn is_waited_for(
    api: &TenantApi,
    id: DestinationId,
    token: &SecretDigest,
) -> Result<bool, Problem> {
    let (state, _) = DestinationState::of(api.store(), api.workspace(), id).await?;
    Ok(confirmed_by(&state, token, SystemClock.now()).is_some())
}

/// Confirms the destination by that token; `false` where it confirms nothing.
async fn redeem(api: TenantApi, id: DestinationId, token: SecretDigest) -> Result<bool, Problem> {
    let (state, _) = DestinationState::of(api.store(), api.workspace(), id).await?;
    let Some(asked) = confirmed_by(&state, &token, SystemClock.now()).cloned() else {
        return Ok(false);
    };
    to_its_end(async move {
        // The token goes last, so that a call that fails on the way can be made again.
        if !activate(&api, id, &asked).await? {
            return Ok(false);
        }
        let now = SystemClock.now();
        let confirmed = DestinationState::change(api.store(), api.workspace(), id, |state| {
            confirmed_by(state, &token, now)?;
            state.verified = Some(Verified { at: now, url: asked.url });
            state.confirmation = None;
            Some(())
        });
        Ok(confirmed.await?.is_some())
    })
    .await
}

/// Has events be delivered that waited for the confirmation; `false` where it is of another URL than
/// the destination has now.
async fn activate(
    api: &TenantApi,
    id: DestinationId,
    asked: &Confirmation,
) -> Result<bool, Problem> {
    let (destination, _) = find(api, id).await?;
    let is_of = |destination: &Destination| destination.url_digest() == asked.url;
    if destination.status != Status::Unverified {
        return Ok(is_of(&destination));
    }
    let name = id.to_string();
    let changed = definitions::change_by(api, &name, |before: &Destination| {
        let mut destination = before.clone();
        if destination.status == Status::Unverified && is_of(before) {
            destination.status = Status::Active;
        }
        Ok(destination)
    });
    Ok(is_of(&changed.await?.now))
}
