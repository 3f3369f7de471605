//! `/destinations`: where events are delivered to; made, shown, changed, tried, confirmed, deleted.

mod confirm;
mod form;
mod retry;
mod sample;
mod view;

use std::num::NonZeroU16;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use ploy_webhooks::store::DefinitionKind;
use ploy_webhooks::{
    Action, Clock, DestinationId, Revision, Secret, SignatureAuthError, Subscription, SystemClock,
};
use ploy_webhooks_delivery::{Destination, DestinationForm, DestinationState};

use self::form::{Changes, newest_secret, rotated};
use self::view::{View, states};
use super::caller::TenantApi;
use super::definitions::{self, Changed, Defines, PageOf};
use super::id::Id;
use super::json::{Json, JsonBody, OptionalJsonBody};
use super::openapi::{self, call, call_on, nouns};
use super::page::List;
use super::problem::Problem;
use super::query::{NoParameters, Parameters};
use super::rotation::Rotation;
use super::routing::{self, Call};
use super::to_its_end::to_its_end;

const PAGE: NonZeroU16 = NonZeroU16::new(200).expect("it is not zero");

impl Defines for Destination {
    const KIND: DefinitionKind = DefinitionKind::Destination;

    const SETTINGS: &[&str] = &["headers", "rate", "retry", "signing"];

    /// What is kept was checked when it was sealed.
    fn check(&self, _: Option<&Self>, _: &TenantApi) -> Result<(), Problem> {
        Ok(())
    }
}

pub(super) fn calls() -> [Call; 9] {
    [
        routing::get(
            "/destinations",
            list,
            call("list_destinations", "The destinations of the workspace, the oldest first.")
                .answers::<List<View>>()
                .pages(),
        ),
        routing::post(
            "/destinations",
            create,
            call("create_destination", "Say where events are delivered to.")
                .creates::<View>()
                .takes::<nouns::Destination>()
                .conflicts(),
        ),
        routing::get(
            "/destinations/{id}",
            show,
            call_on::<nouns::DestinationId>("show_destination", "A destination, and how it goes.")
                .answers::<View>()
                .conflicts(),
        ),
        routing::patch(
            "/destinations/{id}",
            patch,
            call_on::<nouns::DestinationId>("change_destination", "Change a destination.")
                .answers::<View>()
                .details("To give a status is to enable it again, if it was disabled.")
                .takes::<openapi::Changes<nouns::Destination>>()
                .conflicts(),
        ),
        routing::delete(
            "/destinations/{id}",
            delete,
            call_on::<nouns::DestinationId>("delete_destination", "Delete a destination.")
                .answers_nothing()
                .details("Subscriptions that deliver there have to be deleted before.")
                .conflicts(),
        ),
        routing::post(
            "/destinations/{id}/rotate",
            rotate,
            call_on::<nouns::DestinationId>("rotate_destination", "Sign with a new secret.")
                .answers::<View>()
                .may_take::<Rotation>()
                .conflicts(),
        ),
        routing::post(
            "/destinations/{id}/test",
            sample::test,
            call_on::<nouns::DestinationId>("test_destination", "Send something there, to try it.")
                .answers::<nouns::Record>()
                .may_take::<sample::SampleForm>()
                .conflicts(),
        ),
        routing::post(
            "/destinations/{id}/verify",
            confirm::verify,
            call_on::<nouns::DestinationId>(
                "verify_destination",
                "Ask whoever receives there whether they want to.",
            )
            .answers::<confirm::Verification>()
            .conflicts(),
        ),
        routing::post(
            "/destinations/{id}/retry",
            retry::retry,
            call_on::<nouns::DestinationId>(
                "retry_deliveries",
                "Try again what was not delivered there, the newest first.",
            )
            .answers::<retry::Retried>()
            .details("500 runs a call at most: go on while there is a `next_cursor`.")
            .may_take::<retry::RetryForm>(),
        ),
    ]
}

/// The calls that need no token of the API.
pub(super) fn open_calls() -> [Call; 1] {
    [routing::get(
        "/destinations/{id}/confirm",
        confirm::confirm,
        call_on::<nouns::DestinationId>(
            "confirm_destination",
            "Follow the link that was sent there.",
        )
        .answers_any("text/plain", "It is confirmed that events may be delivered.")
        .query::<String>("workspace", "As it is in the link.")
        .query::<String>("token", "As it is in the link.")
        .open()
        .refuses(&[404, 409, 503]),
    )]
}

async fn create(
    api: TenantApi,
    _: NoParameters,
    JsonBody(form): JsonBody<DestinationForm>,
) -> Result<Response, Problem> {
    require_room(&api).await?;
    let (now, minted) = (SystemClock.now(), Secret::mint_signing_secret());
    let id = DestinationId::mint(now);
    let destination = form.seal(id, None, api.keyring(), &minted, now).map_err(Problem::invalid)?;
    let secret = newest_secret(&api, id, None, &destination.signing)?;
    let made = definitions::make(&api, &id.to_string(), &destination).await?;
    let revision = made.ok_or(Problem::conflict("the id is taken; try again"))?;
    let state = DestinationState::default();
    let view = View::of(id, revision, &destination, &state).with_secret(secret.as_ref());
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// Refuses one more than a workspace may have. Counted in pages: what is in them may be large.
async fn require_room(api: &TenantApi) -> Result<(), Problem> {
    let (mut count, mut after) = (0, None::<String>);
    loop {
        let page =
            api.store().definitions(api.workspace(), Destination::KIND, after.as_deref(), PAGE);
        let page = page.await?;
        count += page.len();
        if count >= usize::from(DestinationForm::COUNT_MAX) {
            return Err(Problem::conflict("a workspace has at most 1000 destinations: delete one"));
        }
        if page.len() < usize::from(PAGE.get()) {
            return Ok(());
        }
        after = page.into_iter().next_back().map(|last| last.name);
    }
}

async fn list(api: TenantApi, parameters: Parameters) -> Result<Response, Problem> {
    let page = PageOf::take(parameters)?;
    let List { data, next_cursor } = definitions::page::<Destination>(&api, &page).await?;
    let last = data.last().map(|(name, ..)| name.as_str());
    let states = states(&api, page.after.as_deref(), last).await?;
    let usual = DestinationState::default();
    let data = data.iter().map(|(name, revision, destination)| {
        let id = name.parse().expect("destinations are kept under their ids");
        View::of(id, *revision, destination, states.get(name).unwrap_or(&usual))
    });
    Ok(Json(List { data: data.collect(), next_cursor }).into_response())
}

async fn show(
    api: TenantApi,
    Id(id): Id<DestinationId>,
    _: NoParameters,
) -> Result<Response, Problem> {
    let (destination, revision) = find(&api, id).await?;
    answer(&api, id, revision, &destination, None).await
}

/// To give a status is to enable it again, if it was disabled.
async fn patch(
    api: TenantApi,
    Id(id): Id<DestinationId>,
    _: NoParameters,
    JsonBody(changes): JsonBody<Changes>,
) -> Result<Response, Problem> {
    to_its_end(async move {
        let (now, minted) = (SystemClock.now(), Secret::mint_signing_secret());
        let changed = |before: &Destination| {
            let form = changes.apply_to(before)?;
            form.seal(id, Some(before), api.keyring(), &minted, now).map_err(Problem::invalid)
        };
        if changes.has_status() {
            // Before all else: what fails after it can be made again, and a new secret that was set
            // is in the answer.
            changed(&find(&api, id).await?.0)?;
            let enable = |state: &mut DestinationState| {
                (state.disabled, state.failing_since) = (None, None);
                Some(())
            };
            DestinationState::change(api.store(), api.workspace(), id, enable).await?;
        }
        let Changed { before, now, revision } =
            definitions::change_by(&api, &id.to_string(), changed).await?;
        let secret = newest_secret(&api, id, Some(&before.signing), &now.signing)?;
        answer(&api, id, revision, &now, secret.as_ref()).await
    })
    .await
}

async fn rotate(
    api: TenantApi,
    Id(id): Id<DestinationId>,
    _: NoParameters,
    OptionalJsonBody(rotation): OptionalJsonBody<Rotation>,
) -> Result<Response, Problem> {
    let (given, overlap) = rotation.into_parts()?;
    let secret = given.unwrap_or_else(Secret::mint_signing_secret);
    let Changed { now, revision, .. } =
        definitions::change_by(&api, &id.to_string(), |before: &Destination| {
            rotated(&api, id, before, &secret, overlap)
        })
        .await?;
    answer(&api, id, revision, &now, Some(&secret)).await
}

async fn delete(
    api: TenantApi,
    Id(id): Id<DestinationId>,
    _: NoParameters,
) -> Result<StatusCode, Problem> {
    if let Some(subscription) = subscription_to(&api, id).await? {
        return Err(Problem::conflict(format!(
            "the subscription {subscription} delivers there: delete it, or have it deliver \
             elsewhere, then delete the destination"
        )));
    }
    to_its_end(async move {
        let (store, workspace, name) = (api.store(), api.workspace(), id.to_string());
        let was_there = store.undefine(workspace, Destination::KIND, &name).await?;
        store.undefine(workspace, DefinitionKind::DestinationState, &name).await?;
        if was_there { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::NotFound) }
    })
    .await
}

/// The name of a subscription that delivers there, if one does.
async fn subscription_to(api: &TenantApi, id: DestinationId) -> Result<Option<String>, Problem> {
    let mut after: Option<String> = None;
    loop {
        let page =
            api.store().definitions(api.workspace(), Subscription::KIND, after.as_deref(), PAGE);
        let page = page.await?;
        for definition in &page {
            let subscription: Subscription = definitions::read(definition)?;
            if subscription.action == Action::Destination(id) {
                return Ok(Some(definition.name.clone()));
            }
        }
        if page.len() < usize::from(PAGE.get()) {
            return Ok(None);
        }
        after = page.into_iter().next_back().map(|last| last.name);
    }
}

/// The destination of that id, and its revision.
async fn find(api: &TenantApi, id: DestinationId) -> Result<(Destination, Revision), Problem> {
    definitions::find(api, &id.to_string()).await?.ok_or(Problem::NotFound)
}

/// Refuses what would deliver to a destination that is not there.
pub(super) async fn require(api: &TenantApi, id: DestinationId) -> Result<(), Problem> {
    match api.store().definition(api.workspace(), Destination::KIND, &id.to_string()).await? {
        Some(_) => Ok(()),
        None => Err(Problem::invalid(format!(
            "`destination`: there is no destination {id}: make it first"
        ))),
    }
}

async fn answer(
    api: &TenantApi,
    id: DestinationId,
    revision: Revision,
    destination: &Destination,
    secret: Option<&Secret>,
) -> Result<Response, Problem> {
    let (state, _) = DestinationState::of(api.store(), api.workspace(), id).await?;
    let view = View::of(id, revision, destination, &state).with_secret(secret);
    Ok(Json(view).into_response())
}

/// What is sent by hand is waited for, and so not for as long as a delivery may take.
fn hasty(mut destination: Destination) -> Destination {
    const WAIT_MAX: std::time::Duration = std::time::Duration::from_secs(60);
    destination.time_limit = destination.time_limit.min(WAIT_MAX);
    destination
}

/// The operator's keyring is not the one that the secrets were sealed with, or the store was
/// tampered with.
fn unopened(error: SignatureAuthError) -> Problem {
    tracing::error!(%error, "the secrets of a destination cannot be opened");
    Problem::conflict("the secrets of this destination cannot be opened: set them anew")
}
