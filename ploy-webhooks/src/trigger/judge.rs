//! [`Judge`]: whether conditions hold, away from the threads of the runtime.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;

use super::remembered::Remembered;
use super::runner::{Job, RunError};
use crate::condition::{Condition, ConditionError, Facts, Verdict};

/// Judges conditions, a few at a time: one takes as long and as much memory as its bounds allow,
/// and must not take them from whoever takes events in.
#[derive(Debug)]
pub(super) struct Judge {
    conditions: Remembered<String, Arc<Result<Condition, ConditionError>>>,
    seats: Semaphore,
}

impl Judge {
    /// Half of the cores at most are judged on.
    pub(super) fn new() -> Self {
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        Self { conditions: Remembered::new(), seats: Semaphore::new((cores / 2).max(1)) }
    }

    /// Whether that condition holds of the job's event.
    pub(super) async fn judge(&self, text: &str, job: &Job) -> Result<Verdict, RunError> {
        let _seat = self.seat().await?;
        let compile = async |text: &String| {
            let text = text.clone();
            let compiled = spawn_blocking(move || Condition::compile(&text)).await;
            match compiled.map_err(|_| interrupted())? {
                // That passes: it says nothing of the condition.
                Err(ConditionError::NoThread) => Err(RunError::retry(
                    "the condition could not be read: there was no thread for it",
                )),
                compiled => Ok(Arc::new(compiled)),
            }
        };
        let condition = self.conditions.get(text.to_owned(), |_| true, compile).await?;
        let (event, fields) = (job.event.clone(), job.fields.clone());
        let judge = move || match &*condition {
            Ok(condition) => condition.judge(&Facts { event: &event, fields: &fields }),
            Err(error) => Verdict::Unclear(error.to_string()),
        };
        spawn_blocking(judge).await.map_err(|_| interrupted())
    }

    async fn seat(&self) -> Result<SemaphorePermit<'_>, RunError> {
        self.seats.acquire().await.map_err(|_| interrupted())
    }
}

fn interrupted() -> RunError {
    RunError::retry("judging a condition was interrupted")
}
