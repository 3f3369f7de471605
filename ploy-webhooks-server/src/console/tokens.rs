//! Tokens, for the root token: listed, minted and shown once, revoked.

use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::{get, post};
use http::StatusCode;
use serde::Deserialize;

use super::Console;
use super::endpoints::faulty;
use super::fault::Fault;
use super::form::{Fields, Members, Posted, number};
use super::page::{self, Frame, Listing, Pages, Section, html, notice};
use super::refusal::Refusal;
use super::shown_once::ShownOnce;
use super::text::{State, Text};
use super::time::Moment;
use super::visitor::Visitor;
use crate::api_client::Call;

const DAY_SECONDS: u64 = 86_400;

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/tokens", get(list).post(create))
        .route("/tokens/{id}/revoke", post(revoke))
}

/// A token, as the API answers it.
#[derive(Debug, Deserialize)]
struct Token {
    id: Text,
    workspace: Text,
    scope: State,
    description: Text,
    created_at: Moment,
    expires_at: Option<Moment>,
    /// In the answer that mints it.
    #[serde(default)]
    token: Option<ShownOnce>,
}

impl Token {
    fn revoke_url(&self) -> String {
        page::url(&["tokens", self.id.raw(), "revoke"])
    }
}

/// What a form of a new token holds.
#[derive(Debug, Default)]
struct TokenForm {
    description: String,
    scope: String,
    days: String,
}

#[derive(Template)]
#[template(path = "tokens.html")]
struct TokensPage {
    frame: Frame,
    notice: Option<&'static str>,
    fault: Fault,
    form: TokenForm,
    minted: Option<Token>,
    tokens: Vec<Token>,
    is_listed: bool,
    pages: Pages,
}

async fn list(visitor: Visitor, query: Fields) -> Result<Response, Refusal> {
    answer(&visitor, &query, TokenForm::default(), Fault::default(), None).await
}

async fn answer(
    visitor: &Visitor,
    query: &Fields,
    form: TokenForm,
    fault: Fault,
    minted: Option<Token>,
) -> Result<Response, Refusal> {
    visitor.require_root()?;
    let found = visitor.api().read::<Listing<Token>>(page::list("tokens", query)).await;
    let found = match (found, &minted) {
        (Ok(found), _) => Ok(found),
        // It is shown this once, whatever becomes of the list.
        (Err(error), Some(_)) => {
            tracing::warn!(error = crate::log::chain(&error), "tokens could not be listed");
            Err(())
        }
        (Err(error), None) => return Err(error.into()),
    };
    let is_listed = found.is_ok();
    let found = found.unwrap_or(Listing { data: Vec::new(), next_cursor: None });
    let page = TokensPage {
        frame: visitor.frame(Section::Tokens),
        notice: notice(query),
        pages: Pages::of("/console/tokens", query, &[], found.next_cursor.as_deref()),
        tokens: found.data,
        is_listed,
        fault,
        form,
        minted,
    };
    let status = if page.minted.is_some() { StatusCode::CREATED } else { page.fault.status() };
    Ok(html(status, &page))
}

impl TokenForm {
    fn filled(fields: &Fields) -> Self {
        let text = |name: &str| fields.get(name).to_owned();
        Self {
            description: text("description"),
            scope: text("scope"),
            days: text("expires_in_seconds"),
        }
    }

    fn members(&self) -> Result<Members, Fault> {
        let mut members = Members::default();
        members.set("scope", &self.scope);
        members.set("description", &self.description);
        if let Some(days) = number("expires_in_seconds", &self.days)? {
            members.set("expires_in_seconds", days.saturating_mul(DAY_SECONDS));
        }
        Ok(members)
    }
}

async fn create(Posted { visitor, fields }: Posted) -> Result<Response, Refusal> {
    let (form, nowhere) = (TokenForm::filled(&fields), Fields::default());
    let members = match form.members() {
        Ok(members) => members,
        Err(fault) => return answer(&visitor, &nowhere, form, fault, None).await,
    };
    match visitor.api().read(Call::post(&["tokens"]).json(members.to_text())).await {
        Ok(minted) => {
            answer(&visitor, &nowhere, TokenForm::default(), Fault::default(), Some(minted)).await
        }
        Err(error) => answer(&visitor, &nowhere, form, faulty(error)?, None).await,
    }
}

async fn revoke(Path(id): Path<String>, posted: Posted) -> Result<Response, Refusal> {
    posted.visitor.api().done(Call::delete(&["tokens", &id])).await?;
    Ok(page::done(&["tokens"], "revoked"))
}
