//! [`EndpointStore`]: where endpoints are made, changed and deleted.

use std::num::NonZeroU16;
use std::sync::Arc;

use async_trait::async_trait;

use super::{KeyStore, StoreError};
use crate::auth::Auth;
use crate::clock::Timestamp;
use crate::endpoint::{Endpoint, EndpointConfig, Revision};
use crate::id::{EndpointId, WorkspaceId};
use crate::secret::SecretDigest;

/// A [`KeyStore`] whose endpoints can be made, changed and deleted: the control plane.
#[async_trait]
pub trait EndpointStore: KeyStore {
    /// Stores a new endpoint, at the revision that it has.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    async fn create(&self, endpoint: Endpoint) -> Result<Created, StoreError>;

    /// The endpoint with that id; `None` where the workspace has none.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    async fn endpoint_by_id(
        &self,
        workspace: &WorkspaceId,
        id: &EndpointId,
    ) -> Result<Option<Arc<Endpoint>>, StoreError>;

    /// At most `limit` endpoints of the workspace, in the order of their ids, that come after
    /// `after`.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    async fn endpoints(
        &self,
        workspace: &WorkspaceId,
        after: Option<EndpointId>,
        limit: NonZeroU16,
    ) -> Result<Vec<Arc<Endpoint>>, StoreError>;

    /// Applies the patch, provided that the endpoint is at the `expected` revision, and counts
    /// the revision up by one.
    ///
    /// # To ensure correctness
    ///
    /// When this returns, no event that was checked against an earlier revision will be stored,
    /// by this process or any other (`changes_wait_for_appends_under_way`), and it returns soon
    /// however many appends there are (`changes_are_not_starved_by_appends`). Changes that
    /// expect one revision do not both succeed (`of_simultaneous_changes_one_wins`).
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    async fn update(
        &self,
        workspace: &WorkspaceId,
        id: &EndpointId,
        expected: Revision,
        patch: EndpointPatch,
    ) -> Result<Updated, StoreError>;

    /// Deletes the endpoint with all its events, runs and deduplication keys. `false` where the
    /// workspace has no such endpoint.
    ///
    /// # To ensure correctness
    ///
    /// When this returns, no event is accepted for the endpoint any more, and nothing of its
    /// history can be read (`deletion_takes_the_history_along`). The space may be freed later.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    async fn delete(&self, workspace: &WorkspaceId, id: &EndpointId) -> Result<bool, StoreError>;
}

/// What changes about an endpoint; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "callers name the part that they change")]
pub struct EndpointPatch {
    /// A new configuration.
    pub config: Option<EndpointConfig>,
    /// New credentials.
    pub auth: Option<Auth>,
}

impl EndpointPatch {
    /// The endpoint as it is after this change, at its next revision.
    #[must_use]
    pub fn apply(self, endpoint: &Endpoint) -> Endpoint {
        let mut changed = endpoint.clone();
        changed.revision = endpoint.revision.next();
        if let Some(config) = self.config {
            changed.config = config;
        }
        if let Some(auth) = self.auth {
            changed.auth = auth;
        }
        changed
    }
}

/// What came of a creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[expect(clippy::exhaustive_enums, reason = "callers act on each of these")]
pub enum Created {
    /// The endpoint is stored.
    Created,
    /// Another endpoint has that slug or id. Nothing is changed.
    Taken,
}

/// What came of a change.
#[derive(Clone, Debug)]
#[must_use]
#[expect(clippy::exhaustive_enums, reason = "callers act on each of these")]
pub enum Updated {
    /// The endpoint as it is now.
    Updated(Arc<Endpoint>),
    /// It is at another revision than was expected: this. Nothing is changed.
    Conflict(Revision),
    /// The workspace has no such endpoint.
    Missing,
}

/// Where the server keeps what opens its management API.
#[async_trait]
pub trait TokenStore: std::fmt::Debug + Send + Sync + 'static {
    /// The digest of the root token; `None` where none was ever set.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    async fn root_token(&self) -> Result<Option<SecretDigest>, StoreError>;

    /// Sets the root token where there is none, and returns the one that stands: of any number
    /// of processes that start at once, one wins (`one_root_token_is_set_for_good`).
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    async fn claim_root_token(
        &self,
        digest: SecretDigest,
        now: Timestamp,
    ) -> Result<SecretDigest, StoreError>;
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper forwards everything")]
#[async_trait]
impl<S: EndpointStore + ?Sized> EndpointStore for Arc<S> {
    async fn create(&self, endpoint: Endpoint) -> Result<Created, StoreError> {
        (**self).create(endpoint).await
    }

    async fn endpoint_by_id(
        &self,
        workspace: &WorkspaceId,
        id: &EndpointId,
    ) -> Result<Option<Arc<Endpoint>>, StoreError> {
        (**self).endpoint_by_id(workspace, id).await
    }

    async fn endpoints(
        &self,
        workspace: &WorkspaceId,
        after: Option<EndpointId>,
        limit: NonZeroU16,
    ) -> Result<Vec<Arc<Endpoint>>, StoreError> {
        (**self).endpoints(workspace, after, limit).await
    }

    async fn update(
        &self,
        workspace: &WorkspaceId,
        id: &EndpointId,
        expected: Revision,
        patch: EndpointPatch,
    ) -> Result<Updated, StoreError> {
        (**self).update(workspace, id, expected, patch).await
    }

    async fn delete(&self, workspace: &WorkspaceId, id: &EndpointId) -> Result<bool, StoreError> {
        (**self).delete(workspace, id).await
    }
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper forwards everything")]
#[async_trait]
impl<S: TokenStore + ?Sized> TokenStore for Arc<S> {
    async fn root_token(&self) -> Result<Option<SecretDigest>, StoreError> {
        (**self).root_token().await
    }

    async fn claim_root_token(
        &self,
        digest: SecretDigest,
        now: Timestamp,
    ) -> Result<SecretDigest, StoreError> {
        (**self).claim_root_token(digest, now).await
    }
}
