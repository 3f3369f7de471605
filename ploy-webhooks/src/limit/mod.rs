//! How often an endpoint may be sent to.

mod local;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::endpoint::{Endpoint, Rate};
use crate::store::StoreError;

pub use local::LocalLimiter;

/// Counts what an endpoint takes, and says when it is too much.
///
/// Asked once for each request that has proved its sender, and only where the endpoint has a
/// rate.
#[async_trait]
pub trait RateLimiter: Debug + Send + Sync + 'static {
    /// Whether one more event is within the endpoint's rate; if so, counts it.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`]; the pipeline answers 503.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have counted the event.
    async fn check(&self, endpoint: &Endpoint, rate: Rate) -> Result<Admission, StoreError>;
}

/// What a limiter says to one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[expect(clippy::exhaustive_enums, reason = "an event is admitted or it is not")]
pub enum Admission {
    /// It is within the rate, and counted.
    Admitted,
    /// It is too much.
    Exceeded {
        /// After this time one more would be within the rate.
        retry_after: Duration,
    },
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper forwards everything")]
#[async_trait]
impl<L: RateLimiter + ?Sized> RateLimiter for Arc<L> {
    async fn check(&self, endpoint: &Endpoint, rate: Rate) -> Result<Admission, StoreError> {
        (**self).check(endpoint, rate).await
    }
}
