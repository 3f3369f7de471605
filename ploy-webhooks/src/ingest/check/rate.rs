//! The endpoint, and all of its workspace together, is sent to no oftener than it takes.

use crate::ingest::Refusal;
use crate::limit::{Admission, LimitKey, RateLimiter};
use crate::limits::Rate;
use crate::store::StoreError;

pub(in crate::ingest) async fn check(
    of: LimitKey,
    rate: Rate,
    limiter: &dyn RateLimiter,
) -> Result<Result<u32, Refusal>, StoreError> {
    Ok(match limiter.check(of, rate).await? {
        Admission::Admitted { remaining } => Ok(remaining),
        Admission::Exceeded { retry_after } => Err(Refusal::RateLimited { retry_after }),
    })
}
