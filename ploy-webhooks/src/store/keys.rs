//! [`KeyStore`]: where the pipeline looks endpoints up.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::StoreError;
use crate::endpoint::{Endpoint, Slug};

/// Where the pipeline looks endpoints up, with the digests of their keys.
///
/// The pipeline caches what it gets, and the store need not: nothing has to be told to the cache
/// when an endpoint changes, because an event that was checked against an old state is refused
/// by the fence of [`EventStore::append`](super::EventStore::append), and a sender is not
/// refused before the endpoint was looked up afresh.
#[async_trait]
pub trait KeyStore: Debug + Send + Sync + 'static {
    /// The endpoint with that slug as it is now; `None` where there is none.
    ///
    /// # To ensure correctness
    ///
    /// A change whose call has returned is seen by every look-up that begins afterwards, so no
    /// answer may come from a cache or from a replica that lags behind
    /// (promise: `look_up_sees_every_change_that_returned`).
    ///
    /// The store never compares secrets: it returns digests, and the pipeline compares them in
    /// constant time.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`]; the pipeline answers 503.
    async fn endpoint(&self, slug: &Slug) -> Result<Option<Arc<Endpoint>>, StoreError>;
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper forwards everything")]
#[async_trait]
impl<S: KeyStore + ?Sized> KeyStore for Arc<S> {
    async fn endpoint(&self, slug: &Slug) -> Result<Option<Arc<Endpoint>>, StoreError> {
        (**self).endpoint(slug).await
    }
}
