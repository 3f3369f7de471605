//! Who looks at a page: a session, and with it a way to the API.

use axum::extract::FromRequestParts;
use http::Method;
use http::request::Parts;

use super::page::{Frame, Section};
use super::refusal::Refusal;
use super::session::Session;
use super::{Console, ROOT, session};
use crate::api_client::ApiClient;

/// Who has signed in.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    pub(super) console: Console,
    pub(super) session: Session,
}

impl Visitor {
    /// The API, in the workspace that is chosen.
    pub(super) fn api(&self) -> ApiClient {
        let chosen = self.session.workspace.as_ref().map(|chosen| chosen.id.clone());
        self.api_of_token().in_workspace(chosen)
    }

    /// The API in no workspace but that of the token: also where the chosen one is gone.
    pub(super) fn api_of_token(&self) -> ApiClient {
        ApiClient::in_process(self.console.parts.api.clone(), self.session.token())
    }

    /// What is around every page.
    pub(super) fn frame(&self, section: Section) -> Frame {
        Frame::of(&self.session, section)
    }

    /// Refuses who has not the root token what is not for them anyway.
    pub(super) fn require_root(&self) -> Result<(), Refusal> {
        match self.session.is_root() {
            true => Ok(()),
            false => Err(Refusal::Forbidden("Workspaces and tokens are for the root token.")),
        }
    }
}

impl FromRequestParts<Console> for Visitor {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Refusal> {
        match Session::of(console, &parts.headers) {
            Some(session) => Ok(Self { console: console.clone(), session }),
            // Had it ended, the cookie would still be there.
            None if session::was_there(console, &parts.headers) => Err(Refusal::Ended),
            None => Err(Refusal::SignIn {
                next: (parts.method == Method::GET).then(|| asked_for(parts)).flatten(),
            }),
        }
    }
}

/// The address that was asked for: what is nested has lost the beginning of its path.
fn asked_for(parts: &Parts) -> Option<String> {
    let rest = parts.uri.path_and_query()?.as_str();
    (rest != "/").then(|| format!("{ROOT}{rest}"))
}
