//! An endpoint as callers see it: never a digest, a secret only in the answer that sets it.

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use ploy_webhooks::store::{Activity, Observed, QuotaUse, Tally};
use ploy_webhooks::verify::{Scheme, SignatureScheme};
use ploy_webhooks::{
    Auth, Clock, CredentialId, Endpoint, EndpointConfig, EndpointId, Quota, Revision, SystemClock,
    Timestamp,
};
use schemars::JsonSchema;
use serde::Serialize;

use super::auth::Shown;
use crate::api::caller::TenantApi;
use crate::api::ingest_url;
use crate::api::json::Json;
use crate::api::openapi::nouns;
use crate::api::time::Rfc3339;

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Endpoint")]
pub(super) struct View<'a> {
    #[schemars(with = "nouns::EndpointId")]
    id: EndpointId,
    slug: &'a str,
    url: String,
    #[schemars(with = "nouns::Revision")]
    revision: Revision,
    created_at: Rfc3339,
    auth: AuthView<'a>,
    credentials: Vec<CredentialView>,
    #[serde(flatten)]
    #[schemars(with = "nouns::EndpointConfig")]
    config: &'a EndpointConfig,
    /// In the answer that shows one endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ActivityView")]
    activity: Option<ActivityView>,
    /// In the answer that mints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "&str")]
    api_key: Option<&'a str>,
    /// In the answer that sets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "&str")]
    signing_secret: Option<&'a str>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Auth")]
struct AuthView<'a> {
    scheme: &'static str,
    #[serde(flatten)]
    signature: Option<SignatureView<'a>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct SignatureView<'a> {
    tolerance_seconds: u32,
    once: bool,
    /// Where it is the operator's own.
    #[serde(flatten)]
    #[schemars(with = "Option<nouns::SignatureScheme>")]
    description: Option<&'a SignatureScheme>,
}

/// A key or a secret, by its name.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Credential")]
struct CredentialView {
    #[schemars(with = "nouns::CredentialId")]
    id: CredentialId,
    expires_at: Option<Rfc3339>,
    /// Said where the activity is: in the answer that shows one endpoint.
    #[serde(flatten)]
    used: Option<UseView>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Use")]
struct UseView {
    uses: u64,
    last_used_at: Option<Rfc3339>,
}

/// What the endpoint was sent.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "EndpointActivity")]
struct ActivityView {
    quota: Option<QuotaView>,
    /// By the code of the answer.
    refused: BTreeMap<String, RefusedView>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "QuotaUse")]
struct QuotaView {
    events: u64,
    used: u64,
    remaining: u64,
    resets_at: Option<Rfc3339>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Refused")]
struct RefusedView {
    count: u64,
    last_at: Rfc3339,
}

impl<'a> View<'a> {
    pub(super) fn of(api: &TenantApi, endpoint: &'a Endpoint) -> Self {
        Self {
            id: endpoint.id,
            slug: endpoint.slug.as_str(),
            url: ingest_url(api.public_url(), &endpoint.slug),
            revision: endpoint.revision,
            created_at: Rfc3339(endpoint.created_at),
            auth: AuthView::of(&endpoint.auth),
            credentials: endpoint.auth.credentials().into_iter().map(CredentialView::of).collect(),
            config: &endpoint.config,
            activity: None,
            api_key: None,
            signing_secret: None,
        }
    }

    pub(super) fn with_secret(self, shown: &'a Shown) -> Self {
        match shown {
            Shown::ApiKey(key) => Self { api_key: Some(key.expose()), ..self },
            Shown::SigningSecret(secret) => Self { signing_secret: Some(secret.expose()), ..self },
        }
    }

    pub(super) fn with_activity(mut self, activity: Activity) -> Self {
        let now = SystemClock.now();
        let quota = self.config.limits.quota;
        let mut refused = BTreeMap::new();
        for Tally { what, count, last_at } in activity.observed {
            match what {
                Observed::Credential(id) => self.used(id, count, last_at),
                what => {
                    let last_at = Rfc3339(last_at);
                    refused.insert(what.to_string(), RefusedView { count, last_at });
                }
            }
        }
        for credential in &mut self.credentials {
            credential.used.get_or_insert(UseView { uses: 0, last_used_at: None });
        }
        let quota = quota.map(|quota| QuotaView::of(quota, activity.quota, now));
        Self { activity: Some(ActivityView { quota, refused }), ..self }
    }

    fn used(&mut self, id: CredentialId, uses: u64, last_at: Timestamp) {
        // One that is of no use any more is not shown.
        if let Some(credential) = self.credentials.iter_mut().find(|shown| shown.id == id) {
            credential.used = Some(UseView { uses, last_used_at: Some(Rfc3339(last_at)) });
        }
    }
}

impl<'a> AuthView<'a> {
    fn of(auth: &'a Auth) -> Self {
        let signature = match auth {
            Auth::Signature(auth) => Some(SignatureView {
                tolerance_seconds: auth.tolerance_seconds.get(),
                once: auth.once,
                description: match &auth.scheme {
                    Scheme::Preset(_) => None,
                    Scheme::Custom(description) => Some(&**description),
                },
            }),
            _ => None,
        };
        Self { scheme: auth.scheme_name(), signature }
    }
}

impl CredentialView {
    fn of((id, expires_at): (CredentialId, Option<Timestamp>)) -> Self {
        Self { id, expires_at: expires_at.map(Rfc3339), used: None }
    }
}

impl QuotaView {
    /// What was counted for another period says nothing of this one.
    fn of(quota: Quota, counted: Option<QuotaUse>, now: Timestamp) -> Self {
        let counted = counted.filter(|counted| counted.period_seconds == quota.period_seconds);
        let used = counted.map_or(0, |counted| counted.used);
        let events = quota.events.get();
        let resets_at = quota.resets_in(now).map(|left| Rfc3339(now.after(left)));
        Self { events, used, remaining: events.saturating_sub(used), resets_at }
    }
}

impl IntoResponse for View<'_> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}
