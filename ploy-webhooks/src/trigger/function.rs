//! Functions as runners.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::runner::{Job, Output, RunError, TriggerRunner};

/// A runner that calls an async function.
///
/// ```
/// use ploy_webhooks::trigger::{Job, RunError, runner_fn};
///
/// let runner = runner_fn(|job: Job| async move {
///     let payload: serde_json::Value = serde_json::from_slice(&job.event.payload)
///         .map_err(|error| RunError::permanent(error.to_string()))?;
///     Ok(format!("welcome, {}", payload["email"]))
/// });
/// # let _ = runner;
/// ```
pub fn runner_fn<F, R, O>(function: F) -> RunnerFn<F>
where
    F: Fn(Job) -> R + Send + Sync + 'static,
    R: Future<Output = Result<O, RunError>> + Send + 'static,
    O: Into<Output>,
{
    RunnerFn(function)
}

/// What [`runner_fn`] makes.
#[derive(Clone)]
pub struct RunnerFn<F>(F);

impl<F> fmt::Debug for RunnerFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunnerFn(…)")
    }
}

#[async_trait]
impl<F, R, O> TriggerRunner for RunnerFn<F>
where
    F: Fn(Job) -> R + Send + Sync + 'static,
    R: Future<Output = Result<O, RunError>> + Send + 'static,
    O: Into<Output> + 'static,
{
    async fn run(&self, job: Job) -> Result<Output, RunError> {
        (self.0)(job).await.map(Into::into)
    }
}

/// A runner that calls a function which blocks, each time on a thread of its own.
///
/// Such a function cannot be stopped. When its time is over, that goes on record, and the thread
/// is left to itself: what it does then is done beside the next attempt.
pub fn blocking_fn<F, O>(function: F) -> BlockingFn<F>
where
    F: Fn(Job) -> Result<O, RunError> + Send + Sync + 'static,
    O: Into<Output>,
{
    BlockingFn(Arc::new(function))
}

/// What [`blocking_fn`] makes.
#[derive(Clone)]
pub struct BlockingFn<F>(Arc<F>);

impl<F> fmt::Debug for BlockingFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlockingFn(…)")
    }
}

#[async_trait]
impl<F, O> TriggerRunner for BlockingFn<F>
where
    F: Fn(Job) -> Result<O, RunError> + Send + Sync + 'static,
    O: Into<Output> + 'static,
{
    async fn run(&self, job: Job) -> Result<Output, RunError> {
        let function = self.0.clone();
        let (tell, told) = oneshot::channel();
        let call = move || {
            let called = catch_unwind(AssertUnwindSafe(|| function(job).map(Into::into)));
            // Nobody may be left to hear it.
            let _ = tell.send(called);
        };
        let thread = std::thread::Builder::new().name("ploy-run".to_owned());
        thread
            .spawn(call)
            .map_err(|error| RunError::retry(format!("cannot start a thread: {error}")))?;
        match told.await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => Err(RunError::retry("the thread of the run has ended without a word")),
        }
    }
}
