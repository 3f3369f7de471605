//! Every way in which the console shows no page, and what it shows instead.

use askama::Template;
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use http::StatusCode;
use http::header::RETRY_AFTER;

use super::assets;
use super::page::html;
use super::text::Text;
use super::{ROOT, session, signin};
use crate::api_client::{ApiError, encoded};

/// Why there is no page.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Nobody has signed in. After that, this is what was asked for.
    SignIn {
        next: Option<String>,
    },
    /// The session is over, or its token is of no use any more.
    Ended,
    NotFound,
    MethodNotAllowed,
    Forbidden(&'static str),
    /// The form is none that a page of the console has sent.
    Form(StatusCode, &'static str),
    /// The API has refused what the page is made of.
    Api(ApiError),
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        match error.status() {
            StatusCode::UNAUTHORIZED => Self::Ended,
            _ => Self::Api(error),
        }
    }
}

#[derive(Template)]
#[template(path = "refusal.html")]
struct RefusalPage {
    title: &'static str,
    detail: Text,
    style: String,
    icon: String,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, title, detail) = match self {
            Self::SignIn { next: None } => return Redirect::to(signin::URL).into_response(),
            Self::SignIn { next: Some(next) } => {
                let next = encoded(&next);
                return Redirect::to(&format!("{}?next={next}", signin::URL)).into_response();
            }
            Self::Ended => {
                let away = Redirect::to(&format!("{}?ended=1", signin::URL));
                return (AppendHeaders(session::no_cookies()), away).into_response();
            }
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "Nothing here",
                "There is nothing at this address. It may have been deleted, or it is in another \
                 workspace."
                    .into(),
            ),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "Not like this",
                "This address is there, but not for that method.".into(),
            ),
            Self::Forbidden(why) => (StatusCode::FORBIDDEN, "Not allowed", why.into()),
            Self::Form(status, why) => (status, "Not taken", why.into()),
            Self::Api(error) => of_api(&error),
        };
        let page =
            RefusalPage { title, detail, style: assets::style_url(), icon: assets::icon_url() };
        let mut response = html(status, &page);
        if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(RETRY_AFTER, http::HeaderValue::from_static("1"));
        }
        response
    }
}

fn of_api(error: &ApiError) -> (StatusCode, &'static str, Text) {
    let title = match error.status() {
        StatusCode::NOT_FOUND => "Nothing here",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::SERVICE_UNAVAILABLE => "The store does not answer",
        status if status.is_client_error() => "That cannot be done",
        _ => {
            tracing::error!(error = crate::log::chain(error), "the API did not answer the console");
            "The server failed"
        }
    };
    let status = match error.status() {
        // A part of this server is no gateway to whoever looks at it.
        StatusCode::BAD_GATEWAY => StatusCode::INTERNAL_SERVER_ERROR,
        status => status,
    };
    (status, title, error.to_string().into())
}

/// The address to go to after signing in, if it is one of the console's pages.
pub(super) fn is_own_page(next: &str) -> bool {
    let rest = next.strip_prefix(ROOT);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
        && !next.starts_with(signin::URL)
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        && !next.contains("//")
}
