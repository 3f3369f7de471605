//! A workspace: a tenant, and what bounds it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::id::WorkspaceId;
use crate::limits::Rate;
use crate::retention::Retention;
use crate::store::{DefinitionKind, DefinitionStore, StoreError, StoreErrorKind};

/// A tenant: endpoints, events, runs, Ploybooks and subscriptions of one workspace are out of
/// reach for every other.
///
/// Kept as JSON under its id, in [`WorkspaceId::ROOT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Workspace {
    /// For people.
    pub name: String,
    /// When it was made; for [`WorkspaceId::DEFAULT`], which nobody makes, the beginning of 1970.
    pub created_at: Timestamp,
    /// Bounds of all that it holds together.
    #[serde(default)]
    pub limits: WorkspaceLimits,
}

/// Bounds of all that a workspace holds together; what is `None` is unbounded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct WorkspaceLimits {
    /// How often its endpoints may be sent to, all together; each may have a rate of its own
    /// besides.
    pub rate: Option<Rate>,
    /// For how long events are kept, those of its endpoints and those that the app publishes; an
    /// endpoint may keep its own for less. `None` is for ever.
    #[serde(rename = "retention_seconds", skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

/// What is wrong with a workspace, for who sets it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkspaceError {
    /// The name is empty, too long or cannot be shown.
    #[error("`name` has 1 to 100 characters and no control characters")]
    Name,
}

impl Workspace {
    const NAME_CHARS_MAX: usize = 100;

    /// A workspace without bounds.
    #[must_use]
    pub fn new(name: String, created_at: Timestamp) -> Self {
        Self { name, created_at, limits: WorkspaceLimits::default() }
    }

    /// The workspace as it is now; `None` where there is none. [`WorkspaceId::DEFAULT`] always is,
    /// and [`WorkspaceId::ROOT`] never.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`]; of the kind `Corrupt` where what is kept cannot be read.
    pub async fn look_up(
        store: &(impl DefinitionStore + ?Sized),
        id: &WorkspaceId,
    ) -> Result<Option<Self>, StoreError> {
        let kind = DefinitionKind::Workspace;
        match store.definition(&WorkspaceId::ROOT, kind, &id.to_string()).await? {
            Some(definition) => serde_json::from_str(&definition.text).map(Some).map_err(|error| {
                let message = format!("the workspace `{id}` cannot be read");
                StoreError::new(StoreErrorKind::Corrupt, message).because(error)
            }),
            None if *id == WorkspaceId::DEFAULT => Ok(Some(Self::default())),
            None => Ok(None),
        }
    }

    /// Whether everything is within its bounds.
    ///
    /// # Errors
    ///
    /// The first bound that is broken.
    pub fn check(&self) -> Result<(), WorkspaceError> {
        let chars = self.name.chars().count();
        let is_name =
            (1..=Self::NAME_CHARS_MAX).contains(&chars) && !self.name.chars().any(char::is_control);
        is_name.then_some(()).ok_or(WorkspaceError::Name)
    }
}

/// [`WorkspaceId::DEFAULT`], as it is where nobody has changed it.
impl Default for Workspace {
    fn default() -> Self {
        Self::new("Default".to_owned(), WorkspaceId::DEFAULT.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Defined, MemoryStore};

    async fn keep(store: &MemoryStore, id: &WorkspaceId, text: &str) {
        let kind = DefinitionKind::Workspace;
        let kept = store.define(&WorkspaceId::ROOT, kind, &id.to_string(), None, text).await;
        assert!(matches!(kept.unwrap(), Defined::Defined(_)));
    }

    #[tokio::test]
    async fn a_workspace_is_there_once_it_is_kept_and_the_default_one_always() {
        let store = MemoryStore::new();
        let (acme, other) = (WorkspaceId::from_bytes([1; 16]), WorkspaceId::from_bytes([2; 16]));
        let form = serde_json::json!({
            "name": "Acme", "created_at": 1_800_000_000_123_u64,
            "limits": {"rate": {"per_second": 100, "burst": 200}},
        });
        keep(&store, &acme, &form.to_string()).await;
        let found = Workspace::look_up(&store, &acme).await.unwrap().unwrap();
        assert_eq!(found.limits.rate.unwrap().per_second.get(), 100);
        assert_eq!(serde_json::to_value(found).unwrap(), form);
        assert_eq!(Workspace::look_up(&store, &other).await.unwrap(), None);
        assert_eq!(Workspace::look_up(&store, &WorkspaceId::ROOT).await.unwrap(), None);

        let default = WorkspaceId::DEFAULT;
        assert_eq!(Workspace::look_up(&store, &default).await.unwrap(), Some(Workspace::default()));
        keep(&store, &default, r#"{"name":"Ours","created_at":0}"#).await;
        assert_eq!(Workspace::look_up(&store, &default).await.unwrap().unwrap().name, "Ours");
    }

    #[tokio::test]
    async fn a_bound_that_cannot_be_read_is_an_error_and_not_none() {
        let store = MemoryStore::new();
        let id = WorkspaceId::from_bytes([1; 16]);
        keep(&store, &id, r#"{"name":"Acme","created_at":0,"limits":{"rates":{}}}"#).await;
        let error = Workspace::look_up(&store, &id).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    }

    #[test]
    fn names_can_be_shown() {
        let check = |name: &str| Workspace::new(name.to_owned(), Timestamp::MAX).check();
        assert_eq!(check(&"é".repeat(100)), Ok(()));
        for name in ["", "a\nb", &"a".repeat(101)] {
            assert_eq!(check(name), Err(WorkspaceError::Name), "{name}");
        }
    }
}
