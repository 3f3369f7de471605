//! The endpoint is sent to no oftener than it takes.

use crate::endpoint::Endpoint;
use crate::ingest::Refusal;
use crate::limit::{Admission, RateLimiter};
use crate::store::StoreError;

pub(in crate::ingest) async fn check(
    endpoint: &Endpoint,
    limiter: &dyn RateLimiter,
) -> Result<Result<(), Refusal>, StoreError> {
    let Some(rate) = endpoint.config.limits.rate else {
        return Ok(Ok(()));
    };
    Ok(match limiter.check(endpoint, rate).await? {
        Admission::Admitted => Ok(()),
        Admission::Exceeded { retry_after } => Err(Refusal::RateLimited { retry_after }),
    })
}
