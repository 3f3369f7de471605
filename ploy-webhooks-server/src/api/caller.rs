//! Who calls, and what they may: the API as a handler has it, with the workspace of the caller.

use axum::extract::FromRequestParts;
use http::Method;
use http::request::Parts;
use ploy_webhooks::{Keyring, WorkspaceId};
use ploy_webhooks_delivery::Courier;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::places::Place;
use super::problem::Problem;
use super::{Api, Backups, Commands};
use crate::store::Store;

/// Who calls. Put into every request that is let through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) workspace: WorkspaceId,
    pub(super) access: Access,
}

/// What a caller may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Everything, and alone what concerns workspaces and tokens.
    Root,
    /// What the scope of a token allows, in the workspace of the token.
    Token(Scope),
}

/// What a token opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Scope {
    Read,
    Write,
}

impl Caller {
    /// Refuses the methods that the caller may not use.
    pub(super) fn check(&self, method: &Method) -> Result<(), Problem> {
        let only_reads = matches!(*method, Method::GET | Method::HEAD);
        match self.access {
            Access::Token(Scope::Read) if !only_reads => Err(Problem::Forbidden(
                "the token has the scope `read`; use one with the scope `write`",
            )),
            _ => Ok(()),
        }
    }

    fn of(parts: &Parts) -> Self {
        *parts.extensions.get().expect("nobody gets past `auth::admit` unidentified")
    }
}

/// The API within the workspace of the caller: what it finds and makes is of that one.
#[derive(Clone, Debug)]
pub(super) struct TenantApi {
    api: Api,
    caller: Caller,
}

impl TenantApi {
    /// For who shows no token of the API, but that of a link: whatever it is that the link is of, is
    /// of that workspace.
    pub(super) const fn of_link(api: Api, workspace: WorkspaceId) -> Self {
        Self { api, caller: Caller { workspace, access: Access::Token(Scope::Write) } }
    }

    pub(super) fn store(&self) -> &dyn Store {
        self.api.store()
    }

    /// The workspace of the caller.
    pub(super) const fn workspace(&self) -> &WorkspaceId {
        &self.caller.workspace
    }

    pub(super) fn public_url(&self) -> &str {
        &self.api.parts.public_url
    }

    /// What seals the secrets that are kept.
    pub(super) fn keyring(&self) -> &Keyring {
        &self.api.parts.keyring
    }

    /// What sends to destinations.
    pub(super) fn courier(&self) -> &Courier {
        &self.api.parts.courier
    }

    /// The longest payload that is published.
    pub(super) fn payload_bytes_max(&self) -> usize {
        self.api.parts.payload_bytes_max
    }

    /// Where backups are made, if anywhere.
    pub(super) fn backups(&self) -> Option<&Backups> {
        self.api.parts.backups.as_ref()
    }

    pub(super) fn commands(&self) -> Commands {
        self.api.parts.commands
    }

    /// The API as a whole, for what outlasts the call.
    pub(super) const fn api(&self) -> &Api {
        &self.api
    }

    /// Room for an export, until it is dropped; `None` where there is none at the moment.
    pub(super) fn room_for_an_export(&self) -> Option<Place> {
        self.api.parts.exports.take(self.caller.workspace)
    }

    pub(super) fn is_root(&self) -> bool {
        self.caller.access == Access::Root
    }
}

impl FromRequestParts<Api> for TenantApi {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        Ok(Self { api: api.clone(), caller: Caller::of(parts) })
    }
}

/// The API for what only the root token may.
#[derive(Clone, Debug)]
pub(super) struct RootApi {
    /// Where workspaces and tokens are defined.
    pub(super) definitions: TenantApi,
    /// The workspace in which the caller acts.
    pub(super) acts_in: WorkspaceId,
}

impl FromRequestParts<Api> for RootApi {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let caller = Caller::of(parts);
        if caller.access != Access::Root {
            return Err(Problem::Forbidden(
                "only the root token manages workspaces and tokens, and makes backups",
            ));
        }
        let definitions = Caller { workspace: WorkspaceId::ROOT, ..caller };
        Ok(Self {
            definitions: TenantApi { api: api.clone(), caller: definitions },
            acts_in: caller.workspace,
        })
    }
}
