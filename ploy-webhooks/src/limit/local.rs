//! The limiter of one process: GCRA, by the governor crate.

use std::sync::Arc;

use async_trait::async_trait;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota};
use papaya::HashMap;

use super::{Admission, RateLimiter};
use crate::endpoint::{Endpoint, Rate};
use crate::id::EndpointId;
use crate::store::StoreError;

/// Limits each endpoint by what this process sees of it.
///
/// Holds the state of at most [`ENDPOINTS_MAX`](Self::ENDPOINTS_MAX) endpoints. With one more,
/// all are forgotten, and begin anew with their full bursts.
#[derive(Debug, Default)]
pub struct LocalLimiter {
    limiters: HashMap<EndpointId, Arc<Limited>>,
    clock: DefaultClock,
}

#[derive(Debug)]
struct Limited {
    rate: Rate,
    limiter: DefaultDirectRateLimiter,
}

impl LocalLimiter {
    /// How many endpoints are held at once.
    pub const ENDPOINTS_MAX: usize = 1 << 16;

    /// A limiter that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn limited(&self, endpoint: EndpointId, rate: Rate) -> Arc<Limited> {
        let limiters = self.limiters.pin();
        match limiters.get(&endpoint) {
            Some(limited) if limited.rate == rate => limited.clone(),
            _ => {
                if limiters.len() >= Self::ENDPOINTS_MAX {
                    limiters.clear();
                }
                let limited = Arc::new(Limited::new(rate));
                // A racing request may have been first: both count by what it put there.
                limiters
                    .update_or_insert(
                        endpoint,
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
        let burst = rate.burst.unwrap_or(rate.per_second);
        let quota = Quota::per_second(rate.per_second).allow_burst(burst);
        Self { rate, limiter: DefaultDirectRateLimiter::direct(quota) }
    }
}

#[async_trait]
impl RateLimiter for LocalLimiter {
    async fn check(&self, endpoint: &Endpoint, rate: Rate) -> Result<Admission, StoreError> {
        let limited = self.limited(endpoint.id, rate);
        Ok(match limited.limiter.check() {
            Ok(()) => Admission::Admitted,
            Err(until) => {
                Admission::Exceeded { retry_after: until.wait_time_from(self.clock.now()) }
            }
        })
    }
}
