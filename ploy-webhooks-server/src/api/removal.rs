//! What goes with a workspace that is deleted.

use std::num::NonZeroU16;

use ploy_webhooks::store::{DefinitionKind, Expired, PageSize, RunQuery, Sweep};
use ploy_webhooks::{RunState, WorkspaceId};

use super::definitions::{self, Defines};
use super::problem::Problem;
use super::token::Token;
use crate::store::Store;

const PAGE: NonZeroU16 = NonZeroU16::new(200).expect("it is not zero");

/// Revokes the tokens of a workspace, and deletes all that is in it.
pub(super) async fn empty(store: &dyn Store, workspace: &WorkspaceId) -> Result<(), Problem> {
    revoke_tokens(store, workspace).await?;
    loop {
        let endpoints = store.endpoints(workspace, None, PAGE).await?;
        if endpoints.is_empty() {
            break;
        }
        for endpoint in &endpoints {
            store.delete(workspace, &endpoint.id).await?;
        }
    }
    for kind in DefinitionKind::ALL {
        undefine_all(store, workspace, kind).await?;
    }
    store.forget_history(workspace).await?;
    remove_published(store, workspace).await
}

/// Removes what the app has published, with what it owes: nobody may look at it any more.
async fn remove_published(store: &dyn Store, workspace: &WorkspaceId) -> Result<(), Problem> {
    for state in RunState::ALL.into_iter().filter(|state| state.is_in_line()) {
        call_off_all(store, workspace, state).await?;
    }
    let mut sweep = Sweep::published(*workspace);
    while let Expired::Swept { next: Some(next), .. } = store.expire(&sweep).await? {
        sweep = sweep.from(next);
    }
    Ok(())
}

/// Calls the runs in that state off, so that their events may go.
async fn call_off_all(
    store: &dyn Store,
    workspace: &WorkspaceId,
    state: RunState,
) -> Result<(), Problem> {
    let mut query = RunQuery::all(*workspace);
    query.state = Some(state);
    query.limit = PageSize::MAX;
    let mut next = Some(query);
    while let Some(query) = next {
        let page = store.list_runs(&query).await?;
        for run in &page.items {
            // One that has ended meanwhile is not in the way either.
            let _over = store.cancel(workspace, &run.id).await?;
        }
        next = page.next;
    }
    Ok(())
}

/// Has no token open the workspace any more.
pub(super) async fn revoke_tokens(
    store: &dyn Store,
    workspace: &WorkspaceId,
) -> Result<(), Problem> {
    const ROOT: &WorkspaceId = &WorkspaceId::ROOT;
    let mut after: Option<String> = None;
    loop {
        let listed = store.definitions(ROOT, Token::KIND, after.as_deref(), PAGE).await?;
        let Some(last) = listed.last() else {
            return Ok(());
        };
        after = Some(last.name.clone());
        for definition in &listed {
            let Ok(token) = definitions::read::<Token>(definition) else {
                tracing::warn!(
                    token = definition.name,
                    "a token cannot be read, and is left alone"
                );
                continue;
            };
            if token.workspace == *workspace {
                store.undefine(ROOT, Token::KIND, &definition.name).await?;
            }
        }
    }
}

async fn undefine_all(
    store: &dyn Store,
    workspace: &WorkspaceId,
    kind: DefinitionKind,
) -> Result<(), Problem> {
    loop {
        let listed = store.definitions(workspace, kind, None, PAGE).await?;
        if listed.is_empty() {
            return Ok(());
        }
        for definition in &listed {
            store.undefine(workspace, kind, &definition.name).await?;
        }
    }
}
