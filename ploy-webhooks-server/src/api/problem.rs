//! Every way in which the API says no.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use ploy_webhooks::store::StoreError;
use serde::Serialize;
use thiserror::Error;

use crate::log::chain;

/// Every code that a [`Problem`] has.
pub(super) const CODES: [&str; 11] = [
    "conflict",
    "forbidden",
    "invalid_json",
    "method_not_allowed",
    "not_found",
    "payload_too_large",
    "request_timeout",
    "unauthorized",
    "unavailable",
    "unsupported_media_type",
    "validation_failed",
];

/// An answer that is no success. `Display` is its `detail`: what is wrong and what to do.
#[derive(Debug, Error)]
pub(super) enum Problem {
    #[error("{0}; send `Authorization: Bearer <token>` with a token of this server")]
    Unauthorized(&'static str),
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("there is nothing at this address")]
    NotFound,
    #[error("there is no workspace of the id that `Ploy-Workspace` gives")]
    NoWorkspace,
    #[error("this address does not take that method; see Allow for those that it takes")]
    MethodNotAllowed,
    #[error("{0}")]
    ValidationFailed(String),
    #[error("the body is not well-formed JSON: {0}")]
    InvalidJson(String),
    #[error("send the body as `Content-Type: application/json`")]
    UnsupportedMediaType,
    #[error("the body is larger than {0} bytes")]
    PayloadTooLarge(usize),
    #[error("the body did not arrive in time; send it again, faster")]
    RequestTimeout,
    #[error("{0}")]
    Conflict(Cow<'static, str>),
    /// What takes a moment is under way.
    #[error("{0}; try again after the time in Retry-After")]
    Busy(&'static str),
    /// All places are taken for what is long under way.
    #[error("{0}; try again after the time in Retry-After")]
    Full(&'static str),
    #[error("the store did not answer; try again after the time in Retry-After")]
    Unavailable(#[source] Option<StoreError>),
}

impl Problem {
    const fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unauthorized(_) => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden"),
            Self::NotFound | Self::NoWorkspace => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::ValidationFailed(_) => (StatusCode::UNPROCESSABLE_ENTITY, "validation_failed"),
            Self::InvalidJson(_) => (StatusCode::BAD_REQUEST, "invalid_json"),
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type")
            }
            Self::PayloadTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"),
            Self::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            Self::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
            Self::Busy(_) | Self::Full(_) | Self::Unavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
            }
        }
    }
}

impl Problem {
    pub(super) fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Conflict(detail.into())
    }

    pub(super) fn invalid(detail: impl std::fmt::Display) -> Self {
        Self::ValidationFailed(detail.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(Some(error))
    }
}

/// The members of every error answer.
#[derive(Serialize)]
struct Form<'a> {
    title: &'a str,
    status: u16,
    detail: String,
    code: &'a str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if let Self::Unavailable(Some(error)) = &self {
            tracing::error!(error = chain(error), "the store failed");
        }
        let (status, code) = self.status_and_code();
        let form = Form {
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: self.to_string(),
            code,
        };
        let body = serde_json::to_vec(&form).expect("four plain fields have a JSON form");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self {
            Self::Unauthorized(_) => headers
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="management""#)),
            Self::Busy(_) | Self::Unavailable(_) => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"))
            }
            Self::Full(_) => headers.insert(RETRY_AFTER, HeaderValue::from_static("10")),
            _ => None,
        };
        response
    }
}
