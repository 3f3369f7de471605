//! Signing in, by a token of the API, and out.

use askama::Template;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use http::StatusCode;
use http::header::SET_COOKIE;
use http::request::Parts;
use ploy_webhooks::Secret;

use super::cookie::{self, Over};
use super::form::{self, Fields, Posted};
use super::page::html;
use super::refusal::{Refusal, is_own_page};
use super::same_origin::{Provenance, provenance};
use super::session::{self, Access, Session, mint_nonce};
use super::{Console, ROOT, assets};
use crate::api_client::{ApiClient, ApiError, Call};

/// Where it is done.
pub(super) const URL: &str = "/console/sign-in";
/// The longest form: anybody may send it, and it has a token, a nonce and an address.
const BYTES_MAX: usize = 8 << 10;
/// Ties the form to the browser that it was sent to, before there is a session.
const fn nonce_cookie(over: Over) -> &'static str {
    match over {
        Over::Https => "__Host-ploy_console_form",
        Over::Any => "ploy_console_form",
    }
}

const NONCE_SECONDS: u64 = 3_600;

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/sign-in", get(show).post(sign_in)).route("/sign-out", post(sign_out))
}

#[derive(Template)]
#[template(path = "signin.html")]
struct SignInPage {
    style: String,
    icon: String,
    nonce: String,
    next: String,
    notice: Option<&'static str>,
    fault: Option<&'static str>,
}

impl SignInPage {
    fn new(next: &str) -> Self {
        Self {
            style: assets::style_url(),
            icon: assets::icon_url(),
            nonce: mint_nonce(),
            next: if is_own_page(next) { next.to_owned() } else { String::new() },
            notice: None,
            fault: None,
        }
    }

    fn answer(&self, console: &Console, status: StatusCode) -> Response {
        let over = session::over(console);
        let nonce = cookie::set(nonce_cookie(over), &self.nonce, NONCE_SECONDS, over);
        ([(SET_COOKIE, nonce)], html(status, self)).into_response()
    }
}

async fn show(State(console): State<Console>, query: Fields) -> Response {
    let mut page = SignInPage::new(query.get("next"));
    page.notice = match (query.has("ended"), query.has("out")) {
        (true, _) => Some("The session is over: it has lasted 12 hours, or its token was revoked."),
        (_, true) => Some("You are signed out."),
        _ => None,
    };
    page.answer(&console, StatusCode::OK)
}

async fn sign_in(State(console): State<Console>, request: Request) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    let provenance = provenance(&console, &head);
    if provenance == Provenance::Foreign {
        return Err(form::foreign());
    }
    let fields = form::read(&head.headers, body, BYTES_MAX).await?;
    if provenance == Provenance::Withheld && !is_of_this_browser(&console, &head, &fields) {
        return Err(form::foreign());
    }
    let mut page = SignInPage::new(fields.get("next"));
    let token = Secret::from(fields.trimmed("token").to_owned());
    match access(&console, &token).await? {
        Some(access) => {
            let cookie = Session::begin(&token, access).cookie(&console);
            let next = if page.next.is_empty() { ROOT } else { &page.next };
            Ok(([(SET_COOKIE, cookie)], Redirect::to(next)).into_response())
        }
        None => {
            page.fault = Some(
                "This token is not valid here: it was never made, or was revoked, or has expired.",
            );
            Ok(page.answer(&console, StatusCode::UNAUTHORIZED))
        }
    }
}

/// Whether the form carries what was sent to that browser with it.
fn is_of_this_browser(console: &Console, head: &Parts, fields: &Fields) -> bool {
    let sent = cookie::only(&head.headers, nonce_cookie(session::over(console)));
    sent.is_some_and(|nonce| !nonce.is_empty() && nonce == fields.get("nonce"))
}

/// What the token may, if it may anything: what it is refused tells. No call changes something.
async fn access(console: &Console, token: &Secret) -> Result<Option<Access>, Refusal> {
    let api = ApiClient::in_process(console.parts.api.clone(), token.clone());
    match api.done(Call::get(&["tokens"]).with("limit", "1")).await {
        Ok(()) => return Ok(Some(Access::Root)),
        Err(ApiError::Refused { status: StatusCode::UNAUTHORIZED, .. }) => return Ok(None),
        Err(ApiError::Refused { status: StatusCode::FORBIDDEN, .. }) => {}
        Err(error) => return Err(Refusal::Api(error)),
    }
    // It is refused for the scope of the token before it is refused for what it lacks.
    match api.done(Call::post(&["subscriptions", "test"]).json("{}")).await {
        Err(ApiError::Refused { status: StatusCode::FORBIDDEN, .. }) => Ok(Some(Access::Read)),
        Err(ApiError::Refused { status: StatusCode::UNPROCESSABLE_ENTITY, .. }) | Ok(()) => {
            Ok(Some(Access::Write))
        }
        Err(error) => Err(Refusal::Api(error)),
    }
}

async fn sign_out(_: Posted) -> Response {
    (AppendHeaders(session::no_cookies()), Redirect::to(&format!("{URL}?out=1"))).into_response()
}
