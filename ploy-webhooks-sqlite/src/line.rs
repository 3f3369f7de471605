//! [`RunQueue`]: the line of runs that may be claimed, now or later.
//!
//! Whatever changes it goes through the writer's queue, so that a claim, the end of an attempt
//! and the deletion of an endpoint each have their place between two batches of events. Only
//! waiting reads by itself.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ploy_webhooks::store::{Altered, Claim, Lanes, RunQueue, StoreError, Tenure};
use ploy_webhooks::{EventId, Lease, LeasedRun, NewRun, Outcome, RunId, Timestamp, WorkspaceId};
use rusqlite::Connection;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use crate::SqliteStore;
use crate::claim::{Claimed, LastServed, Wanted, claim, next_due};
use crate::hands::{self, Hand};
use crate::search::{self, Place};
use crate::task;
use crate::tenure::{Said, Sayings};

/// About what a claimed run, or an added one, adds to the log.
const RUN_LOG_BYTES: usize = 1 << 10;
/// Who waits, and was woken for nothing, looks again no sooner than this after it has looked: else
/// a busy endpoint whose lane is full would have it look with every commit.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);
/// Nor before so many times as long as that look took has passed: with many lanes a look is long,
/// and who waits would keep a reader busy with nothing else.
const LOOKS_OF_PAUSE: u32 = 8;

/// What those who use the line share with the writer.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Pokes those who wait when a run is owed.
    pub(crate) owed: Notify,
    /// Pokes those who follow the feed, after each commit.
    pub(crate) fed: Notify,
    pub(crate) sayings: Sayings,
    last_served: LastServed,
}

#[async_trait]
impl RunQueue for SqliteStore {
    async fn claim(&self, claiming: &Claim<'_>) -> Result<Vec<LeasedRun>, StoreError> {
        let wanted = Arc::new(Wanted {
            worker: claiming.worker.clone(),
            max: claiming.max.get().into(),
            lease: claiming.lease,
            lanes: claiming.lanes.clone(),
        });
        let mut round = None;
        loop {
            let (wanted, line) = (wanted.clone(), self.line.clone());
            let (log_growth, clock) = (self.log_growth.clone(), self.clock.clone());
            let work = move |connection: &mut Connection| {
                let claimed = task::transact(connection, |connection| {
                    claim(connection, &wanted, &line.last_served, round, clock.now())
                })?;
                log_growth.add(RUN_LOG_BYTES * (claimed.runs.len() + claimed.failed));
                line.fed.notify_waiters();
                Ok((claimed, None))
            };
            let Claimed { runs, rest, .. } = task::give(&self.queue, 0, work)?.recv().await?;
            if !runs.is_empty() || rest.is_none() {
                return Ok(runs);
            }
            round = rest;
        }
    }

    async fn extend(&self, lease: &Lease, by: Duration) -> Result<Tenure, StoreError> {
        self.say(*lease, Said::Extend { by }).await
    }

    async fn finish(&self, lease: &Lease, outcome: Outcome) -> Result<Tenure, StoreError> {
        self.say(*lease, Said::Finish { outcome }).await
    }

    async fn wait(&self, at_most: Duration, lanes: &Lanes) -> Result<(), StoreError> {
        let lanes = Arc::new(lanes.clone());
        let until_due = async {
            loop {
                let mut owed = pin!(self.line.owed.notified());
                // From here on nothing is missed.
                owed.as_mut().enable();
                let (lanes, now) = (lanes.clone(), self.clock.now());
                let look = move |connection: &mut Connection| {
                    // Its own time, not that for which it waits for a reader.
                    let begin = Instant::now();
                    Ok((next_due(connection, &lanes, now)?, begin.elapsed()))
                };
                let (next_due, look_time) = self.look_ups.read(look).await?;
                let (looked_at, now) = (Instant::now(), self.clock.now());
                match next_due {
                    Some(due_at) if due_at <= now => return Ok(()),
                    Some(due_at) => {
                        // Whichever comes first: the line is looked at again.
                        let _ = timeout(due_at.since(now), owed).await;
                    }
                    None => owed.await,
                }
                let pause = LOOK_AGAIN_AFTER.max(LOOKS_OF_PAUSE * look_time);
                sleep_until(looked_at + pause).await;
            }
        };
        // Nothing was due in time, which is an answer too.
        timeout(at_most, until_due).await.unwrap_or(Ok(()))
    }

    async fn enqueue(
        &self,
        workspace: &WorkspaceId,
        event: &EventId,
        runs: Vec<NewRun>,
    ) -> Result<bool, StoreError> {
        let (workspace, event, closed) = (*workspace, *event, self.closed_blocks.clone());
        let find =
            move |connection: &mut Connection| search::find(connection, &closed, workspace, event);
        let Some(Place { seq, .. }) = self.look_ups.read(find).await? else {
            return Ok(false);
        };
        let log_bytes = RUN_LOG_BYTES * runs.len();
        let work = move |connection: &Connection, now| hands::add(connection, seq, &runs, now);
        self.change_line(log_bytes, work).await?
    }

    async fn requeue(&self, workspace: &WorkspaceId, run: &RunId) -> Result<Altered, StoreError> {
        self.alter(*workspace, *run, Hand::Requeue).await
    }

    async fn cancel(&self, workspace: &WorkspaceId, run: &RunId) -> Result<Altered, StoreError> {
        self.alter(*workspace, *run, Hand::Cancel).await
    }
}

impl SqliteStore {
    async fn alter(
        &self,
        workspace: WorkspaceId,
        run: RunId,
        hand: Hand,
    ) -> Result<Altered, StoreError> {
        let work =
            move |connection: &Connection, now| hands::alter(connection, workspace, run, hand, now);
        self.change_line(RUN_LOG_BYTES, work).await
    }

    /// Does it in a commit of its own, and wakes those who wait.
    async fn change_line<T: Send + 'static>(
        &self,
        log_bytes: usize,
        work: impl FnOnce(&Connection, Timestamp) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (line, clock) = (self.line.clone(), self.clock.clone());
        let work = move |connection: &mut Connection| {
            let now = clock.now();
            let done = task::commit(connection, |connection| work(connection, now))?;
            line.owed.notify_waiters();
            line.fed.notify_waiters();
            Ok((done, None))
        };
        task::give(&self.queue, log_bytes, work)?.recv().await
    }
}
