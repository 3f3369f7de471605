//! [`RunQueue`]: runs in line, and those who take them from it.
//!
//! The line is made of lanes, and a claim goes from one to the next by the index: what waits in
//! a lane without room is passed over, however much it is. What is delivered to one destination is
//! one lane, whatever endpoints it came from. See the function `claim_runs` in
//! `migrations/`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ploy_webhooks::store::{Altered, Claim, Lanes, RunQueue, StoreError, Tenure};
use ploy_webhooks::{EventId, Lease, LeasedRun, NewRun, Outcome, RunId, RunState, WorkspaceId};
use sqlx::Row;
use sqlx::postgres::PgRow;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::PostgresStore;
use crate::batch::{destinations, json, millis};
use crate::endpoints::stripe_of;
use crate::enter::enter_all;
use crate::error::{corrupt, write_error};
use crate::events;
use crate::runs::{attempt_number, read_failed, state};
use crate::wire::Uuid;

/// What this store has claimed, as far as it matters to who claims next.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// The lane that was served last.
    last_served: Mutex<Option<Uuid>>,
    /// How many claims in a row found nothing.
    in_vain: AtomicU32,
}

impl Turns {
    fn last_served(&self) -> Option<Uuid> {
        *self.last_served.lock().expect("no holder of the lock panics")
    }

    /// A claim has ended with that lane, or without any.
    fn ended(&self, served: Option<Uuid>) {
        match served {
            None => {
                self.in_vain.fetch_add(1, Ordering::Relaxed);
            }
            served => {
                self.in_vain.store(0, Ordering::Relaxed);
                *self.last_served.lock().expect("no holder of the lock panics") = served;
            }
        }
    }
}

/// Between two claims of what is due and cannot be had: somebody else is about to claim it.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two looks of one who waits.
const LOOK_GAP_MIN: Duration = Duration::from_millis(10);
/// And longer, the longer a look takes: who waits spends no more than one part in so many on it.
const LOOK_SHARE: u32 = 8;

#[async_trait]
impl RunQueue for PostgresStore {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Vec<LeasedRun>, StoreError> {
        let mut in_use: Vec<_> =
            claim.lanes.in_use().map(|(lane, room)| (Uuid::from(lane), i32::from(room))).collect();
        in_use.sort_unstable();
        let (lanes, rooms): (Vec<_>, Vec<_>) = in_use.into_iter().unzip();
        let rows = self
            .change("claim runs", async |connection| {
                sqlx::query(CLAIM)
                    .bind(claim.worker.as_str())
                    .bind(i32::from(claim.max.get()))
                    .bind(millis(claim.lease))
                    .bind(i32::from(claim.lanes.each().get()))
                    .bind(i32::from(claim.lanes.each_destination().get()))
                    .bind(&lanes)
                    .bind(&rooms)
                    .bind(self.turns.last_served())
                    .fetch_all(connection)
                    .await
                    .map_err(write_failed)
            })
            .await?;
        let served = rows.first().map(|row| row.try_get(11).map_err(read_failed)).transpose()?;
        self.turns.ended(served);
        if !rows.is_empty() {
            self.shared.fed.notify_waiters();
        }
        // All of them are claimed: one that cannot be read does not have the others wait until
        // their leases end.
        let (mut claimed, mut broken) = (Vec::with_capacity(rows.len()), None);
        for row in &rows {
            match leased(row) {
                Ok(run) => claimed.push(run),
                Err(error) => broken = Some(error),
            }
        }
        match broken {
            Some(error) if claimed.is_empty() => Err(error),
            Some(error) => {
                tracing::warn!(%error, "a run was claimed that cannot be read");
                Ok(claimed)
            }
            None => Ok(claimed),
        }
    }

    async fn extend(&self, lease: &Lease, by: Duration) -> Result<Tenure, StoreError> {
        self.settler.extend(lease, by).await
    }

    async fn finish(&self, lease: &Lease, outcome: Outcome) -> Result<Tenure, StoreError> {
        self.settler.finish(lease, outcome).await
    }

    async fn wait(&self, at_most: Duration, lanes: &Lanes) -> Result<(), StoreError> {
        let full = lanes.in_use().filter(|(_, room)| *room == 0);
        let mut full: Vec<_> = full.map(|(lane, _)| Uuid::from(lane)).collect();
        full.sort_unstable();
        let waited = timeout(at_most, async {
            let mut has_slept = false;
            loop {
                let mut owed = std::pin::pin!(self.shared.runs_due.notified());
                // From now on nothing is missed; what came before is found by the look.
                owed.as_mut().enable();
                let looked_at = Instant::now();
                let next = self.next_due(&full).await?;
                let gap = LOOK_GAP_MIN.max(looked_at.elapsed() * LOOK_SHARE);
                if next.is_some_and(|next| next.is_zero()) {
                    // What is due and could not be claimed is not asked for without a pause.
                    if !has_slept && self.turns.in_vain.load(Ordering::Relaxed) > 1 {
                        sleep(PAUSE).await;
                    }
                    return Ok(());
                }
                match next {
                    // Either end is an end.
                    Some(next) => drop(timeout(next, owed).await),
                    None => owed.await,
                }
                has_slept = true;
                // A look that is in vain, as where others fill a lane without room, is not
                // repeated at once.
                sleep_until(looked_at + gap).await;
            }
        });
        // Nothing was due in time, which is an answer too.
        waited.await.unwrap_or(Ok(()))
    }

    async fn enqueue(
        &self,
        workspace: &WorkspaceId,
        event: &EventId,
        runs: Vec<NewRun>,
    ) -> Result<bool, StoreError> {
        let triggers: Vec<_> =
            runs.iter().map(|run| json(&run.trigger)).collect::<Result<_, _>>()?;
        let is_there = self.change("enqueue runs", async |connection| {
            // The id of one that is not entered yet would not be known.
            enter_all(connection).await?;
            let owner: Option<(i32, Option<Uuid>)> = sqlx::query_as(OWNER)
                .bind(Uuid::from(*event))
                .bind(Uuid::from(*workspace))
                .fetch_optional(&mut *connection)
                .await
                .map_err(write_failed)?;
            let Some((stream, endpoint)) = owner else {
                return Ok(false);
            };
            sqlx::query_scalar(ENQUEUE)
                .bind(endpoint.map(|id| stripe_of(id.into())))
                .bind(stream)
                .bind(Uuid::from(*event))
                .bind(Uuid::from(*workspace))
                .bind(runs.iter().map(|run| Uuid::from(run.id)).collect::<Vec<_>>())
                .bind(&triggers)
                .bind(runs.iter().map(|run| millis(run.delay)).collect::<Vec<_>>())
                .bind(destinations(runs.iter()))
                .fetch_optional(connection)
                .await
                .map(|added| added.unwrap_or(false))
                .map_err(write_failed)
        });
        let is_there = is_there.await?;
        self.shared.fed.notify_waiters();
        Ok(is_there)
    }

    async fn requeue(&self, workspace: &WorkspaceId, run: &RunId) -> Result<Altered, StoreError> {
        let altered =
            self.alter(*workspace, *run, RunState::may_be_requeued, RunState::Queued).await?;
        if altered == Altered::Done {
            self.shared.runs_due.notify_waiters();
        }
        Ok(altered)
    }

    async fn cancel(&self, workspace: &WorkspaceId, run: &RunId) -> Result<Altered, StoreError> {
        self.alter(*workspace, *run, RunState::is_in_line, RunState::Cancelled).await
    }
}

impl PostgresStore {
    /// After how long something is due in a lane that is not full; zero where it is now.
    async fn next_due(&self, full: &[Uuid]) -> Result<Option<Duration>, StoreError> {
        let millis: Option<i64> = self
            .call("look for runs", async |connection| {
                enter_all(connection).await?;
                sqlx::query_scalar(NEXT_DUE)
                    .bind(full)
                    .fetch_one(&mut *connection)
                    .await
                    .map_err(read_failed)
            })
            .await?;
        Ok(millis.map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or(0))))
    }

    async fn alter(
        &self,
        workspace: WorkspaceId,
        run: RunId,
        may: impl Fn(RunState) -> bool,
        to: RunState,
    ) -> Result<Altered, StoreError> {
        let from = RunState::ALL.into_iter().filter(|state| may(*state));
        let from: Vec<_> = from.map(RunState::as_str).collect();
        let altered = self.change("alter a run", async |connection| {
            enter_all(connection).await?;
            let row = sqlx::query(ALTER)
                .bind(Uuid::from(workspace))
                .bind(Uuid::from(run))
                .bind(&from)
                .bind(to.as_str())
                .fetch_one(connection)
                .await
                .map_err(write_failed)?;
            let was: Option<&str> = row.try_get(0).map_err(read_failed)?;
            Ok(match (was, row.try_get(1).map_err(read_failed)?) {
                (None, _) => Altered::Missing,
                (Some(_), true) => Altered::Done,
                (Some(was), false) => Altered::Refused(state(was)?),
            })
        });
        let altered = altered.await?;
        self.shared.fed.notify_waiters();
        Ok(altered)
    }
}

pub(crate) const CLAIM: &str = "SELECT * FROM claim_runs($1, $2, $3, $4, $5, $6, $7, $8)";

const NEXT_DUE: &str = "SELECT next_due($1)";

const ALTER: &str = "SELECT was, is_done FROM alter_run($1, $2, $3, $4)";

/// Where an event lies, and whose it is.
const OWNER: &str = "
    SELECT s.number, n.id FROM streams s
    JOIN events e ON e.stream = s.number AND e.id = $1
    LEFT JOIN endpoints n ON n.number = e.endpoint
    WHERE coalesce(n.workspace, e.workspace) = $2 LIMIT 1";

/// The event is held until they are added, so that it does not go meanwhile.
const ENQUEUE: &str = "
    WITH held AS MATERIALIZED (
        SELECT 1 FROM events WHERE stream = $2 AND id = $3 FOR KEY SHARE
    )
    SELECT enqueue_runs($1, $2, $3, $4, $5, $6, $7, $8) FROM held LIMIT 1";

fn leased(row: &PgRow) -> Result<LeasedRun, StoreError> {
    let number: i64 = row.try_get(8).map_err(read_failed)?;
    let trigger: &str = row.try_get(10).map_err(read_failed)?;
    Ok(LeasedRun {
        lease: Lease {
            run: row.try_get::<Uuid, _>(7).map_err(read_failed)?.into(),
            attempt: attempt_number(row.try_get(9).map_err(read_failed)?)?,
            place: number.cast_unsigned(),
        },
        is_after_loss: row.try_get(12).map_err(read_failed)?,
        trigger: serde_json::from_str(trigger)
            .map_err(|error| corrupt("runs", "trigger").because(error))?,
        event: events::event(row)?,
    })
}

fn write_failed(error: sqlx::Error) -> StoreError {
    write_error("cannot change the runs", error)
}
