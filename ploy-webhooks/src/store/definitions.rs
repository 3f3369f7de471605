//! [`DefinitionStore`]: what operators define by name, besides endpoints.

use std::fmt::Debug;
use std::num::NonZeroU16;
use std::sync::Arc;

use async_trait::async_trait;

use super::StoreError;
use crate::endpoint::Revision;
use crate::id::WorkspaceId;

/// Where definitions are kept: small texts with a name, of which a workspace has few and which
/// rarely change. What they say is not the store's business.
#[async_trait]
pub trait DefinitionStore: Debug + Send + Sync + 'static {
    /// The definition of that name; `None` where the workspace has none.
    ///
    /// A change that has returned is seen (`definitions_are_kept_whole`).
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    async fn definition(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
    ) -> Result<Option<Definition>, StoreError>;

    /// At most `limit` definitions of the workspace whose names come after `after`, in the order
    /// of the bytes of their names (`lists_of_definitions_join_without_gap_or_repeat`).
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    async fn definitions(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        after: Option<&str>,
        limit: NonZeroU16,
    ) -> Result<Vec<Definition>, StoreError>;

    /// Sets the definition of that name, provided that it is at the `expected` revision (`None`:
    /// that there is none), and counts its revision up by one, from [`Revision::FIRST`].
    ///
    /// Changes that expect one revision do not both succeed
    /// (`of_simultaneous_definitions_one_wins`), and definitions outlast the process
    /// (`definitions_survive_a_restart`). A name holds no NUL; a text may hold whatever there is.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    async fn define(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
        expected: Option<Revision>,
        text: &str,
    ) -> Result<Defined, StoreError>;

    /// Deletes the definition of that name; `false` where the workspace has none.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    async fn undefine(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
    ) -> Result<bool, StoreError>;
}

/// What is defined. Names of one kind say nothing of those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DefinitionKind {
    /// What a trigger names.
    Ploybook,
    /// Which events run what.
    Subscription,
    /// Where events are delivered to: by its id.
    Destination,
    /// How deliveries to a destination are going: by its id.
    DestinationState,
    /// A tenant: kept under [`WorkspaceId::ROOT`], by its id.
    Workspace,
    /// What opens the management API: kept under [`WorkspaceId::ROOT`], by its id.
    Token,
    /// What secrets at rest are sealed with: kept under [`WorkspaceId::ROOT`], wrapped.
    Keyring,
}

impl DefinitionKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Ploybook,
        Self::Subscription,
        Self::Destination,
        Self::DestinationState,
        Self::Workspace,
        Self::Token,
        Self::Keyring,
    ];

    /// Its name, for a store to keep.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ploybook => "ploybook",
            Self::Subscription => "subscription",
            Self::Destination => "destination",
            Self::DestinationState => "destination-state",
            Self::Workspace => "workspace",
            Self::Token => "token",
            Self::Keyring => "keyring",
        }
    }
}

/// A text with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "every store builds it from its parts")]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// Counts its changes, beginning with 1.
    pub revision: Revision,
    /// What it says.
    pub text: String,
}

/// What came of a change of a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[expect(clippy::exhaustive_enums, reason = "callers act on each of these")]
pub enum Defined {
    /// It is set, and at that revision.
    Defined(Revision),
    /// It is at another revision than was expected: at this one, or there is none. Nothing is
    /// changed.
    Conflict(Option<Revision>),
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper forwards everything")]
#[async_trait]
impl<S: DefinitionStore + ?Sized> DefinitionStore for Arc<S> {
    async fn definition(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
    ) -> Result<Option<Definition>, StoreError> {
        (**self).definition(workspace, kind, name).await
    }

    async fn definitions(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        after: Option<&str>,
        limit: NonZeroU16,
    ) -> Result<Vec<Definition>, StoreError> {
        (**self).definitions(workspace, kind, after, limit).await
    }

    async fn define(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
        expected: Option<Revision>,
        text: &str,
    ) -> Result<Defined, StoreError> {
        (**self).define(workspace, kind, name, expected, text).await
    }

    async fn undefine(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
    ) -> Result<bool, StoreError> {
        (**self).undefine(workspace, kind, name).await
    }
}
