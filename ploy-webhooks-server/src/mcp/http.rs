//! `/mcp`: tools over streamable HTTP. Every request carries its token, as those of the API do, and
//! none is remembered: any node answers any request.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use ploy_webhooks::Secret;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};

use super::Tools;
use crate::api_client::{ApiClient, ApiError, Call};

/// More than the longest call of a tool takes.
const BODY_BYTES_MAX: usize = 1 << 20;
/// How long it may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The router of `/mcp`, over that of the API.
pub(crate) fn router(api: Router) -> Router {
    Router::new().route("/mcp", any(serve)).with_state(api)
}

async fn serve(State(api): State<Router>, request: Request) -> Response {
    let mut response = match admitted(api, request).await {
        Ok((client, request)) => answer(client, request).await,
        Err(error) => refuse(&error),
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The API for whoever sent the request, and the request with all of its body, which comes in time
/// and within its bounds. Nothing of it is read before the API has let them in.
async fn admitted(
    api: Router,
    request: Request,
) -> Result<(ApiClient, http::Request<Full<Bytes>>), ApiError> {
    let client = client_of(api, request.headers()).await?;
    let (head, body) = request.into_parts();
    let read = Limited::new(body, BODY_BYTES_MAX).collect();
    let Ok(read) = tokio::time::timeout(BODY_TIMEOUT, read).await else {
        let detail = "the body did not arrive within 10 seconds";
        return Err(refusal(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail));
    };
    match read {
        Ok(body) => Ok((client, Request::from_parts(head, Full::new(body.to_bytes())))),
        Err(error) if error.is::<LengthLimitError>() => {
            let detail = "the body has more than 1 MiB";
            Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", detail))
        }
        Err(_) => Err(refusal(
            StatusCode::BAD_REQUEST,
            "invalid_json",
            "the body broke off: send it again",
        )),
    }
}

fn refusal(status: StatusCode, code: &str, detail: &str) -> ApiError {
    ApiError::Refused { status, code: code.to_owned(), detail: detail.to_owned() }
}

/// The API for whoever sent these headers, once it has let them in: an agent without a token learns
/// nothing, not even which tools there are.
async fn client_of(api: Router, headers: &HeaderMap) -> Result<ApiClient, ApiError> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let token = given.next().and_then(bearer).filter(|_| given.next().is_none());
    let token = token.ok_or_else(ApiError::not_a_token)?;
    let client = ApiClient::in_process(api, Secret::from(token.to_owned()))
        .in_workspace(workspace_of(headers)?);
    client.done(Call::get(&["endpoints"]).with("limit", "1")).await?;
    Ok(client)
}

/// The workspace that the headers name. One that cannot be handed on as it stands is refused: left
/// out, it would be another that is acted in.
fn workspace_of(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut given = headers.get_all("ploy-workspace").iter();
    let Some(named) = given.next() else { return Ok(None) };
    match (named.to_str(), given.next()) {
        (Ok(id), None) => Ok(Some(id.to_owned())),
        _ => Err(refusal(
            StatusCode::UNPROCESSABLE_ENTITY,
            "validation_failed",
            "`Ploy-Workspace` is sent once, and is the id of a workspace",
        )),
    }
}

/// The token of `Bearer <token>` (RFC 6750 §2.1), the scheme in any case.
fn bearer(authorization: &HeaderValue) -> Option<&str> {
    let (scheme, token) = authorization.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// A browser that was tricked has no token to show, so its `Host` and `Origin` say nothing that
/// matters.
async fn answer(client: ApiClient, request: http::Request<Full<Bytes>>) -> Response {
    let settings = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .disable_allowed_hosts();
    let tools = Tools { api: client };
    let sessions = Arc::new(NeverSessionManager::default());
    let service = StreamableHttpService::new(move || Ok(tools.clone()), sessions, settings);
    service.handle(request).await.map(Body::new)
}

/// In the words and the form of the API.
fn refuse(error: &ApiError) -> Response {
    let status = error.status();
    let code = error.code();
    let problem = serde_json::json!({
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": error.to_string(),
        "code": code,
    });
    let headers = [(CONTENT_TYPE, "application/problem+json")];
    let mut response = (status, headers, problem.to_string()).into_response();
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static(r#"Bearer realm="management""#);
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}
