//! What pages have in common: the frame around them, and lists with their next page.

use askama::Template;
use axum::response::{IntoResponse, Redirect, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;

use super::form::Fields;
use super::session::Session;
use super::text::Text;
use super::{ROOT, assets};
use crate::api_client::{Call, encoded, path};

/// The part of the console that a page is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Home,
    Endpoints,
    Events,
    Runs,
    Ploybooks,
    Destinations,
    Subscriptions,
    Tokens,
    Workspaces,
}

impl Section {
    /// What the navigation shows to who may open it.
    const OF_WORKSPACE: [Self; 7] = [
        Self::Home,
        Self::Endpoints,
        Self::Events,
        Self::Runs,
        Self::Ploybooks,
        Self::Subscriptions,
        Self::Destinations,
    ];
    const OF_ROOT: [Self; 2] = [Self::Workspaces, Self::Tokens];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Home => "Overview",
            Self::Endpoints => "Endpoints",
            Self::Events => "Events",
            Self::Runs => "Runs",
            Self::Ploybooks => "Ploybooks",
            Self::Destinations => "Destinations",
            Self::Subscriptions => "Subscriptions",
            Self::Tokens => "Tokens",
            Self::Workspaces => "Workspaces",
        }
    }

    pub(super) const fn url(self) -> &'static str {
        match self {
            Self::Home => "/console",
            Self::Endpoints => "/console/endpoints",
            Self::Events => "/console/events",
            Self::Runs => "/console/runs",
            Self::Ploybooks => "/console/ploybooks",
            Self::Destinations => "/console/destinations",
            Self::Subscriptions => "/console/subscriptions",
            Self::Tokens => "/console/tokens",
            Self::Workspaces => "/console/workspaces",
        }
    }
}

/// What is around a page.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) section: Section,
    pub(super) style: String,
    pub(super) script: String,
    pub(super) icon: String,
    /// What each form carries.
    pub(super) form_token: String,
    pub(super) may_write: bool,
    pub(super) is_root: bool,
    /// In which workspace the root token acts, by its name.
    pub(super) workspace: Text,
}

impl Frame {
    pub(super) fn of(session: &Session, section: Section) -> Self {
        let chosen = session.workspace.as_ref();
        Self {
            section,
            style: assets::style_url(),
            script: assets::script_url(),
            icon: assets::icon_url(),
            form_token: session.form_token().to_owned(),
            may_write: session.may_write(),
            is_root: session.is_root(),
            workspace: chosen.map_or("Default workspace", |chosen| &chosen.name).into(),
        }
    }

    /// The parts of the console for this visitor.
    pub(super) fn sections(&self) -> impl Iterator<Item = Section> {
        let of_root: &[Section] = if self.is_root { &Section::OF_ROOT } else { &[] };
        Section::OF_WORKSPACE.into_iter().chain(of_root.iter().copied())
    }

    /// What the visitor may, in a word.
    pub(super) const fn access(&self) -> &'static str {
        match (self.is_root, self.may_write) {
            (true, _) => "root token",
            (false, true) => "token that writes",
            (false, false) => "token that reads",
        }
    }
}

/// An answer that is a page.
pub(super) fn html(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => {
            let mut response = (status, text).into_response();
            let html = HeaderValue::from_static("text/html; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, html);
            response
        }
        Err(error) => {
            tracing::error!(%error, "a page could not be made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A page that is there.
pub(super) fn ok(page: &impl Template) -> Response {
    html(StatusCode::OK, page)
}

/// The address of a page of the console, whatever is in its segments.
pub(super) fn url(segments: &[&str]) -> String {
    path(ROOT, segments)
}

/// Leads to the page on which it is seen that something was done (RFC 9110 §15.4.4): to load that
/// again does nothing again.
pub(super) fn done(segments: &[&str], what: &'static str) -> Response {
    Redirect::to(&format!("{}?done={what}", url(segments))).into_response()
}

/// What was done, in words; nothing where the query says nothing that is known.
pub(super) fn notice(query: &Fields) -> Option<&'static str> {
    Some(match query.get("done") {
        "cancelled" => "The run was called off.",
        "changed" => "The change is made.",
        "created" => "It is made.",
        "deleted" => "It is deleted.",
        "paused" => "Paused: nothing is accepted from now on.",
        "held" => "Paused: events wait until it is active again.",
        "replayed" => "Replayed: what is wired to the event runs again, as runs of its own.",
        "resumed" => "Resumed.",
        "retried" => "It is tried again.",
        "revoked" => "Revoked: the token opens nothing any more.",
        _ => return None,
    })
}

/// A page of a list, as the API answers it.
#[derive(Debug, Deserialize)]
pub(super) struct Listing<T> {
    pub(super) data: Vec<T>,
    pub(super) next_cursor: Option<String>,
}

/// Where a list goes on, and where it began.
#[derive(Debug)]
pub(super) struct Pages {
    pub(super) first: Option<String>,
    pub(super) next: Option<String>,
}

impl Pages {
    /// Of a list at that address, with these filters of the query.
    pub(super) fn of(
        address: &str,
        query: &Fields,
        filters: &[&str],
        next_cursor: Option<&str>,
    ) -> Self {
        let given = filters.iter().map(|name| (*name, query.get(name)));
        let given: Vec<_> = given.filter(|(_, value)| !value.is_empty()).collect();
        let at = |cursor: Option<&str>| {
            let all = given.iter().copied().chain(cursor.map(|cursor| ("cursor", cursor)));
            let pairs: Vec<_> =
                all.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
            match pairs.is_empty() {
                true => address.to_owned(),
                false => format!("{address}?{}", pairs.join("&")),
            }
        };
        let is_first = query.get("cursor").is_empty();
        Self { first: (!is_first).then(|| at(None)), next: next_cursor.map(|next| at(Some(next))) }
    }
}

/// The call for a page of a list.
pub(super) fn list(kind: &str, query: &Fields) -> Call {
    Call::get(&[kind]).with_some("cursor", query.get("cursor"))
}
