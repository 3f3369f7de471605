//! An endpoint as callers see it: never a digest, a key only in the answer that mints it.

use axum::response::{IntoResponse, Response};
use ploy_webhooks::{Auth, Endpoint, EndpointConfig, EndpointId, Revision, Secret};
use serde::Serialize;

use crate::api::caller::TenantApi;
use crate::api::ingest_url;
use crate::api::json::Json;
use crate::api::time::Rfc3339;

#[derive(Debug, Serialize)]
pub(super) struct View<'a> {
    id: EndpointId,
    slug: &'a str,
    url: String,
    revision: Revision,
    created_at: Rfc3339,
    auth: AuthView,
    #[serde(flatten)]
    config: &'a EndpointConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct AuthView {
    scheme: &'static str,
}

impl<'a> View<'a> {
    pub(super) fn of(api: &TenantApi, endpoint: &'a Endpoint) -> Self {
        Self {
            id: endpoint.id,
            slug: endpoint.slug.as_str(),
            url: ingest_url(api.public_url(), &endpoint.slug),
            revision: endpoint.revision,
            created_at: Rfc3339(endpoint.created_at),
            auth: AuthView {
                scheme: match endpoint.auth {
                    Auth::ApiKey { .. } => "api-key",
                    _ => "unknown",
                },
            },
            config: &endpoint.config,
            api_key: None,
        }
    }

    pub(super) fn with_key(self, key: &'a Secret) -> Self {
        Self { api_key: Some(key.expose()), ..self }
    }
}

impl IntoResponse for View<'_> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}
