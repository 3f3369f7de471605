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
    limiters: HashMap<LimitKey, Arc<Limited>>,
    clock: DefaultClock,
}

#[derive(Debug)]
struct Limited {
    rate: Rate,
    limiter: Governor<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>,
}

impl LocalLimiter {
    /// How many endpoints and workspaces are held at once.
    pub const KEYS_MAX: usize = 1 << 16;

    /// A limiter that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn limited(&self, of: LimitKey, rate: Rate) -> Arc<Limited> {
        let limiters = self.limiters.pin();
        match limiters.get(&of) {
            Some(limited) if limited.rate == rate => limited.clone(),
            _ => {
                if limiters.len() >= Self::KEYS_MAX {
                    limiters.clear();
                }
                let limited = Arc::new(Limited::new(rate));
                // A racing request may have been first: both count by what it put there.
                limiters
                    .update_or_insert(
                        of,
                        |standing| {
                            if standing.rate == rate { standing.clone() } else { limited.clone() }
                        },
                        limited.clone(),
                    )
                    .clone()
            }
        }
    }
}

impl Limited {
    fn new(rate: Rate) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.at_once());
        Self { rate, limiter: Governor::direct(quota).with_middleware() }
    }
}

#[async_trait]
impl RateLimiter for LocalLimiter {
    async fn check(&self, of: LimitKey, rate: Rate) -> Result<Admission, StoreError> {
        let limited = self.limited(of, rate);
        Ok(match limited.limiter.check() {
            Ok(state) => Admission::Admitted { remaining: state.remaining_burst_capacity() },
            Err(until) => {
                Admission::Exceeded { retry_after: until.wait_time_from(self.clock.now()) }
            }
        })
    }
}
