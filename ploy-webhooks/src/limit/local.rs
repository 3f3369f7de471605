//! The limiter of one process: GCRA, by the governor crate.

use std::sync::Arc;

use async_trait::async_trait;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter as Governor};
use papaya::HashMap;

use super::{Admission, LimitKey, RateLimiter};
use crate::limits::Rate;
use crate::store::StoreError;

/// Limits each endpoint and workspace by what this process sees of it.
///
/// Holds the state of at most [`KEYS_MAX`](Self::KEYS_MAX) of them. With one more, all are
/// forgotten, and begin anew with their full bursts.
#[derive(Debug, Default)]
pub struct LocalLimiter {
    // A rate that is being changed is known to some requests and not yet to others: each goes by
    // its own, and none undoes what the other has counted.
    limiters: HashMap<(LimitKey, Rate), Arc<Limiter>>,
    clock: DefaultClock,
}

type Limiter = Governor<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

impl LocalLimiter {
    /// How many endpoints and workspaces are held at once.
    pub const KEYS_MAX: usize = 1 << 16;

    /// A limiter that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn limiter(&self, of: LimitKey, rate: Rate) -> Arc<Limiter> {
        let limiters = self.limiters.pin();
        if let Some(limiter) = limiters.get(&(of, rate)) {
            return limiter.clone();
        }
        if limiters.len() >= Self::KEYS_MAX {
            limiters.clear();
        }
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.at_once());
        let limiter = Arc::new(Governor::direct(quota).with_middleware());
        // A racing request may have been first: both count by what it put there.
        limiters.get_or_insert((of, rate), limiter).clone()
    }
}

#[async_trait]
impl RateLimiter for LocalLimiter {
    async fn check(&self, of: LimitKey, rate: Rate) -> Result<Admission, StoreError> {
        Ok(match self.limiter(of, rate).check() {
            Ok(state) => Admission::Admitted { remaining: state.remaining_burst_capacity() },
            Err(until) => {
                Admission::Exceeded { retry_after: until.wait_time_from(self.clock.now()) }
            }
        })
    }
}
