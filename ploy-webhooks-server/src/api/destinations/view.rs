//! A destination as callers see it: how it is set, how deliveries go; a secret only in the answer
//! that sets it.

use std::collections::BTreeMap;

use ploy_webhooks::store::DefinitionKind;
use ploy_webhooks::{CredentialId, DestinationId, Revision, Secret, SigningSecret};
use ploy_webhooks_delivery::{Body, Destination, DestinationState, Disabled};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::PAGE;
use super::form::members_of;
use crate::api::caller::TenantApi;
use crate::api::openapi::nouns;
use crate::api::problem::Problem;
use crate::api::time::Rfc3339;

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Destination")]
pub(super) struct View<'a> {
    #[schemars(with = "nouns::DestinationId")]
    id: DestinationId,
    #[schemars(with = "nouns::Revision")]
    revision: Revision,
    #[serde(flatten)]
    #[schemars(with = "nouns::DestinationView")]
    members: Map<String, Value>,
    /// As it is kept: a tree would not keep the order of its members.
    #[schemars(skip)]
    body: &'a Body,
    state: StateView<'a>,
    secrets: Vec<SecretView>,
    /// In the answer that sets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "&str")]
    signing_secret: Option<&'a str>,
}

/// How deliveries go.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DestinationState")]
struct StateView<'a> {
    submissions: u64,
    failing_since: Option<Rfc3339>,
    disabled: Option<DisabledView<'a>>,
    verified_at: Option<Rfc3339>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Disabled")]
struct DisabledView<'a> {
    at: Rfc3339,
    reason: &'a str,
}

/// A signing secret, by its name.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DestinationSecret")]
struct SecretView {
    #[schemars(with = "nouns::CredentialId")]
    id: CredentialId,
    expires_at: Option<Rfc3339>,
}

impl<'a> View<'a> {
    pub(super) fn of(
        id: DestinationId,
        revision: Revision,
        destination: &'a Destination,
        state: &'a DestinationState,
    ) -> Self {
        let mut members = members_of(&destination.form());
        if state.disabled.is_some() {
            members.insert("status".to_owned(), "disabled".into());
        }
        Self {
            id,
            revision,
            members,
            body: &destination.body,
            state: StateView::of(destination, state),
            secrets: destination.signing.secrets().iter().map(SecretView::of).collect(),
            signing_secret: None,
        }
    }

    pub(super) fn with_secret(self, secret: Option<&'a Secret>) -> Self {
        Self { signing_secret: secret.map(Secret::expose), ..self }
    }
}

impl<'a> StateView<'a> {
    fn of(destination: &Destination, state: &'a DestinationState) -> Self {
        Self {
            submissions: state.submissions,
            failing_since: state.failing_since.map(Rfc3339),
            disabled: state.disabled.as_ref().map(DisabledView::of),
            verified_at: destination.verified_at(state).map(Rfc3339),
        }
    }
}

impl<'a> DisabledView<'a> {
    fn of(disabled: &'a Disabled) -> Self {
        Self { at: Rfc3339(disabled.at), reason: &disabled.reason }
    }
}

impl SecretView {
    fn of(secret: &SigningSecret) -> Self {
        Self { id: secret.id, expires_at: secret.expires_at.map(Rfc3339) }
    }
}

/// The states that are kept of the destinations after the one name, up to the other, by their
/// names: of a page in as many reads as it has pages, and not one for each destination.
pub(super) async fn states(
    api: &TenantApi,
    after: Option<&str>,
    last: Option<&str>,
) -> Result<BTreeMap<String, DestinationState>, Problem> {
    const KIND: DefinitionKind = DefinitionKind::DestinationState;
    let mut states = BTreeMap::new();
    let mut after = after.map(str::to_owned);
    while after.as_deref() < last {
        let page = api.store().definitions(api.workspace(), KIND, after.as_deref(), PAGE).await?;
        let has_more = page.len() == usize::from(PAGE.get());
        after = page.last().filter(|_| has_more).map(|last| last.name.clone());
        for kept in page {
            match serde_json::from_str(&kept.text) {
                Ok(state) => states.insert(kept.name, state),
                Err(error) => {
                    tracing::error!(name = kept.name, %error, "a state cannot be read");
                    return Err(Problem::Unavailable(None));
                }
            };
        }
        if after.is_none() {
            break;
        }
    }
    Ok(states)
}
