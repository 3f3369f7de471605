//! [`RunQueue`]: what events owe, in line.
//!
//! Each lane has its runs in a line, in the order in which they are due. A claim moves what it
//! takes to when the lease ends: so a run that is claimed is due again when nobody has said
//! anything, and there is nothing else to keep track of.

use std::time::Duration;

use async_trait::async_trait;
use ploy_webhooks::store::{Altered, Claim, Lanes, RunQueue, StoreError, Tenure};
use ploy_webhooks::{EventId, Lease, LeasedRun, NewRun, Outcome, RunId, RunState, WorkspaceId};
use redis::Value;
use tokio::time::Instant;

use crate::RedisStore;
use crate::claim;
use crate::engine::{Call, Via};
use crate::error::{corrupt, misuse};
use crate::events::Content;
use crate::layout::Bucket;
use crate::run_record::{check_runs, known_already, letter_of, millis, push_runs, state_of};
use crate::script::{self, ScriptCall};
use crate::sharing::Unheard;
use crate::value;

/// Who waits looks at least so often, whatever was said and due.
const LOOK_GAP: Duration = Duration::from_secs(5);
/// Who has looked and found nothing looks no sooner again, whatever is said: it may all be of lanes
/// without room.
const LOOK_GAP_MIN: Duration = Duration::from_millis(5);

#[async_trait]
impl RunQueue for RedisStore {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Vec<LeasedRun>, StoreError> {
        let claimed = claim::claim(self, claim).await?;
        if !claimed.is_empty() {
            self.fed.notify_waiters();
        }
        Ok(claimed)
    }

    async fn extend(&self, lease: &Lease, by: Duration) -> Result<Tenure, StoreError> {
        let bucket = self.place_of(lease)?;
        let call = ScriptCall::small(&script::EXTEND, &bucket.tag);
        let call = call.bytes(self.layout.channel()).bytes(lease.run.as_bytes());
        let call = call.text(lease.attempt).text(millis(by));
        let call = Call::of_script(bucket.slot, &script::EXTEND, call);
        // Nobody would carry the run out, nor claim it in that time.
        self.with_lease(call, Unheard::Dropped, "cannot extend the lease").await
    }

    async fn finish(&self, lease: &Lease, outcome: Outcome) -> Result<Tenure, StoreError> {
        let (after, said) = match &outcome {
            Outcome::Succeed { output } => (None, &output[..]),
            Outcome::Retry { error, after } => (Some(*after), error.as_bytes()),
            Outcome::Fail { error } => (None, error.as_bytes()),
        };
        let bucket = self.place_of(lease)?;
        let keys = std::iter::once(&bucket.tag);
        let call = ScriptCall::new(&script::FINISH, keys, (6, 128 + said.len()));
        let call = call.bytes(self.layout.channel()).bytes(lease.run.as_bytes());
        let call = call.text(lease.attempt).bytes(known_letter(outcome.state()));
        let call = match after {
            Some(after) => call.text(millis(after)),
            None => call.bytes(""),
        };
        let call = Call::of_script(bucket.slot, &script::FINISH, call.bytes(said));
        let tenure =
            self.with_lease(call, Unheard::Made, "cannot record what came of the run").await?;
        self.fed.notify_waiters();
        if after.is_some() {
            self.wake.tell();
        }
        Ok(tenure)
    }

    async fn wait(&self, at_most: Duration, lanes: &Lanes) -> Result<(), StoreError> {
        self.wake.listen(&self.engine, self.layout.channel());
        let begin = Instant::now();
        let mut gap = Duration::ZERO;
        loop {
            let told = self.wake.told();
            tokio::pin!(told);
            // From here on nothing is missed, so what is due is looked at afterwards.
            told.as_mut().enable();
            let next = claim::next_due_in(self, lanes).await?.unwrap_or(LOOK_GAP);
            let left = at_most.saturating_sub(begin.elapsed());
            if next.is_zero() || left.is_zero() {
                return Ok(());
            }
            let until = left.min(LOOK_GAP).min(next);
            tokio::time::sleep(gap.min(until)).await;
            // Either way there may be something.
            let _ = tokio::time::timeout(until.saturating_sub(gap), told).await;
            gap = LOOK_GAP_MIN;
        }
    }

    async fn enqueue(
        &self,
        workspace: &WorkspaceId,
        event: &EventId,
        runs: Vec<NewRun>,
    ) -> Result<bool, StoreError> {
        check_runs(&runs)?;
        let Some(found) = self.find(*workspace, *event, Content::Left).await? else {
            return Ok(false);
        };
        let bucket = self.layout.bucket_of(found.owner);
        let keys = std::iter::once(&bucket.tag);
        let mut call =
            ScriptCall::new(&script::ENQUEUE, keys, (4 + 3 * runs.len(), 256 * runs.len()));
        call.push(self.layout.channel());
        call.push_text(found.owner);
        call.push(event.as_bytes());
        push_runs(&mut call, event, &runs);
        let call = Call::of_script(bucket.slot, &script::ENQUEUE, call);
        let answer = self.engine.call(Via::Write, call).await;
        let answer = answer.map_err(|failure| failure.of_write("cannot add runs"))?;
        match answer {
            Value::Int(1) => {
                self.wake.tell();
                self.fed.notify_waiters();
                Ok(true)
            }
            Value::Int(-1) => Err(known_already()),
            _ => Ok(false),
        }
    }

    async fn requeue(&self, workspace: &WorkspaceId, run: &RunId) -> Result<Altered, StoreError> {
        let altered = self.alter(workspace, run, RunState::Queued, RunState::may_be_requeued);
        let altered = altered.await?;
        self.wake.tell();
        Ok(altered)
    }

    async fn cancel(&self, workspace: &WorkspaceId, run: &RunId) -> Result<Altered, StoreError> {
        self.alter(workspace, run, RunState::Cancelled, RunState::is_in_line).await
    }
}

impl RedisStore {
    /// The bucket that has the run.
    fn place_of(&self, lease: &Lease) -> Result<&Bucket, StoreError> {
        let bucket = usize::try_from(lease.place).ok();
        let bucket = bucket.and_then(|place| self.layout.buckets().get(place));
        bucket.ok_or_else(|| misuse("the lease is of another store"))
    }

    /// Does something with a lease.
    async fn with_lease(
        &self,
        call: Call,
        unheard: Unheard,
        what: &str,
    ) -> Result<Tenure, StoreError> {
        match self.engine.call_shared(call, unheard).await {
            Ok(Value::Int(1)) => Ok(Tenure::Held),
            Ok(_) => Ok(Tenure::Lost),
            Err(failure) => Err(failure.of_write(what)),
        }
    }

    /// Moves a run by hand to that state, from one in which it may be moved.
    async fn alter(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        to: RunState,
        may: fn(RunState) -> bool,
    ) -> Result<Altered, StoreError> {
        let Some((owner, _)) = self.find_run(*workspace, *run).await? else {
            return Ok(Altered::Missing);
        };
        let from = RunState::ALL.into_iter().filter(|state| may(*state));
        let from: String = from.map(known_letter).collect();
        let bucket = self.layout.bucket_of(owner);
        let call = ScriptCall::small(&script::ALTER, &bucket.tag);
        let call = call.bytes(self.layout.channel()).text(owner).bytes(run.as_bytes());
        let call = call.bytes(known_letter(to)).bytes(from);
        let call = Call::of_script(bucket.slot, &script::ALTER, call);
        let answer = self.engine.call(Via::Write, call).await;
        match answer.map_err(|failure| failure.of_write("cannot change the run"))? {
            Value::Int(1) => {
                self.fed.notify_waiters();
                Ok(Altered::Done)
            }
            Value::Int(_) => Ok(Altered::Missing),
            before => {
                let letter = value::bytes(before).and_then(|before| before.first().copied());
                let state = letter.and_then(state_of).ok_or_else(|| corrupt("a run"))?;
                Ok(Altered::Refused(state))
            }
        }
    }
}

fn known_letter(state: RunState) -> &'static str {
    letter_of(state).expect("what this version writes it knows")
}
