//! A token as it is kept: its digest, and what it opens.

use ploy_webhooks::store::DefinitionKind;
use ploy_webhooks::{SecretDigest, Timestamp, TokenId, WorkspaceId};
use serde::{Deserialize, Serialize};

use super::caller::{Scope, TenantApi};
use super::definitions::{self, Defines};
use super::problem::Problem;
use crate::store::Store;

/// What opens the management API for one workspace. Kept as JSON under its [`TokenId`], which
/// comes from its digest: one look-up finds it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Token {
    pub(super) workspace: WorkspaceId,
    pub(super) scope: Scope,
    pub(super) description: String,
    pub(super) digest: SecretDigest,
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
}

impl Defines for Token {
    const KIND: DefinitionKind = DefinitionKind::Token;

    const SETTINGS: &[&str] = &[];

    fn check(&self, _: Option<&Self>, _: &TenantApi) -> Result<(), Problem> {
        if self.description.chars().count() > 500 {
            return Err(Problem::invalid("`description` has at most 500 characters"));
        }
        match self.has_expired(self.created_at) {
            true => Err(Problem::invalid("the token would have expired already")),
            false => Ok(()),
        }
    }
}

impl Token {
    /// The token that has this digest.
    pub(super) async fn look_up(
        store: &dyn Store,
        digest: &SecretDigest,
    ) -> Result<Option<Self>, Problem> {
        let id = TokenId::of(digest).to_string();
        let Some(found) = store.definition(&WorkspaceId::ROOT, Self::KIND, &id).await? else {
            return Ok(None);
        };
        let token: Self = definitions::read(&found)?;
        // The id says half of the digest; in constant time, the whole of it.
        Ok((token.digest == *digest).then_some(token))
    }

    pub(super) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }
}
