//! Claims: which runs are next, over all buckets.
//!
//! A lane that has something due stands in its bucket where its turn is: behind those that came,
//! or were served, before. So lanes take turns, and as buckets are asked in the order of the lanes
//! that stand first in them, buckets do too. A lane without room is passed over where it stands:
//! however much waits in it, that is one step.
//!
//! A destination has a lane in each bucket from which something is delivered there, and all of them
//! share its room. One script that claims from several buckets counts it down; buckets of a Cluster
//! are asked at the same time, and so each is given a part of it.

use std::collections::HashMap;
use std::time::Duration;

use ploy_webhooks::store::{Claim, Lanes, StoreError};
use ploy_webhooks::{DestinationId, Lane, LeasedRun};
use redis::Value;

use crate::RedisStore;
use crate::engine::{Call, Via};
use crate::error::{Failure, corrupt};
use crate::layout::Bucket;
use crate::owner::Owner;
use crate::run_record::{millis, parse_leased};
use crate::script::{self, ScriptCall};
use crate::value;

/// A claim is answered with no more payload than this, but for the last event of
/// each bucket on a Cluster.
const CLAIM_BYTES: u64 = 8 << 20;
/// How often a claim looks again: when others were faster, or where there is more than a bucket's
/// share.
const CLAIM_ROUNDS: usize = 8;

/// So many lanes more are looked at in a bucket of a Cluster, for destinations that have to share their
/// room with what other buckets deliver there.
const SHARED_LANES: usize = 32;

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
        let asked = shared_out(store, due, left, &lanes);
        let enough = ((CLAIM_BYTES - bytes) / asked.len() as u64).max(1);
        let calls = asked.iter().map(|ask| ask.call(store, claim, enough, &lanes));
        let answers = store.engine.call_all(Via::Write, calls.collect()).await;
        let (mut failure, mut broken, mut has_answered) = (None, None, false);
        let mut has_more = false;
        for (ask, answer) in asked.iter().zip(answers) {
            let before = claimed.len();
            match answer {
                // One that is not durable is handed out too: it was counted as an attempt.
                // Should it be lost after all, it is as a lease that has ended.
                Ok(answer) => {
                    has_answered = true;
                    broken = take(answer, &ask.buckets, &mut claimed).err().or(broken);
                }
                Err(Failure::NotDurable(_, answer)) => {
                    has_answered = true;
                    broken = take(*answer, &ask.buckets, &mut claimed).err().or(broken);
                }
                Err(refusal) => failure = Some(refusal.of_write("cannot claim runs")),
            }
            let new = &claimed[before..];
            new.iter().for_each(|run| lanes.enter(run.lane()));
            bytes += new.iter().map(|run| run.event.payload.len() as u64).sum::<u64>();
            has_more |= new.len() == ask.share;
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

/// What one call is asked for.
struct Ask<'store> {
    buckets: Vec<&'store Bucket>,
    /// How many runs at most.
    share: usize,
    destinations: Rooms,
}

/// How much room a call may fill in the lanes of destinations.
enum Rooms {
    /// All that there is.
    Whole,
    /// So much in these, and none in any other: buckets that are asked at the same time know nothing
    /// of each other.
    Parts(Vec<(DestinationId, u16)>),
}

/// Who is asked for how many: one call on a single server, one for each bucket on a Cluster. Each
/// gives its share of what is wanted, those whose turn it is the most.
fn shared_out<'store>(
    store: &RedisStore,
    due: Vec<DueBucket<'store>>,
    wanted: usize,
    lanes: &Lanes,
) -> Vec<Ask<'store>> {
    if !store.engine.is_cluster() {
        let buckets = due.into_iter().map(|due| due.bucket).collect();
        return vec![Ask { buckets, share: wanted, destinations: Rooms::Whole }];
    }
    let asked = due.len().min(wanted);
    let due: Vec<_> = due.into_iter().take(asked).collect();
    let mut sharing: HashMap<DestinationId, Sharing> = HashMap::new();
    for destination in due.iter().flat_map(|due| &due.destinations) {
        sharing.entry(*destination).or_default().buckets += 1;
    }
    let mut ask = |(place, due): (usize, DueBucket<'store>)| {
        let rooms = due.destinations.into_iter().map(|destination| {
            let sharing = sharing.entry(destination).or_default();
            let part = sharing.next_part(lanes.room(&Lane::Destination(destination)));
            (destination, part)
        });
        Ask {
            buckets: vec![due.bucket],
            share: part_of(wanted, asked, place),
            destinations: Rooms::Parts(rooms.collect()),
        }
    };
    due.into_iter().enumerate().map(&mut ask).collect()
}

/// How the room of a destination is divided among buckets.
#[derive(Default)]
struct Sharing {
    buckets: usize,
    served: usize,
}

impl Sharing {
    /// What the next bucket may fill: something, if it is the first, and there is any.
    fn next_part(&mut self, room: u16) -> u16 {
        let part = part_of(room.into(), self.buckets, self.served);
        self.served += 1;
        u16::try_from(part).expect("a part is no more than the whole")
    }
}

/// What is in that place, where so much is divided into parts that are as even as can be, and the
/// first are the greatest.
const fn part_of(whole: usize, parts: usize, place: usize) -> usize {
    let is_greater = place < whole % parts;
    whole / parts + if is_greater { 1 } else { 0 }
}

impl Ask<'_> {
    /// The call for it. See `scripts/claim.lua` for its arguments.
    fn call(&self, store: &RedisStore, claim: &Claim<'_>, enough: u64, lanes: &Lanes) -> Call {
        let Self { buckets, share, destinations } = self;
        let keys = buckets.iter().map(|bucket| &bucket.tag);
        let call = ScriptCall::new(&script::CLAIM, keys, (16, 256 + 24 * buckets.len()));
        let call = call.text(share).text(millis(claim.lease).max(1)).text(enough);
        let call = call.bytes(claim.worker.as_str()).text(lanes.each());
        let mut call = match destinations {
            Rooms::Whole => call.text(lanes.each_destination()),
            Rooms::Parts(_) => call.text(0),
        };
        for (lane, room) in lanes.in_use() {
            let is_whole = matches!(destinations, Rooms::Whole);
            // Of what has none, the script knows then how many it passes over.
            if (Owner::of_lane(lane).is_some() || is_whole || room == 0)
                && push_lane(&mut call, store, buckets, lane)
            {
                call.push_text(room);
            }
        }
        if let Rooms::Parts(parts) = destinations {
            for (destination, room) in parts {
                push_lane(&mut call, store, buckets, Lane::Destination(*destination));
                call.push_text(room);
            }
        }
        Call::of_script(buckets[0].slot, &script::CLAIM, call)
    }
}

/// What a bucket has to claim in lanes with room.
struct Due {
    /// In how many microseconds; what is there already has been for that long, below 0.
    in_micros: i64,
    /// Destinations for which there is something, as far as was asked.
    destinations: Vec<DestinationId>,
}

/// A bucket with runs that are due.
struct DueBucket<'store> {
    bucket: &'store Bucket,
    destinations: Vec<DestinationId>,
}

/// When there is something to claim in a lane with room, for each bucket, and in so many lanes more
/// for which destinations there is. Where one cannot be asked while others can, nothing is.
async fn due_in(
    store: &RedisStore,
    lanes: &Lanes,
    more: usize,
) -> Result<Vec<Option<Due>>, StoreError> {
    let calls = store.over_all_buckets(&script::DUE, |call, buckets| {
        let buckets: Vec<_> = buckets.iter().collect();
        let mut call = call.text(more);
        for (lane, _) in lanes.in_use().filter(|(_, room)| *room == 0) {
            push_lane(&mut call, store, &buckets, lane);
        }
        call
    });
    let broken = || corrupt("what is due");
    let mut due = Vec::with_capacity(store.layout.buckets().len());
    let (mut failure, mut has_answered) = (None, false);
    for answer in store.engine.call_all(Via::Read, calls).await {
        match answer {
            Ok(answer) => {
                has_answered = true;
                for of_bucket in value::array(answer).ok_or_else(broken)? {
                    due.push(match value::is_nil(&of_bucket) {
                        true => None,
                        false => Some(parse_due(of_bucket).ok_or_else(broken)?),
                    });
                }
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

fn parse_due(of_bucket: Value) -> Option<Due> {
    let mut parts = value::array(of_bucket)?.into_iter();
    let in_micros = value::int(&parts.next()?)?;
    let destinations = parts.map(|name| value::text(name)?.parse().ok());
    Some(Due { in_micros, destinations: destinations.collect::<Option<_>>()? })
}

/// In how long there is something to claim in any bucket; `None` where nothing is in line.
pub(crate) async fn next_due_in(
    store: &RedisStore,
    lanes: &Lanes,
) -> Result<Option<Duration>, StoreError> {
    let due = due_in(store, lanes, 0).await?;
    let next = due.into_iter().flatten().map(|due| due.in_micros).min();
    Ok(next.map(|micros| Duration::from_micros(micros.max(0).unsigned_abs())))
}

/// The buckets with runs that are due in lanes with room, the one whose turn it is first.
async fn due_buckets<'store>(
    store: &'store RedisStore,
    lanes: &Lanes,
) -> Result<Vec<DueBucket<'store>>, StoreError> {
    // One script that touches all buckets counts by itself what it fills.
    let more = if store.engine.is_cluster() { SHARED_LANES } else { 0 };
    let due = due_in(store, lanes, more).await?;
    let mut due: Vec<_> = (store.layout.buckets().iter().zip(due))
        .filter_map(|(bucket, due)| Some((bucket, due.filter(|due| due.in_micros <= 0)?)))
        .collect();
    due.sort_by_key(|(_, due)| due.in_micros);
    let due = due.into_iter();
    Ok(due.map(|(bucket, Due { destinations, .. })| DueBucket { bucket, destinations }).collect())
}

/// Writes a lane as arguments, if something of it may lie in these buckets: the number of the key, 0
/// for any, and the lane.
fn push_lane(call: &mut ScriptCall, store: &RedisStore, buckets: &[&Bucket], lane: Lane) -> bool {
    let place = match Owner::of_lane(lane) {
        Some(owner) => {
            let number = store.layout.bucket_of(owner).number;
            buckets.iter().position(|bucket| bucket.number == number).map(|place| place + 1)
        }
        None => Some(0),
    };
    let Some(place) = place else { return false };
    call.push_text(place);
    match lane {
        Lane::Endpoint(id) => call.push_text(id),
        Lane::Workspace(id) => call.push_text(id),
        Lane::Destination(id) => call.push_text(id),
    }
    true
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_no_more_than_the_whole_and_the_first_gets_something() {
        for whole in 0..20 {
            for parts in 1..20 {
                let parts: Vec<_> = (0..parts).map(|place| part_of(whole, parts, place)).collect();
                assert_eq!(parts.iter().sum::<usize>(), whole);
                assert_eq!(parts[0] > 0, whole > 0);
                assert!(parts.is_sorted_by(|a, b| a >= b && a - b <= 1), "{parts:?}");
            }
        }
    }
}
