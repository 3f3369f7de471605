//! Changes of several steps, carried out to their end.

use super::problem::Problem;

/// Carries a change out to its end, also where nobody waits for the answer any more: one that
/// broke off would hold for some endpoints, and not for others.
pub(super) async fn to_its_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    tokio::spawn(change).await.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Err(Problem::Unavailable(None)),
    })
}
