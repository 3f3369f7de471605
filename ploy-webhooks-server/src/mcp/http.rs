//! `/mcp`: tools over streamable HTTP. Every request carries its token, as those of the API do, and
//! none is remembered: any node answers any request.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use ploy_webhooks::Secret;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};

use super::Tools;
use crate::api_client::{ApiClient, ApiError, Call};

/// More than the longest call of a tool takes.
const BODY_BYTES_MAX: usize = 1 << 20;

/// The router of `/mcp`, over that of the API.
pub(crate) fn router(api: Router) -> Router {
    Router::new().route("/mcp", any(serve)).with_state(api)
}

async fn serve(State(api): State<Router>, request: Request) -> Response {
    let mut response = match client_of(api, request.headers()).await {
        Ok(client) => answer(client, request).await,
        Err(error) => refuse(&error),
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The API for whoever sent these headers, once it has let them in: an agent without a token learns
/// nothing, not even which tools there are.
async fn client_of(api: Router, headers: &HeaderMap) -> Result<ApiClient, ApiError> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let token = given.next().and_then(bearer).filter(|_| given.next().is_none());
    let token = token.ok_or_else(ApiError::not_a_token)?;
    let workspace = headers.get("ploy-workspace").and_then(|id| id.to_str().ok());
    let client = ApiClient::in_process(api, Secret::from(token.to_owned()))
        .in_workspace(workspace.map(str::to_owned));
    client.done(Call::get(&["endpoints"]).with("limit", "1")).await?;
    Ok(client)
}

/// The token of `Bearer <token>` (RFC 6750 §2.1), the scheme in any case.
fn bearer(authorization: &HeaderValue) -> Option<&str> {
    let (scheme, token) = authorization.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// A browser that was tricked has no token to show, so its `Host` and `Origin` say nothing that
/// matters.
async fn answer(client: ApiClient, request: Request) -> Response {
    let settings = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(BODY_BYTES_MAX)
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
