//! `/ploybooks`: what triggers name.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use ploy_webhooks::store::DefinitionKind;
use ploy_webhooks::{Means, Ploybook, PloybookName, Revision};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Commands;
use super::caller::TenantApi;
use super::definitions::{self, Called, Defines, PageOf, View};
use super::id::Id;
use super::json::{Json, JsonBody, of_members};
use super::openapi::nouns::{self, NewPloybook, PloybookView};
use super::openapi::{Changes, call, call_on};
use super::page::List;
use super::problem::Problem;
use super::query::{NoParameters, Parameters};
use super::routing::{self, Call};

impl Defines for Ploybook {
    const KIND: DefinitionKind = DefinitionKind::Ploybook;

    const SETTINGS: &[&str] = &["retry"];

    fn check(&self, before: Option<&Self>, api: &TenantApi) -> Result<(), Problem> {
        self.check().map_err(Problem::invalid)?;
        // One that was defined while programs were allowed may be disabled, or described anew.
        let is_new = before.is_none_or(|before| before.run != self.run);
        match (&self.run, api.commands()) {
            (Means::Command { .. }, Commands::Refused) if is_new => Err(Problem::invalid(
                "`run.command`: this server runs no programs: to let Ploybooks run any program as \
                 the server's user, start it with the setting `allow_commands = true`",
            )),
            _ if api.is_root() => Ok(()),
            _ => check_for_tenant(self, before),
        }
    }
}

/// Refuses what reaches beyond a workspace. One that does may be disabled and described anew by who
/// has it in its workspace, and nothing else.
fn check_for_tenant(ploybook: &Ploybook, before: Option<&Ploybook>) -> Result<(), Problem> {
    let is_the_same = before.is_some_and(|before| {
        let mut before = before.clone();
        before.description.clone_from(&ploybook.description);
        before.enabled = ploybook.enabled;
        before == *ploybook
    });
    match [Some(ploybook), before].into_iter().flatten().find_map(reach) {
        Some(why) if !is_the_same => Err(Problem::Forbidden(why)),
        _ => Ok(()),
    }
}

/// The Ploybook as this caller may have it: what a tenant has asked for, and was not so before, is what
/// is public.
fn by_caller(mut ploybook: Ploybook, before: Option<&Ploybook>, api: &TenantApi) -> Ploybook {
    let is_new = before.is_none_or(|before| before.run != ploybook.run);
    if let Means::Http { public_only, .. } = &mut ploybook.run
        && is_new
        && !api.is_root()
    {
        *public_only = true;
    }
    ploybook
}

/// Why a Ploybook is for the root token alone, if it is.
const fn reach(ploybook: &Ploybook) -> Option<&'static str> {
    match &ploybook.run {
        Means::Command { .. } => Some(
            "`run.command`: only the root token has Ploybooks run programs, which reach beyond a \
             workspace",
        ),
        // What a variable of the server holds may be another tenant's.
        Means::Http { secret_env: Some(_), .. } => {
            Some("`run.http.secret_env`: only the root token names variables of the server")
        }
        Means::Http { public_only: false, .. } => Some(
            "`run.http.public_only`: only the root token has Ploybooks reach what is not public",
        ),
        _ => None,
    }
}

pub(super) fn calls() -> [Call; 5] {
    [
        routing::get(
            "/ploybooks",
            list,
            call("list_ploybooks", "The Ploybooks of the workspace, by their names.")
                .answers::<List<PloybookView>>()
                .pages(),
        ),
        routing::post(
            "/ploybooks",
            create,
            call("create_ploybook", "Define a Ploybook.")
                .creates::<PloybookView>()
                .takes::<NewPloybook>()
                .conflicts(),
        ),
        routing::get(
            "/ploybooks/{name}",
            show,
            call_on::<nouns::PloybookName>("show_ploybook", "A Ploybook.")
                .answers::<PloybookView>(),
        ),
        routing::patch(
            "/ploybooks/{name}",
            patch,
            call_on::<nouns::PloybookName>("change_ploybook", "Change a Ploybook.")
                .answers::<PloybookView>()
                .takes::<Changes<nouns::Ploybook>>()
                .conflicts(),
        ),
        routing::delete(
            "/ploybooks/{name}",
            delete,
            call_on::<nouns::PloybookName>("delete_ploybook", "Delete a Ploybook.")
                .answers_nothing()
                .details("What is wired to it fails from now on, and says so."),
        ),
    ]
}

/// What the body of `POST /ploybooks` has beside the Ploybook.
#[derive(Debug, Deserialize)]
struct Named {
    name: PloybookName,
}

async fn create(
    api: TenantApi,
    _: NoParameters,
    JsonBody(mut form): JsonBody<Map<String, Value>>,
) -> Result<Response, Problem> {
    let Named { name } = of_members(form.remove_entry("name").into_iter().collect())?;
    let ploybook = by_caller(of_members(form)?, None, &api);
    match definitions::make(&api, name.as_str(), &ploybook).await? {
        Some(revision) => {
            Ok((StatusCode::CREATED, view(name.as_str(), revision, ploybook)).into_response())
        }
        None => Err(Problem::conflict("there is a Ploybook of that name already: change it")),
    }
}

async fn list(api: TenantApi, parameters: Parameters) -> Result<Response, Problem> {
    let List { data, next_cursor } =
        definitions::page::<Ploybook>(&api, &PageOf::take(parameters)?).await?;
    let data = data.iter().map(|(name, revision, defined)| View {
        called: Called::Name(name),
        revision: *revision,
        defined,
    });
    Ok(Json(List { data: data.collect(), next_cursor }).into_response())
}

async fn show(
    api: TenantApi,
    Id(name): Id<PloybookName>,
    _: NoParameters,
) -> Result<Response, Problem> {
    let found = definitions::find(&api, name.as_str()).await?;
    let (ploybook, revision) = found.ok_or(Problem::NotFound)?;
    Ok(view(name.as_str(), revision, ploybook))
}

async fn patch(
    api: TenantApi,
    Id(name): Id<PloybookName>,
    _: NoParameters,
    JsonBody(changes): JsonBody<Map<String, Value>>,
) -> Result<Response, Problem> {
    let changed = definitions::change_by(&api, name.as_str(), |before: &Ploybook| {
        Ok(by_caller(definitions::patched(before, &changes)?, Some(before), &api))
    });
    let changed = changed.await?;
    Ok(view(name.as_str(), changed.revision, changed.now))
}

/// What is wired to it fails from now on, and says so.
async fn delete(
    api: TenantApi,
    Id(name): Id<PloybookName>,
    _: NoParameters,
) -> Result<StatusCode, Problem> {
    match api.store().undefine(api.workspace(), Ploybook::KIND, name.as_str()).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::NotFound),
    }
}

fn view(name: &str, revision: Revision, defined: Ploybook) -> Response {
    Json(View { called: Called::Name(name), revision, defined }).into_response()
}
