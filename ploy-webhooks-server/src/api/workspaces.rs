//! `/workspaces`: tenants. For the root token alone.
//!
//! The default workspace is there without being kept, until somebody changes it.

use std::num::NonZeroU16;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use ploy_webhooks::store::{DefinitionKind, StoreError};
use ploy_webhooks::{
    Clock, Revision, SystemClock, Workspace, WorkspaceId, WorkspaceLimits, rewire,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::caller::{RootApi, TenantApi};
use super::definitions::{self, Called, Defines, PageOf, View};
use super::id::Id;
use super::json::{Json, JsonBody};
use super::openapi::{Changes, call, call_on, nouns};
use super::page::{List, to_cursor};
use super::problem::Problem;
use super::query::{NoParameters, Parameters};
use super::removal;
use super::routing::{self, Call};
use super::time::Rfc3339;
use super::to_its_end::to_its_end;

impl Defines for Workspace {
    const KIND: DefinitionKind = DefinitionKind::Workspace;

    const SETTINGS: &[&str] = &["limits"];

    fn check(&self, _: Option<&Self>, _: &TenantApi) -> Result<(), Problem> {
        self.check().map_err(Problem::invalid)
    }
}

pub(super) fn calls() -> [Call; 5] {
    [
        routing::get(
            "/workspaces",
            list,
            call("list_workspaces", "The workspaces, the default one first.")
                .answers::<List<Described>>()
                .pages()
                .for_root(),
        ),
        routing::post(
            "/workspaces",
            create,
            call("create_workspace", "Make a workspace.")
                .creates::<Described>()
                .takes::<NewWorkspace>()
                .conflicts()
                .for_root(),
        ),
        routing::get(
            "/workspaces/{id}",
            show,
            call_on::<nouns::WorkspaceId>("show_workspace", "A workspace and its bounds.")
                .answers::<Described>()
                .for_root(),
        ),
        routing::patch(
            "/workspaces/{id}",
            patch,
            call_on::<nouns::WorkspaceId>("change_workspace", "Rename a workspace, or bound it.")
                .answers::<Described>()
                .takes::<Changes<NewWorkspace>>()
                .conflicts()
                .for_root(),
        ),
        routing::delete(
            "/workspaces/{id}",
            delete,
            call_on::<nouns::WorkspaceId>("delete_workspace", "Delete a workspace.")
                .answers_nothing()
                .details(
                    "Its tokens and all that is defined in it go with it. Its endpoints have to \
                    be deleted before.",
                )
                .conflicts()
                .for_root(),
        ),
    ]
}

/// The body of `POST /workspaces`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewWorkspace {
    #[schemars(with = "nouns::WorkspaceName")]
    name: String,
    #[serde(default)]
    #[schemars(with = "nouns::WorkspaceLimits")]
    limits: WorkspaceLimits,
}

/// What is shown of a workspace beside its id and revision.
#[derive(Debug, Serialize, JsonSchema)]
struct Shown<'a> {
    name: &'a str,
    /// `null` for the default one, which nobody has made.
    created_at: Option<Rfc3339>,
    #[schemars(with = "nouns::WorkspaceLimits")]
    limits: &'a WorkspaceLimits,
}

/// The form of a [`View`] of one, for its schema.
#[derive(JsonSchema)]
#[schemars(rename = "Workspace")]
#[expect(dead_code, reason = "a schema is made of it, and nothing else")]
struct Described {
    id: nouns::WorkspaceId,
    revision: nouns::Revision,
    #[serde(flatten)]
    shown: Shown<'static>,
}

async fn create(
    root: RootApi,
    _: NoParameters,
    JsonBody(NewWorkspace { name, limits }): JsonBody<NewWorkspace>,
) -> Result<Response, Problem> {
    let now = SystemClock.now();
    let id = WorkspaceId::mint(now);
    let mut workspace = Workspace::new(name, now);
    workspace.limits = limits;
    let made = definitions::make(&root.definitions, &id.to_string(), &workspace).await?;
    let revision = made.ok_or(Problem::conflict("the id is taken; try again"))?;
    Ok((StatusCode::CREATED, view(id, revision, &workspace)).into_response())
}

async fn list(root: RootApi, parameters: Parameters) -> Result<Response, Problem> {
    let page = PageOf::take(parameters)?;
    let mut found: List<(String, Revision, Workspace)> =
        definitions::page(&root.definitions, &page).await?;
    add_default(&mut found, &page);
    let data = found.data.iter().map(|(id, revision, workspace)| View {
        called: Called::Id(id),
        revision: *revision,
        defined: Shown::of(workspace),
    });
    Ok(Json(List { data: data.collect(), next_cursor: found.next_cursor }).into_response())
}

/// Puts the default workspace first, where nobody has changed it: it is listed all the same.
fn add_default(found: &mut List<(String, Revision, Workspace)>, page: &PageOf) {
    let id = WorkspaceId::DEFAULT.to_string();
    let is_kept = found.data.first().is_some_and(|(first, ..)| *first == id);
    if page.after.is_some() || is_kept {
        return;
    }
    found.data.insert(0, (id, Revision::FIRST, Workspace::default()));
    if found.data.len() > page.limit.get() {
        found.data.truncate(page.limit.get());
        found.next_cursor = found.data.last().map(|(last, ..)| to_cursor(last));
    }
}

async fn show(
    root: RootApi,
    Id(id): Id<WorkspaceId>,
    _: NoParameters,
) -> Result<Response, Problem> {
    let found = definitions::find(&root.definitions, &id.to_string()).await?;
    let unchanged = (id == WorkspaceId::DEFAULT).then(|| (Workspace::default(), Revision::FIRST));
    let (workspace, revision) = found.or(unchanged).ok_or(Problem::NotFound)?;
    Ok(view(id, revision, &workspace))
}

async fn patch(
    root: RootApi,
    Id(id): Id<WorkspaceId>,
    _: NoParameters,
    JsonBody(changes): JsonBody<Map<String, Value>>,
) -> Result<Response, Problem> {
    if let Some(name) = changes.keys().find(|name| !matches!(name.as_str(), "name" | "limits")) {
        let detail = format!("unknown field `{name}`, expected `name` or `limits`");
        return Err(Problem::ValidationFailed(detail));
    }
    to_its_end(async move {
        let api = &root.definitions;
        if id == WorkspaceId::DEFAULT {
            // Where it is kept already, nothing is made.
            definitions::make(api, &id.to_string(), &Workspace::default()).await?;
        }
        let changed = definitions::change::<Workspace>(api, &id.to_string(), &changes).await?;
        // Also where they are what they were: the change may be made again, since it failed on
        // the way.
        if changes.contains_key("limits") {
            settle(api, &id).await?;
        }
        Ok(view(id, changed.revision, &changed.now))
    })
    .await
}

/// Has the bounds hold for every endpoint of the workspace, on every node.
async fn settle(api: &TenantApi, id: &WorkspaceId) -> Result<(), StoreError> {
    rewire(api.store(), id, &[]).await.inspect_err(|error| {
        tracing::error!(%error, "the bounds of a workspace do not hold everywhere yet");
    })
}

/// What is made in the workspace while it is deleted goes with it.
async fn delete(
    root: RootApi,
    Id(id): Id<WorkspaceId>,
    _: NoParameters,
) -> Result<StatusCode, Problem> {
    if id == WorkspaceId::DEFAULT {
        return Err(Problem::conflict("the default workspace is always there"));
    }
    let api = root.definitions;
    definitions::find::<Workspace>(&api, &id.to_string()).await?.ok_or(Problem::NotFound)?;
    if !api.store().endpoints(&id, None, NonZeroU16::MIN).await?.is_empty() {
        return Err(Problem::conflict(
            "the workspace has endpoints, and with them their history: delete them first",
        ));
    }
    to_its_end(async move {
        // First what opens it: a deletion that fails on the way leaves nobody in.
        removal::revoke_tokens(api.store(), &id).await?;
        // Twice: what fails the first time can be asked for again, and what is made meanwhile goes
        // the second time.
        removal::empty(api.store(), &id).await?;
        let was_there =
            api.store().undefine(api.workspace(), Workspace::KIND, &id.to_string()).await?;
        removal::empty(api.store(), &id).await?;
        was_there.then_some(StatusCode::NO_CONTENT).ok_or(Problem::NotFound)
    })
    .await
}

fn view(id: WorkspaceId, revision: Revision, workspace: &Workspace) -> Response {
    let called = id.to_string();
    let defined = Shown::of(workspace);
    Json(View { called: Called::Id(&called), revision, defined }).into_response()
}

impl<'a> Shown<'a> {
    fn of(Workspace { name, created_at, limits, .. }: &'a Workspace) -> Self {
        let was_made = *created_at != WorkspaceId::DEFAULT.timestamp();
        Self { name, created_at: was_made.then_some(Rfc3339(*created_at)), limits }
    }
}
