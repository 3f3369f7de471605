//! How deliveries to a destination are going: what is known of it beside what is set.

use ploy_webhooks::store::{Defined, DefinitionKind, DefinitionStore, StoreError, StoreErrorKind};
use ploy_webhooks::{DestinationId, Revision, SecretDigest, Timestamp, WorkspaceId};
use serde::{Deserialize, Serialize};

/// How deliveries to a destination are going. Kept beside the destination, under its id: it changes
/// by itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DestinationState {
    /// How many requests the receiver has taken, or may have; counted where there is an end of them.
    pub submissions: u64,
    /// Since when none has succeeded, if the last one has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// Why nothing is sent any more, if it was disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Disabled>,
    /// That who receives there has confirmed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    /// A confirmation that was asked for, and has not come yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<Confirmation>,
}

/// That a destination was disabled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "whoever shows it reads all of it")]
pub struct Disabled {
    /// When.
    pub at: Timestamp,
    /// Why, for people.
    pub reason: String,
}

/// That who receives at a URL has confirmed it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "whoever shows it reads all of it")]
pub struct Verified {
    /// When.
    pub at: Timestamp,
    /// SHA-256 of the URL: who receives elsewhere has confirmed nothing.
    pub url: SecretDigest,
}

/// A confirmation that was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "whoever asks for one builds it from its parts")]
pub struct Confirmation {
    /// SHA-256 of the token that was sent.
    pub token: SecretDigest,
    /// SHA-256 of the URL that it was sent to, as it is set.
    pub url: SecretDigest,
    /// From when on it confirms nothing.
    pub expires_at: Timestamp,
}

/// How often a change is tried against changes that run at the same time.
const ROUNDS_MAX: usize = 32;

impl DestinationState {
    /// The state of that destination, and its revision; as it begins, where nothing is kept yet.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    pub async fn of(
        store: &(impl DefinitionStore + ?Sized),
        workspace: &WorkspaceId,
        id: DestinationId,
    ) -> Result<(Self, Option<Revision>), StoreError> {
        let name = id.to_string();
        let kind = DefinitionKind::DestinationState;
        let Some(kept) = store.definition(workspace, kind, &name).await? else {
            return Ok((Self::default(), None));
        };
        let state = serde_json::from_str(&kept.text).map_err(|error| {
            let message = format!("the state of the destination {id} cannot be read");
            StoreError::new(StoreErrorKind::Corrupt, message).because(error)
        })?;
        Ok((state, Some(kept.revision)))
    }

    /// Changes the state of that destination as it is now, again if somebody else has changed it
    /// meanwhile, and returns what it has come to. A change that refuses, with `None`, changes
    /// nothing, and one that alters nothing is not written.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have changed it or not.
    pub async fn change(
        store: &(impl DefinitionStore + ?Sized),
        workspace: &WorkspaceId,
        id: DestinationId,
        mut change: impl FnMut(&mut Self) -> Option<()>,
    ) -> Result<Option<Self>, StoreError> {
        for _ in 0..ROUNDS_MAX {
            let (before, revision) = Self::of(store, workspace, id).await?;
            let mut state = before.clone();
            if change(&mut state).is_none() {
                return Ok(None);
            }
            if state == before || state.keep(store, workspace, id, revision).await? {
                return Ok(Some(state));
            }
        }
        let message = format!("the state of the destination {id} is being changed by others");
        Err(StoreError::new(StoreErrorKind::Unavailable, message))
    }

    /// `false` where somebody else was first.
    async fn keep(
        &self,
        store: &(impl DefinitionStore + ?Sized),
        workspace: &WorkspaceId,
        id: DestinationId,
        expected: Option<Revision>,
    ) -> Result<bool, StoreError> {
        let text = serde_json::to_string(self).expect("a state has string keys only");
        let (name, kind) = (id.to_string(), DefinitionKind::DestinationState);
        let defined = store.define(workspace, kind, &name, expected, &text).await?;
        Ok(matches!(defined, Defined::Defined(_)))
    }
}
