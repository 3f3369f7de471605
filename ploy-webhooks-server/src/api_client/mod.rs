//! [`ApiClient`]: the management API, called by other parts of the server.
//!
//! What is built on it sees no store: rights, validation, isolation and the words of a refusal are
//! the API's own. It calls the router in this process, without a socket in between, or a server
//! elsewhere, by a token that it is given.

mod call;
mod error;

use std::fmt;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use ploy_webhooks::Secret;
use reqwest::Url;
use serde::de::DeserializeOwned;
use tower::Service;

pub(crate) use self::call::{Call, encoded, path};
pub(crate) use self::error::ApiError;

/// The longest answer that is read: a page of 200 runs with all that they have put out.
const ANSWER_BYTES_MAX: usize = 64 << 20;
const PLOY_WORKSPACE: HeaderName = HeaderName::from_static("ploy-workspace");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Calls the management API as whoever has that token.
///
/// `Debug` prints nothing of the token.
#[derive(Clone)]
pub(crate) struct ApiClient {
    via: Via,
    token: Secret,
    workspace: Option<String>,
}

/// The way to the API.
#[derive(Clone)]
enum Via {
    /// Its router, in this process.
    Router(Router),
    /// A server, at that URL.
    Server { http: reqwest::Client, base: Url },
}

impl fmt::Debug for ApiClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiClient").field("workspace", &self.workspace).finish_non_exhaustive()
    }
}

impl ApiClient {
    /// Calls that router, which is the API's, by that token. A token that is none is refused by the
    /// API as it refuses any.
    pub(crate) const fn in_process(router: Router, token: Secret) -> Self {
        Self { via: Via::Router(router), token, workspace: None }
    }

    /// Calls the server at that URL by that client and that token.
    pub(crate) const fn of_server(http: reqwest::Client, base: Url, token: Secret) -> Self {
        Self { via: Via::Server { http, base }, token, workspace: None }
    }

    /// Acts in that workspace, which is for the root token alone; `None` is that of the token.
    pub(crate) fn in_workspace(self, workspace: Option<String>) -> Self {
        Self { workspace, ..self }
    }

    /// Makes a call, and reads the JSON that it is answered with.
    ///
    /// # Errors
    ///
    /// When the call is refused, or its answer is of another form.
    pub(crate) async fn read<T: DeserializeOwned>(&self, call: Call) -> Result<T, ApiError> {
        let answer = self.bytes(call).await?;
        serde_json::from_slice(&answer).map_err(ApiError::Unreadable)
    }

    /// Makes a call that is answered with nothing, or with nothing that is asked for.
    ///
    /// # Errors
    ///
    /// When the call is refused.
    pub(crate) async fn done(&self, call: Call) -> Result<(), ApiError> {
        self.bytes(call).await.map(drop)
    }

    /// Makes a call, and gives the bytes that it is answered with.
    ///
    /// # Errors
    ///
    /// When the call is refused.
    pub(crate) async fn bytes(&self, call: Call) -> Result<Bytes, ApiError> {
        let (status, body) = self.send(call, None).await?;
        let answer = collected(body).await?;
        match status.is_success() {
            true => Ok(answer),
            false => Err(ApiError::refused(status, &answer)),
        }
    }

    /// Makes a call that is answered with Server-Sent Events, and gives them as they come, after
    /// the one of that id.
    ///
    /// # Errors
    ///
    /// When the call is refused.
    pub(crate) async fn stream(
        &self,
        call: Call,
        last_event_id: Option<HeaderValue>,
    ) -> Result<Body, ApiError> {
        let (status, body) = self.send(call, last_event_id).await?;
        match status.is_success() {
            true => Ok(body),
            false => Err(ApiError::refused(status, &collected(body).await?)),
        }
    }

    async fn send(
        &self,
        call: Call,
        last_event_id: Option<HeaderValue>,
    ) -> Result<(StatusCode, Body), ApiError> {
        let request = self.request(call, last_event_id)?;
        match &self.via {
            Via::Router(router) => {
                // A router is always ready.
                let Ok(answer): Result<Response, _> =
                    router.clone().call(request.map(Body::from)).await;
                Ok((answer.status(), answer.into_body()))
            }
            Via::Server { http, base } => {
                let answer = send_to(http, base, request).await.map_err(ApiError::Unreachable)?;
                let answer = http::Response::from(answer);
                Ok((answer.status(), Body::new(answer.into_body())))
            }
        }
    }

    fn request(
        &self,
        call: Call,
        last_event_id: Option<HeaderValue>,
    ) -> Result<Request<String>, ApiError> {
        let bearer = format!("Bearer {}", self.token.expose());
        let mut bearer = HeaderValue::try_from(bearer).map_err(|_| ApiError::not_a_token())?;
        bearer.set_sensitive(true);
        let mut request =
            Request::builder().method(call.method).uri(call.target).header(AUTHORIZATION, bearer);
        if let Some(workspace) = &self.workspace {
            request = request.header(PLOY_WORKSPACE, workspace);
        }
        if let Some(id) = last_event_id {
            request = request.header(ACCEPT, "text/event-stream").header(LAST_EVENT_ID, id);
        }
        if call.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        request.body(call.body.unwrap_or_default()).map_err(ApiError::Request)
    }
}

/// Sends it to the server at that URL, which may have a path of its own.
async fn send_to(
    http: &reqwest::Client,
    base: &Url,
    request: Request<String>,
) -> reqwest::Result<reqwest::Response> {
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    let url = format!("{}{target}", base.as_str().trim_end_matches('/'));
    http.request(head.method, url).headers(head.headers).body(body).send().await
}

async fn collected(body: Body) -> Result<Bytes, ApiError> {
    match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::TooLarge(ANSWER_BYTES_MAX)),
        Err(error) => Err(ApiError::Broken(error)),
    }
}
