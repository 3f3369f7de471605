//! Claims: which runs are next, over all buckets.
//!
//! A lane that has something due stands in its bucket where its turn is: behind those that came,
//! or were served, before. So lanes take turns, and as buckets are asked in the order of the lanes
//! that stand first in them, buckets do too. A lane without room is passed over where it stands:
//! however much waits in it, that is one step.

use std::time::Duration;

use ploy_webhooks::store::{Claim, Lanes, StoreError};
use ploy_webhooks::{Lane, LeasedRun};
use redis::Value;

use crate::RedisStore;
use crate::engine::{Call, Via};
use crate::error::{Failure, corrupt};
use crate::layout::{Bucket, name_of};
use crate::run_record::{millis, parse_leased};
use crate::script::{self, ScriptCall};
use crate::value;

/// A claim is answered with no more payload than this, but for the last event of
/// each bucket on a Cluster.
const CLAIM_BYTES: u64 = 8 << 20;
/// How often a claim looks again: when others were faster, or where there is more than a bucket's
/// share.
const CLAIM_ROUNDS: usize = 8;

/// Claims what is due, round by round.
pub(crate) async fn claim(
    store: &RedisStore,
    claim: &Claim<'_>,
) -> Result<Vec<LeasedRun>, StoreError> {
    let max = usize::from(claim.max.get());
    let (mut claimed, mut bytes) = (Vec::new(), 0);
    let mut lanes = claim.lanes.clone();
    for _ in 0..CLAIM_ROUNDS {
        let due = due_buckets(store, &lanes).await?;
        let left = max - claimed.len();
        if due.is_empty() {
            break;
        }
        // One call on a single server, one for each bucket on a Cluster. Each gives its share of
        // what is wanted, those whose turn it is the most.
        let asked = grouped(store, due);
        let (share, rest) = (left / asked.len(), left % asked.len());
        let shares = (0..asked.len()).map(|place| share + usize::from(place < rest));
        let asked: Vec<_> = asked.into_iter().zip(shares).take(left).collect();
        let enough = ((CLAIM_BYTES - bytes) / asked.len() as u64).max(1);
        let calls = asked.iter().map(|(buckets, share)| {
            let keys = buckets.iter().map(|bucket| &bucket.tag);
            let call = ScriptCall::new(&script::CLAIM, keys, (16, 256 + 24 * buckets.len()));
            let call = call.text(share).text(millis(claim.lease).max(1)).text(enough);
            let mut call = call.bytes(claim.worker.as_str()).text(lanes.each());
            push_lanes(&mut call, store, buckets, lanes.in_use(), |call, room| {
                call.push_text(room);
            });
            Call::of_script(buckets[0].slot, &script::CLAIM, call)
        });
        let answers = store.engine.call_all(Via::Write, calls.collect()).await;
        let (mut failure, mut broken, mut has_answered) = (None, None, false);
        let mut has_more = false;
        for ((buckets, share), answer) in asked.iter().zip(answers) {
            let before = claimed.len();
            match answer {
                // One that is not durable is handed out too: it was counted as an attempt.
                // Should it be lost after all, it is as a lease that has ended.
                Ok(answer) => {
                    has_answered = true;
                    broken = take(answer, buckets, &mut claimed).err().or(broken);
                }
                Err(Failure::NotDurable(_, answer)) => {
                    has_answered = true;
                    broken = take(*answer, buckets, &mut claimed).err().or(broken);
                }
                Err(refusal) => failure = Some(refusal.of_write("cannot claim runs")),
            }
            let new = &claimed[before..];
            new.iter().for_each(|run| lanes.enter(run.event.lane()));
            bytes += new.iter().map(|run| run.event.payload.len() as u64).sum::<u64>();
            has_more |= new.len() == *share;
        }
        if claimed.is_empty() {
            // A master that is down does not stop the others.
            let failure = failure.filter(|_| !has_answered);
            if let Some(failure) = broken.or(failure) {
                return Err(failure);
            }
            continue;
        }
        // What was claimed is carried out, whatever became of the others: those are due again
        // when their leases end. What some buckets did not have, others give in another round.
        let is_enough = claimed.len() == max || bytes >= CLAIM_BYTES || !has_more;
        if is_enough || failure.or(broken).is_some() {
            break;
        }
    }
    Ok(claimed)
}

/// In how long there is something to claim in a lane with room, for each bucket; nothing where it
/// is there already. Where one cannot be asked while others can, nothing is.
pub(crate) async fn due_in(
    store: &RedisStore,
    lanes: &Lanes,
) -> Result<Vec<Option<i64>>, StoreError> {
    let calls = store.over_all_buckets(&script::DUE, |mut call, buckets| {
        let buckets: Vec<_> = buckets.iter().collect();
        let full = lanes.in_use().filter(|(_, room)| *room == 0);
        push_lanes(&mut call, store, &buckets, full, |_, _| {});
        call
    });
    let broken = || corrupt("what is due");
    let mut due = Vec::with_capacity(store.layout.buckets().len());
    let (mut failure, mut has_answered) = (None, false);
    for answer in store.engine.call_all(Via::Read, calls).await {
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

/// In how long there is something to claim in any bucket; `None` where nothing is in line.
pub(crate) async fn next_due_in(
    store: &RedisStore,
    lanes: &Lanes,
) -> Result<Option<Duration>, StoreError> {
    let next = due_in(store, lanes).await?.into_iter().flatten().min();
    Ok(next.map(|micros| Duration::from_micros(micros.max(0).unsigned_abs())))
}

/// The buckets with runs that are due in lanes with room, the one whose turn it is first.
async fn due_buckets<'store>(
    store: &'store RedisStore,
    lanes: &Lanes,
) -> Result<Vec<&'store Bucket>, StoreError> {
    let due = due_in(store, lanes).await?;
    let mut due: Vec<_> = (store.layout.buckets().iter().zip(due))
        .filter_map(|(bucket, due)| due.filter(|micros| *micros <= 0).map(|due| (due, bucket)))
        .collect();
    due.sort_by_key(|(due, _)| *due);
    Ok(due.into_iter().map(|(_, bucket)| bucket).collect())
}

/// Those that one script may touch at once, in order.
fn grouped<'store>(store: &RedisStore, buckets: Vec<&'store Bucket>) -> Vec<Vec<&'store Bucket>> {
    match store.engine.is_cluster() {
        true => buckets.into_iter().map(|bucket| vec![bucket]).collect(),
        false => vec![buckets],
    }
}

/// Writes lanes as arguments that lie in these buckets: the number of the key, and the lane, and
/// what is said of its room.
fn push_lanes(
    call: &mut ScriptCall,
    store: &RedisStore,
    buckets: &[&Bucket],
    lanes: impl Iterator<Item = (Lane, u16)>,
    push_room: impl Fn(&mut ScriptCall, u16),
) {
    for (lane, room) in lanes {
        let number = store.layout.bucket_of(lane).number;
        if let Some(place) = buckets.iter().position(|bucket| bucket.number == number) {
            call.push_text(place + 1);
            call.push_text(name_of(lane));
            push_room(call, room);
        }
    }
}

/// Takes apart what a claim in some buckets was answered.
fn take(
    answer: Value,
    buckets: &[&Bucket],
    claimed: &mut Vec<LeasedRun>,
) -> Result<(), StoreError> {
    let mut outcome = Ok(());
    for run in value::array(answer).ok_or_else(|| corrupt("a claim"))? {
        match parse_leased(run, buckets) {
            Ok(run) => claimed.push(run),
            // The others are claimed, and not to be lost.
            Err(error) => outcome = Err(error),
        }
    }
    outcome
}
