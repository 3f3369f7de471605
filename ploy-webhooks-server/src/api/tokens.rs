//! `/tokens`: what opens the management API for one workspace. For the root token alone.

use std::num::NonZeroU64;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use ploy_webhooks::store::PageSize;
use ploy_webhooks::{Clock, Secret, SystemClock, Timestamp, TokenId, Workspace, WorkspaceId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::caller::{RootApi, Scope};
use super::definitions::{self, Defines};
use super::id::Id;
use super::json::{Json, JsonBody};
use super::openapi::{call, call_on, nouns};
use super::page::{List, take_cursor, take_limit, to_cursor};
use super::problem::Problem;
use super::query::{NoParameters, Parameters};
use super::routing::{self, Call};
use super::time::{self, Rfc3339};
use super::token::Token;

pub(super) fn calls() -> [Call; 4] {
    [
        routing::get(
            "/tokens",
            list,
            call("list_tokens", "The tokens of all workspaces, or of one.")
                .answers::<List<View>>()
                .query::<nouns::WorkspaceId>("workspace", "Only tokens that open this workspace.")
                .pages()
                .for_root(),
        ),
        routing::post(
            "/tokens",
            create,
            call("create_token", "Mint a token, which is shown this once.")
                .creates::<View>()
                .takes::<NewToken>()
                .conflicts()
                .for_root(),
        ),
        routing::get(
            "/tokens/{id}",
            show,
            call_on::<nouns::TokenId>("show_token", "What a token opens.")
                .answers::<View>()
                .for_root(),
        ),
        routing::delete(
            "/tokens/{id}",
            delete,
            call_on::<nouns::TokenId>("revoke_token", "Revoke a token, on all nodes at once.")
                .answers_nothing()
                .for_root(),
        ),
    ]
}

/// The body of `POST /tokens`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewToken {
    /// The one in which the caller acts, where it is left out.
    #[schemars(with = "Option<nouns::WorkspaceId>")]
    workspace: Option<WorkspaceId>,
    scope: Scope,
    #[serde(default)]
    #[schemars(with = "nouns::Description")]
    description: String,
    /// A time that is to come. Not beside `expires_in_seconds`.
    #[schemars(with = "Option<nouns::Time>")]
    expires_at: Option<String>,
    expires_in_seconds: Option<NonZeroU64>,
}

/// A token as callers see it: never its digest, itself only in the answer that mints it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Token")]
struct View<'a> {
    #[schemars(with = "nouns::TokenId")]
    id: TokenId,
    #[schemars(with = "nouns::WorkspaceId")]
    workspace: WorkspaceId,
    scope: Scope,
    description: &'a str,
    created_at: Rfc3339,
    expires_at: Option<Rfc3339>,
    /// The token itself, in the answer that mints it.
    #[schemars(with = "&str")]
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

/// Where a list goes on, and what it is a list of.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Position {
    workspace: Option<WorkspaceId>,
    after: TokenId,
}

async fn create(
    root: RootApi,
    _: NoParameters,
    JsonBody(form): JsonBody<NewToken>,
) -> Result<Response, Problem> {
    let now = SystemClock.now();
    let (secret, expires_at) = (Secret::mint_token(), form.expires_at(now)?);
    let token = Token {
        workspace: form.workspace.unwrap_or(root.acts_in),
        scope: form.scope,
        description: form.description,
        digest: secret.digest(),
        created_at: now,
        expires_at,
    };
    let api = &root.definitions;
    require_workspace(&root, &token.workspace).await?;
    let id = TokenId::of(&token.digest);
    let made = definitions::make(api, &id.to_string(), &token).await?;
    made.ok_or(Problem::conflict("the token is taken; try again"))?;
    // A workspace that was deleted meanwhile has had its tokens revoked before this one was made.
    if let Err(problem) = require_workspace(&root, &token.workspace).await {
        api.store().undefine(api.workspace(), Token::KIND, &id.to_string()).await?;
        return Err(problem);
    }
    let view = View { token: Some(secret.expose()), ..View::of(&token) };
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

async fn list(root: RootApi, mut parameters: Parameters) -> Result<Response, Problem> {
    let workspace = parameters.take("workspace", str::parse::<WorkspaceId>)?;
    let limit = take_limit(&mut parameters)?.unwrap_or(PageSize::DEFAULT);
    let cursor = take_cursor::<Position>(&mut parameters)?;
    parameters.finish()?;
    if cursor.as_ref().is_some_and(|position| position.workspace != workspace) {
        return Err(Problem::invalid(
            "`workspace` differs from that which the cursor was made for; give the same, or begin \
             without the cursor",
        ));
    }
    let after = cursor.map(|position| position.after.to_string());
    let mut tokens = of_workspace(&root, workspace, after, limit).await?;
    let has_more = tokens.len() > limit.get();
    tokens.truncate(limit.get());
    let data: Vec<_> = tokens.iter().map(View::of).collect();
    let last = data.last().filter(|_| has_more);
    let next_cursor = last.map(|last| to_cursor(&Position { workspace, after: last.id }));
    Ok(Json(List { data, next_cursor }).into_response())
}

/// The tokens after that one, of one workspace or of all: so many and one more, if there are.
async fn of_workspace(
    root: &RootApi,
    workspace: Option<WorkspaceId>,
    mut after: Option<String>,
    limit: PageSize,
) -> Result<Vec<Token>, Problem> {
    let api = &root.definitions;
    let mut found = Vec::new();
    loop {
        let listed = api.store().definitions(
            api.workspace(),
            Token::KIND,
            after.as_deref(),
            PageSize::MAX.one_more(),
        );
        let listed = listed.await?;
        let Some(last) = listed.last() else {
            return Ok(found);
        };
        after = Some(last.name.clone());
        for definition in &listed {
            let token: Token = definitions::read(definition)?;
            if workspace.is_none_or(|workspace| workspace == token.workspace) {
                found.push(token);
            }
            if found.len() > limit.get() {
                return Ok(found);
            }
        }
    }
}

async fn show(root: RootApi, Id(id): Id<TokenId>, _: NoParameters) -> Result<Response, Problem> {
    let found = definitions::find::<Token>(&root.definitions, &id.to_string()).await?;
    let (token, _) = found.ok_or(Problem::NotFound)?;
    Ok(Json(View::of(&token)).into_response())
}

async fn delete(
    root: RootApi,
    Id(id): Id<TokenId>,
    _: NoParameters,
) -> Result<StatusCode, Problem> {
    let api = &root.definitions;
    match api.store().undefine(api.workspace(), Token::KIND, &id.to_string()).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::NotFound),
    }
}

async fn require_workspace(root: &RootApi, id: &WorkspaceId) -> Result<(), Problem> {
    let found = Workspace::look_up(root.definitions.store(), id).await?;
    found.map(drop).ok_or_else(|| Problem::invalid(format!("`workspace`: there is no `{id}`")))
}

impl NewToken {
    fn expires_at(&self, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
        match (&self.expires_at, self.expires_in_seconds) {
            (None, None) => Ok(None),
            (None, Some(seconds)) => Ok(Some(now.after(Duration::from_secs(seconds.get())))),
            (Some(text), None) => match time::parse(text) {
                Ok(expires_at) => Ok(Some(expires_at)),
                Err(error) => Err(Problem::invalid(format!("`expires_at` is {error}"))),
            },
            (Some(_), Some(_)) => {
                Err(Problem::invalid("give `expires_at` or `expires_in_seconds`, not both"))
            }
        }
    }
}

impl<'a> View<'a> {
    fn of(token: &'a Token) -> Self {
        Self {
            id: TokenId::of(&token.digest),
            workspace: token.workspace,
            scope: token.scope,
            description: &token.description,
            created_at: Rfc3339(token.created_at),
            expires_at: token.expires_at.map(Rfc3339),
            token: None,
        }
    }
}
