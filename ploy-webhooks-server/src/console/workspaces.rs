//! Workspaces, for the root token: listed, made, chosen to act in, deleted.

use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use http::header::SET_COOKIE;
use serde::Deserialize;
use serde_json::json;

use super::endpoints::faulty;
use super::fault::Fault;
use super::form::{Fields, Posted};
use super::page::{self, Frame, Listing, Pages, Section, html, notice};
use super::refusal::Refusal;
use super::session::Chosen;
use super::text::Text;
use super::time::Moment;
use super::visitor::Visitor;
use super::{Console, ROOT};
use crate::api_client::Call;

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/workspaces", get(list).post(create))
        .route("/workspaces/{id}/choose", post(choose))
        .route("/workspaces/{id}/delete", post(delete))
}

/// A workspace, as the API answers it.
#[derive(Debug, Deserialize)]
struct Workspace {
    id: Text,
    name: Text,
    created_at: Option<Moment>,
}

impl Workspace {
    fn url(&self, what: &str) -> String {
        page::url(&["workspaces", self.id.raw(), what])
    }

    fn title(&self) -> &Text {
        if self.name.is_empty() { &self.id } else { &self.name }
    }

    /// The one that is there without being made: it cannot be deleted.
    fn is_default(&self) -> bool {
        self.created_at.is_none()
    }
}

#[derive(Template)]
#[template(path = "workspaces.html")]
struct WorkspacesPage {
    frame: Frame,
    notice: Option<&'static str>,
    fault: Fault,
    new_name: String,
    chosen: String,
    workspaces: Vec<Workspace>,
    pages: Pages,
}

async fn list(visitor: Visitor, query: Fields) -> Result<Response, Refusal> {
    answer(&visitor, &query, String::new(), Fault::default()).await
}

async fn answer(
    visitor: &Visitor,
    query: &Fields,
    name: String,
    fault: Fault,
) -> Result<Response, Refusal> {
    visitor.require_root()?;
    let call = page::list("workspaces", query);
    let found: Listing<Workspace> = visitor.api_of_token().read(call).await?;
    let chosen = visitor.session.workspace.as_ref();
    let page = WorkspacesPage {
        frame: visitor.frame(Section::Workspaces),
        notice: notice(query),
        pages: Pages::of("/console/workspaces", query, &[], found.next_cursor.as_deref()),
        chosen: chosen.map(|chosen| chosen.id.clone()).unwrap_or_default(),
        workspaces: found.data,
        fault,
        new_name: name,
    };
    Ok(html(page.fault.status(), &page))
}

async fn create(Posted { visitor, fields }: Posted) -> Result<Response, Refusal> {
    let name = fields.get("name");
    let body = json!({ "name": name }).to_string();
    match visitor.api_of_token().done(Call::post(&["workspaces"]).json(body)).await {
        Ok(()) => Ok(page::done(&["workspaces"], "created")),
        Err(error) => answer(&visitor, &Fields::default(), name.to_owned(), faulty(error)?).await,
    }
}

/// The session goes on in that workspace, until it would have ended anyway.
async fn choose(Path(id): Path<String>, posted: Posted) -> Result<Response, Refusal> {
    let mut visitor = posted.visitor;
    let call = Call::get(&["workspaces", &id]);
    let workspace: Workspace = visitor.api_of_token().read(call).await?;
    visitor.session.workspace = (!workspace.is_default()).then(|| Chosen {
        id: workspace.id.raw().to_owned(),
        name: workspace.title().raw().to_owned(),
    });
    let cookie = visitor.session.cookie(&visitor.console);
    Ok(([(SET_COOKIE, cookie)], Redirect::to(ROOT)).into_response())
}

async fn delete(
    Path(id): Path<String>,
    Posted { mut visitor, fields }: Posted,
) -> Result<Response, Refusal> {
    let api = visitor.api_of_token();
    let workspace: Workspace = api.read(Call::get(&["workspaces", &id])).await?;
    let nowhere = Fields::default();
    if fields.trimmed("confirm") != workspace.title().raw().trim() {
        let why = "type the name of the workspace as it stands there, to delete it";
        let fault = Fault::at_member("confirm", why);
        return answer(&visitor, &nowhere, String::new(), fault).await;
    }
    if let Err(error) = api.done(Call::delete(&["workspaces", &id])).await {
        return answer(&visitor, &nowhere, String::new(), faulty(error)?).await;
    }
    let gone = page::done(&["workspaces"], "deleted");
    if visitor.session.workspace.as_ref().is_none_or(|chosen| chosen.id != id) {
        return Ok(gone);
    }
    visitor.session.workspace = None;
    Ok(([(SET_COOKIE, visitor.session.cookie(&visitor.console))], gone).into_response())
}
