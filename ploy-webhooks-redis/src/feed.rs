//! [`FeedStore`]: what was done to each owner, by the scripts that did it, in streams of the server.
//!
//! Each bucket has one, and its order is that in which the server carried scripts out; so a position
//! is one place in each. What is read of several buckets is told by the times of the server, as far
//! as all that are read reach.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use ploy_webhooks::store::{
    Change, Changes, FeedQuery, FeedStore, Position, RunChange, StoreError,
};
use ploy_webhooks::{EventId, RunId, RunState};
use redis::Value;
use tokio::time::timeout;

use crate::RedisStore;
use crate::engine::{Call, Via};
use crate::error::{corrupt, misuse};
use crate::owner::Owner;
use crate::record::Entry;
use crate::run_record::state_of;
use crate::script::{self, ScriptCall};
use crate::value;

/// A page reads no more steps than this of each bucket.
const STEPS_MAX: usize = 16;
/// Nor so many bytes of all that one call reads, but for the last step of each bucket.
const BYTES_MAX: usize = 1 << 20;
/// How often who waits looks whether another node has stored something.
const LOOK_GAP: Duration = Duration::from_millis(500);

#[async_trait]
impl FeedStore for RedisStore {
    async fn changes(&self, query: &FeedQuery) -> Result<Changes, StoreError> {
        let mut places = self.places(&query.after)?;
        let Steps { steps, mut has_more, has_gap } = self.steps_after(query, &places).await?;
        let mut told = Vec::new();
        for step in steps {
            if told.len() >= query.limit.get() {
                has_more = true;
                break;
            }
            places[step.bucket] = step.place;
            told.extend(step.said);
        }
        let items = self.tell(told).await?;
        Ok(Changes { items, next: position(&places), has_more, has_gap })
    }

    async fn end(&self) -> Result<Position, StoreError> {
        Ok(position(&self.ends().await?))
    }

    async fn changed(&self, after: &Position, at_most: Duration) -> Result<(), StoreError> {
        let after = self.places(after)?;
        let until_changed = async {
            loop {
                let mut fed = pin!(self.fed.notified());
                // From here on nothing of this node is missed.
                fed.as_mut().enable();
                let ends = self.ends().await?;
                if ends.iter().zip(&after).any(|(end, after)| end > after) {
                    return Ok(());
                }
                // Of other nodes nobody tells: to look costs less than a message with each batch.
                let _ = timeout(LOOK_GAP, fed).await;
            }
        };
        // Nothing was changed in time, which is an answer too.
        timeout(at_most, until_changed).await.unwrap_or(Ok(()))
    }
}

/// The id of a step: when it was put down, by the server, and a number within the millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    millis: u64,
    number: u64,
}

impl Place {
    fn read(text: Value) -> Option<Self> {
        let text = value::text(text)?;
        if text.is_empty() {
            return Some(Self::default());
        }
        let (millis, number) = text.split_once('-')?;
        Some(Self { millis: millis.parse().ok()?, number: number.parse().ok()? })
    }
}

/// What a position begins with.
const VERSION: u8 = 1;

/// The places of all buckets. Most are of the same hours, or none at all.
fn position(places: &[Place]) -> Position {
    let mut bytes = vec![VERSION];
    for place in places {
        push_number(&mut bytes, place.millis);
        push_number(&mut bytes, place.number);
    }
    Position::from_bytes(bytes)
}

/// Seven bits a byte, the lowest first.
fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number: u64 = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// What one call has done to one owner.
struct Step {
    bucket: usize,
    place: Place,
    /// Nothing, where it is another workspace's.
    said: Vec<Said>,
}

/// What was read of all buckets.
struct Steps {
    steps: Vec<Step>,
    has_more: bool,
    has_gap: bool,
}

/// A change, without what is known of it elsewhere.
#[derive(Clone, Copy)]
struct Said {
    bucket: usize,
    owner: Owner,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    Accepted(EventId),
    Run { run: RunId, state: RunState, attempt: u32 },
}

impl RedisStore {
    fn places(&self, position: &Position) -> Result<Vec<Place>, StoreError> {
        let read = || {
            let (&VERSION, mut rest) = position.as_bytes().split_first()? else { return None };
            let mut place = || {
                let millis = take_number(&mut rest)?;
                Some(Place { millis, number: take_number(&mut rest)? })
            };
            let places: Vec<_> =
                self.layout.buckets().iter().map(|_| place()).collect::<Option<_>>()?;
            rest.is_empty().then_some(places)
        };
        read().ok_or_else(|| misuse("the position is none of this Redis store"))
    }

    /// Where the feed of each bucket ends.
    async fn ends(&self) -> Result<Vec<Place>, StoreError> {
        let calls = self.over_all_buckets(&script::FEED_END, |call, _| call);
        let mut ends = Vec::with_capacity(self.layout.buckets().len());
        for answer in self.engine.call_all(Via::Read, calls).await {
            let answer = answer.map_err(|failure| failure.of_read("cannot read the feed"))?;
            let of_call = value::array(answer).ok_or_else(|| corrupt("the feed"))?;
            for end in of_call {
                ends.push(Place::read(end).ok_or_else(|| corrupt("the feed"))?);
            }
        }
        Ok(ends)
    }

    /// What comes after these places, in the order of the server's times.
    async fn steps_after(&self, query: &FeedQuery, places: &[Place]) -> Result<Steps, StoreError> {
        let calls = self.over_all_buckets(&script::CHANGES, |call, buckets| {
            let mut call = call.text(query.workspace).text(STEPS_MAX).text(BYTES_MAX);
            for bucket in buckets {
                let Place { millis, number } = places[usize::from(bucket.number)];
                call.push_text(format_args!("{millis}-{number}"));
            }
            call
        });
        let (mut steps, mut has_gap, mut bucket) = (Vec::new(), false, 0);
        // Up to when all is here that was read of.
        let mut until = u64::MAX;
        for answer in self.engine.call_all(Via::Read, calls).await {
            let answer = answer.map_err(|failure| failure.of_read("cannot read the feed"))?;
            for of_bucket in value::array(answer).ok_or_else(|| corrupt("the feed"))? {
                let read = Read::parse(of_bucket, bucket).ok_or_else(|| corrupt("the feed"))?;
                has_gap |= read.has_gap;
                if let (true, Some(last)) = (read.is_cut_short, read.steps.last()) {
                    until = until.min(last.place.millis);
                }
                steps.extend(read.steps);
                bucket += 1;
            }
        }
        steps.retain(|step| step.place.millis <= until);
        steps.sort_by_key(|step| step.place);
        Ok(Steps { steps, has_more: until < u64::MAX, has_gap })
    }

    /// The changes with all that is told of them, but for those of what is deleted.
    async fn tell(&self, said: Vec<Said>) -> Result<Vec<Change>, StoreError> {
        let mut of_calls: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        let buckets = self.layout.buckets();
        for (place, said) in said.iter().enumerate() {
            let group = self.engine.group_of(buckets[said.bucket].slot);
            of_calls.entry(group).or_default().push(place);
        }
        let calls = of_calls.values().map(|places| {
            let said: Vec<_> = places.iter().map(|place| said[*place]).collect();
            self.call_for(&said)
        });
        let answers = self.engine.call_all(Via::Read, calls.collect()).await;
        let mut items: Vec<Option<Change>> = said.iter().map(|_| None).collect();
        for (places, answer) in of_calls.values().zip(answers) {
            let answer = answer.map_err(|failure| failure.of_read("cannot read the feed"))?;
            let known = value::array(answer).ok_or_else(|| corrupt("the feed"))?;
            for (place, known) in places.iter().zip(known) {
                items[*place] = said[*place].told(known)?;
            }
        }
        Ok(items.into_iter().flatten().collect())
    }

    /// The call that reads what is known of these, which lie where one script may read.
    fn call_for(&self, said: &[Said]) -> Call {
        let mut keys: Vec<usize> = said.iter().map(|said| said.bucket).collect();
        keys.sort_unstable();
        keys.dedup();
        let buckets = self.layout.buckets();
        let tags = keys.iter().map(|bucket| &buckets[*bucket].tag);
        let size = (4 * said.len(), 64 * said.len());
        let mut call = ScriptCall::new(&script::TOLD, tags, size);
        for Said { bucket, owner, what } in said {
            let place = keys.binary_search(bucket).expect("the bucket of each is among them");
            call.push_text(place + 1);
            call.push(match what {
                What::Accepted(_) => "e",
                What::Run { .. } => "r",
            });
            call.push_text(owner);
            match what {
                What::Accepted(id) => call.push(id.as_bytes()),
                What::Run { run, .. } => call.push(run.as_bytes()),
            }
        }
        Call::of_script(buckets[keys[0]].slot, &script::TOLD, call)
    }
}

/// What was read of a bucket.
struct Read {
    has_gap: bool,
    /// There may be more of it.
    is_cut_short: bool,
    steps: Vec<Step>,
}

impl Read {
    fn parse(of_bucket: Value, bucket: usize) -> Option<Self> {
        let mut parts = value::array(of_bucket)?.into_iter();
        let has_gap = value::int(&parts.next()?)? == 1;
        let is_cut_short = value::int(&parts.next()?)? == 1;
        let mut steps = Vec::new();
        while let Some(place) = parts.next() {
            let place = Place::read(place)?;
            let (owner, said) = (value::bytes(parts.next()?)?, value::bytes(parts.next()?)?);
            let said = match owner.is_empty() {
                true => Vec::new(),
                false => parse_said(bucket, Owner::named(&owner)?, &said)?,
            };
            steps.push(Step { bucket, place, said });
        }
        Some(Self { has_gap, is_cut_short, steps })
    }
}

/// What is said of an owner: see `scripts/note.lua`.
fn parse_said(bucket: usize, owner: Owner, said: &[u8]) -> Option<Vec<Said>> {
    let of = |what| Said { bucket, owner, what };
    let (letter, said) = said.split_first()?;
    match letter {
        b'e' => {
            let (ids, []) = said.as_chunks() else { return None };
            Some(ids.iter().map(|id| of(What::Accepted(EventId::from_bytes(*id)))).collect())
        }
        b'r' => {
            let (runs, []) = said.as_chunks::<21>() else { return None };
            runs.iter().map(|run| parse_run(run).map(of)).collect()
        }
        _ => None,
    }
}

fn parse_run(bytes: &[u8; 21]) -> Option<What> {
    let (run, rest) = bytes.split_first_chunk()?;
    let (letter, attempt) = rest.split_first()?;
    let attempt = u32::from_be_bytes(attempt.try_into().ok()?);
    Some(What::Run { run: RunId::from_bytes(*run), state: state_of(*letter)?, attempt })
}

impl Said {
    /// The change, with what the server knows of it; `None` where that is gone.
    fn told(self, known: Value) -> Result<Option<Change>, StoreError> {
        if value::is_nil(&known) {
            return Ok(None);
        }
        let broken = || corrupt("what the feed tells of");
        let known = value::bytes(known).ok_or_else(broken)?;
        Ok(Some(match self.what {
            What::Accepted(_) => Change::Accepted(Entry::parse(&known)?.summary(self.owner)),
            What::Run { run, state, attempt } => {
                let event = EventId::from_bytes(known.try_into().map_err(|_| broken())?);
                let endpoint = self.owner.endpoint();
                Change::Run(RunChange { run, event, endpoint, state, attempt })
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back_as_they_were(numbers: Vec<u64>) {
            let mut bytes = Vec::new();
            numbers.iter().for_each(|number| push_number(&mut bytes, *number));
            let mut rest = &bytes[..];
            for number in numbers {
                prop_assert_eq!(take_number(&mut rest), Some(number));
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn no_bytes_make_the_parsers_panic(bytes: Vec<u8>) {
            let _ = take_number(&mut &bytes[..]);
            let _ = parse_said(0, Owner::Endpoint(ploy_webhooks::EndpointId::from_bytes([7; 16])), &bytes);
        }
    }
}
