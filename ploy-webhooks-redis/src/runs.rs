//! [`RunStore`] and [`RunQueue`]: what events owe, on record and in line.
//!
//! A bucket has its runs in the order in which they are due. A claim moves what it takes to when
//! the lease ends: so a run that is claimed is due again when nobody has said anything, and there
//! is nothing else to keep track of.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ploy_webhooks::store::{RunQueue, RunStore, StoreError, Tenure};
use ploy_webhooks::{
    Attempt, AttemptEnd, EventId, Lease, LeasedRun, NewRun, Outcome, RetryPolicy, Run, RunId,
    RunState, Timestamp, Trigger, WorkspaceId,
};
use redis::Value;
use serde::{Deserialize, Serialize};

use crate::RedisStore;
use crate::engine::{Call, Lane};
use crate::error::{Failure, corrupt, misuse};
use crate::events::Content;
use crate::layout::{Bucket, Owner};
use crate::record::Entry;
use crate::script::{self, ScriptCall};
use crate::value;

/// A claim is answered with no more payload than this, but for the last event of each bucket.
const CLAIM_BYTES: u64 = 8 << 20;
/// How often a claim that others were faster than looks again.
const CLAIM_ROUNDS: usize = 8;
/// Who waits looks at least so often, whatever was said and due.
const LOOK_GAP: Duration = Duration::from_secs(5);

#[async_trait]
impl RunStore for RedisStore {
    async fn runs(&self, workspace: &WorkspaceId, event: &EventId) -> Result<Vec<Run>, StoreError> {
        let Some(found) = self.find(*workspace, *event, Content::Left).await? else {
            return Ok(Vec::new());
        };
        let bucket = self.layout.bucket_of(found.owner);
        let call = ScriptCall::small(&script::RUNS, &bucket.tag);
        let call = call.text(found.owner).bytes(event.as_bytes());
        let call = Call::of_script(bucket.slot, &script::RUNS, call);
        let answer = self.engine.call(Lane::Read, call).await;
        let answer = answer.map_err(|failure| failure.of_read("cannot read the runs"))?;
        let broken = || corrupt("a run");
        let runs = value::array(answer).ok_or_else(broken)?.into_iter();
        let mut runs: Vec<_> =
            runs.map(|run| parse_run(run).ok_or_else(broken)).collect::<Result<_, _>>()?;
        runs.sort_unstable_by_key(|run| run.id);
        Ok(runs)
    }
}

#[async_trait]
impl RunQueue for RedisStore {
    async fn claim(&self, max: NonZeroU16, lease: Duration) -> Result<Vec<LeasedRun>, StoreError> {
        let max = usize::from(max.get());
        let mut claimed = Vec::new();
        for _ in 0..CLAIM_ROUNDS {
            let due = self.due_buckets().await?;
            if due.is_empty() {
                break;
            }
            // Each bucket gives its share of what is wanted, what has waited longest the most.
            let (share, rest) = (max / due.len(), max % due.len());
            let shares = (0..due.len()).map(|place| share + usize::from(place < rest));
            let bytes = (CLAIM_BYTES / due.len().min(max) as u64).max(1);
            let calls = due.iter().zip(shares).take(max);
            let calls = calls.map(|(bucket, share)| claim(bucket, share, lease, bytes));
            let answers = self.engine.call_all(Lane::Write, calls.collect()).await;
            let (mut failure, mut has_answered) = (None, false);
            let mut broken = None;
            for (bucket, answer) in due.iter().zip(answers) {
                match answer {
                    // One that is not durable is handed out too: it was counted as an attempt.
                    // Should it be lost after all, it is as a lease that has ended.
                    Ok(answer) => {
                        has_answered = true;
                        leased(answer, bucket.number, &mut claimed, &mut broken);
                    }
                    Err(Failure::NotDurable(_, answer)) => {
                        has_answered = true;
                        leased(*answer, bucket.number, &mut claimed, &mut broken);
                    }
                    Err(refusal) => failure = Some(refusal.of_write("cannot claim runs")),
                }
            }
            // What was claimed is carried out, whatever became of the others: those are due
            // again when their leases end.
            if !claimed.is_empty() {
                break;
            }
            // A master that is down does not stop the others.
            let failure = failure.filter(|_| !has_answered);
            if let Some(failure) = broken.or(failure) {
                return Err(failure);
            }
        }
        Ok(claimed)
    }

    async fn extend(&self, lease: &Lease, by: Duration) -> Result<Tenure, StoreError> {
        let call = |bucket: &Bucket| {
            let call = ScriptCall::small(&script::EXTEND, &bucket.tag);
            let call = call.bytes(lease.run.as_bytes()).text(lease.attempt).text(millis(by));
            Call::of_script(bucket.slot, &script::EXTEND, call)
        };
        self.with_lease(lease, call, "cannot extend the lease").await
    }

    async fn finish(&self, lease: &Lease, outcome: Outcome) -> Result<Tenure, StoreError> {
        let (state, kind, after, text) = match &outcome {
            Outcome::Succeed { output } => ("s", "s", None, &output[..]),
            Outcome::Retry { error, after } => ("w", "r", Some(*after), error.as_bytes()),
            Outcome::Fail { error } => ("f", "f", None, error.as_bytes()),
        };
        let call = |bucket: &Bucket| {
            let call = ScriptCall::small(&script::FINISH, &bucket.tag);
            let call = call.bytes(self.layout.channel()).bytes(lease.run.as_bytes());
            let call = call.text(lease.attempt).bytes(state).bytes(kind);
            let call = match after {
                Some(after) => call.text(millis(after)),
                None => call.bytes(""),
            };
            Call::of_script(bucket.slot, &script::FINISH, call.bytes(text))
        };
        self.with_lease(lease, call, "cannot record what came of the run").await
    }

    async fn wait(&self, at_most: Duration) -> Result<(), StoreError> {
        self.wake.listen(&self.engine, self.layout.channel());
        let told = self.wake.told();
        tokio::pin!(told);
        // From here on nothing is missed, so what is due is looked at afterwards.
        told.as_mut().enable();
        let next = self.due_in().await?.into_iter().flatten().min();
        let next =
            next.map_or(LOOK_GAP, |millis| Duration::from_millis(millis.max(0).unsigned_abs()));
        let until = at_most.min(LOOK_GAP).min(next);
        if !until.is_zero() {
            // Either way there may be something.
            let _ = tokio::time::timeout(until, told).await;
        }
        Ok(())
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
        push_runs(&mut call, &runs);
        let call = Call::of_script(bucket.slot, &script::ENQUEUE, call);
        let answer = self.engine.call(Lane::Write, call).await;
        let answer = answer.map_err(|failure| failure.of_write("cannot add runs"))?;
        match answer {
            Value::Int(1) => {
                self.wake.tell();
                Ok(true)
            }
            Value::Int(-1) => Err(known_already()),
            _ => Ok(false),
        }
    }
}

impl RedisStore {
    /// In how many milliseconds something is due, for each bucket. Where one cannot be asked while
    /// others can, nothing is.
    async fn due_in(&self) -> Result<Vec<Option<i64>>, StoreError> {
        let calls = self.over_all_buckets(&script::DUE, |call, _| call);
        let broken = || corrupt("what is due");
        let mut due = Vec::with_capacity(self.layout.buckets().len());
        let (mut failure, mut has_answered) = (None, false);
        for answer in self.engine.call_all(Lane::Read, calls).await {
            match answer {
                Ok(answer) => {
                    has_answered = true;
                    let times = value::array(answer).ok_or_else(broken)?;
                    due.extend(times.iter().map(value::int));
                }
                Err(refusal) => {
                    // There is more than one call on a Cluster alone, and there each asks one.
                    due.push(None);
                    failure = failure.or(Some(refusal));
                }
            }
        }
        match failure {
            Some(failure) if !has_answered => Err(failure.of_read("cannot read what is due")),
            _ => Ok(due),
        }
    }

    /// The buckets with runs that are due, the one that has waited longest first.
    async fn due_buckets(&self) -> Result<Vec<&Bucket>, StoreError> {
        let due = self.due_in().await?;
        let mut due: Vec<_> = (self.layout.buckets().iter().zip(due))
            .filter_map(|(bucket, due)| due.filter(|millis| *millis <= 0).map(|due| (due, bucket)))
            .collect();
        // Nodes that begin with different buckets are not in each other's way.
        fastrand::shuffle(&mut due);
        due.sort_by_key(|(due, _)| *due);
        Ok(due.into_iter().map(|(_, bucket)| bucket).collect())
    }

    /// Does something with a lease, where its run is.
    async fn with_lease(
        &self,
        lease: &Lease,
        call: impl Fn(&Bucket) -> Call + Send,
        what: &str,
    ) -> Result<Tenure, StoreError> {
        let bucket = usize::try_from(lease.place).ok();
        let bucket = bucket.and_then(|place| self.layout.buckets().get(place));
        let bucket = bucket.ok_or_else(|| misuse("the lease is of another store"))?;
        let call = call(bucket);
        match self.engine.call(Lane::Write, call).await {
            Ok(Value::Int(1)) => Ok(Tenure::Held),
            Ok(_) => Ok(Tenure::Lost),
            Err(failure) => Err(failure.of_write(what)),
        }
    }
}

fn claim(bucket: &Bucket, share: usize, lease: Duration, bytes: u64) -> Call {
    let call = ScriptCall::small(&script::CLAIM, &bucket.tag);
    let call = call.text(share).text(millis(lease).max(1)).text(bytes);
    Call::of_script(bucket.slot, &script::CLAIM, call)
}

/// Whether the runs can be told apart.
pub(crate) fn check_runs(runs: &[NewRun]) -> Result<(), StoreError> {
    let mut ids: Vec<_> = runs.iter().map(|run| run.id).collect();
    ids.sort_unstable();
    match ids.windows(2).all(|pair| pair[0] != pair[1]) {
        true => Ok(()),
        false => Err(misuse("two runs of one event have the same id")),
    }
}

/// A run has the id of one that is stored.
pub(crate) fn known_already() -> StoreError {
    misuse("a run with that id is stored already")
}

/// Writes runs as arguments: the id, the record and the delay of each.
pub(crate) fn push_runs(call: &mut ScriptCall, runs: &[NewRun]) {
    for run in runs {
        call.push(run.id.as_bytes());
        let record = Record { trigger: &run.trigger, retry: run.retry };
        call.push(serde_json::to_vec(&record).expect("a run's record has a form in JSON"));
        call.push_text(millis(run.delay));
    }
}

/// Whole milliseconds, no further ahead than a score tells exactly.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).min(1 << 48)
}

/// What never changes about a run.
#[derive(Serialize)]
struct Record<'run> {
    trigger: &'run Trigger,
    retry: RetryPolicy,
}

#[derive(Deserialize)]
struct KeptRecord {
    trigger: Trigger,
    retry: RetryPolicy,
}

/// A run's record: the event (16 bytes), when it was made, `:`, and the rest in JSON.
fn parse_record(bytes: &[u8]) -> Option<(EventId, Timestamp, KeptRecord)> {
    let (event, rest) = bytes.split_first_chunk::<16>()?;
    let colon = rest.iter().position(|&byte| byte == b':')?;
    let record = serde_json::from_slice(&rest[colon + 1..]).ok()?;
    Some((EventId::from_bytes(*event), timestamp(&rest[..colon])?, record))
}

fn timestamp(digits: &[u8]) -> Option<Timestamp> {
    std::str::from_utf8(digits).ok()?.parse().ok().map(Timestamp::from_millis)
}

fn run_id(value: Value) -> Option<RunId> {
    value::bytes(value)?.try_into().ok().map(RunId::from_bytes)
}

fn parse_run(run: Value) -> Option<Run> {
    let [id, record, state, attempts] = value::parts(run)?;
    let (event, created_at, record) = parse_record(&value::bytes(record)?)?;
    let mut run = Run::queued(run_id(id)?, event, record.trigger, created_at);
    run.state = match value::bytes(state)?.first()? {
        b'q' => RunState::Queued,
        b'r' => RunState::Running,
        b'w' => RunState::Retrying,
        b's' => RunState::Succeeded,
        b'f' => RunState::Failed,
        _ => return None,
    };
    let attempts = value::array(attempts)?.into_iter().zip(1..);
    let attempts = attempts
        .map(|(attempt, number)| parse_attempt(&value::bytes(attempt)?, NonZeroU32::new(number)?));
    run.attempts = attempts.collect::<Option<_>>()?;
    Some(run)
}

/// An attempt: when it was claimed, and after a `:` each when it ended, how, after what time it
/// is tried again, and what it said.
fn parse_attempt(bytes: &[u8], number: NonZeroU32) -> Option<Attempt> {
    let mut parts = bytes.splitn(5, |&byte| byte == b':');
    let started_at = timestamp(parts.next()?)?;
    let Some(ended_at) = parts.next() else {
        return Some(Attempt { number, started_at, end: None });
    };
    let (kind, after, said) = (parts.next()?, parts.next()?, parts.next()?);
    let text = || String::from_utf8(said.to_vec()).ok();
    let outcome = match kind {
        b"s" => Outcome::Succeed { output: Bytes::copy_from_slice(said) },
        b"r" => {
            let after = std::str::from_utf8(after).ok()?.parse().ok()?;
            Outcome::Retry { error: text()?, after: Duration::from_millis(after) }
        }
        b"f" => Outcome::Fail { error: text()? },
        _ => return None,
    };
    let end = Some(AttemptEnd { at: timestamp(ended_at)?, outcome });
    Some(Attempt { number, started_at, end })
}

/// Takes apart what a claim in one bucket was answered.
fn leased(
    answer: Value,
    bucket: u16,
    claimed: &mut Vec<LeasedRun>,
    failure: &mut Option<StoreError>,
) {
    let Some(runs) = value::array(answer) else {
        *failure = Some(corrupt("a claim"));
        return;
    };
    for run in runs {
        match parse_leased(run, bucket) {
            Some(run) => claimed.push(run),
            None => *failure = Some(corrupt("a run that is due")),
        }
    }
}

fn parse_leased(run: Value, bucket: u16) -> Option<LeasedRun> {
    let [owner, workspace, id, attempt, record, entry, content] = value::parts(run)?;
    let owner = Owner::parse(&value::bytes(owner)?)?;
    let (_, _, record) = parse_record(&value::bytes(record)?)?;
    let attempt = value::text(attempt)?.parse().ok()?;
    let entry = Entry::parse(&value::bytes(entry)?).ok()?;
    let workspace = value::text(workspace)?.parse().ok()?;
    Some(LeasedRun {
        lease: Lease { run: run_id(id)?, attempt, place: bucket.into() },
        trigger: record.trigger,
        retry: record.retry,
        event: entry.event(owner, workspace, value::bytes(content)?).ok()?,
    })
}
