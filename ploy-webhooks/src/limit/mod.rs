//! How often an endpoint, or all endpoints of a workspace together, may be sent to.

mod local;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::id::{DestinationId, EndpointId, WorkspaceId};
use crate::limits::Rate;
use crate::store::StoreError;

pub use local::LocalLimiter;

/// Counts what is taken, and says when it is too much.
///
/// Asked for each request that has proved its sender, once for each rate that holds for it: its
/// endpoint's, then its workspace's.
#[async_trait]
pub trait RateLimiter: Debug + Send + Sync + 'static {
    /// Whether one more event is within the rate; if so, counts it.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`]; the pipeline answers 503.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have counted the event.
    async fn check(&self, of: LimitKey, rate: Rate) -> Result<Admission, StoreError>;
}

/// Whose rate it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "limiters keep each of these")]
pub enum LimitKey {
    /// One endpoint's.
    Endpoint(EndpointId),
    /// That of all endpoints of a workspace together.
    Workspace(WorkspaceId),
    /// That of what is delivered to a destination.
    Destination(DestinationId),
}

/// What a limiter says to one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[expect(clippy::exhaustive_enums, reason = "an event is admitted or it is not")]
pub enum Admission {
    /// It is within the rate, and counted.
    Admitted {
        /// How many more would be, right now.
        remaining: u32,
    },
    /// It is too much.
    Exceeded {
        /// After this time one more would be within the rate.
        retry_after: Duration,
    },
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper forwards everything")]
#[async_trait]
impl<L: RateLimiter + ?Sized> RateLimiter for Arc<L> {
    async fn check(&self, of: LimitKey, rate: Rate) -> Result<Admission, StoreError> {
        (**self).check(of, rate).await
    }
}
