//! A deadline that costs nothing where it is not needed.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// What the future yields; `None` when it takes longer than `allowed`.
///
/// It is polled once before a timer is started: most bodies are there with their head, and most
/// stores in memory answer at once.
pub(super) async fn in_time<F: Future>(allowed: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    if let Poll::Ready(output) = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        return Some(output);
    }
    tokio::time::timeout(allowed, future).await.ok()
}
