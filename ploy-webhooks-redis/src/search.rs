//! Events found by endpoint, type, time and substring.
//!
//! There is no index of what payloads hold: a search reads entries in the order of their ids,
//! and payloads where it asks for a substring, and stops at a bound, to go on with the next page.
//! On a Cluster each bucket lists its own; they are merged here, and each is asked for more when
//! what it gave is used up.

use std::collections::VecDeque;

use ploy_webhooks::store::nearest::Nearness;
use ploy_webhooks::store::{EventQuery, Order, Page, StoreError};
use ploy_webhooks::{EventId, EventSummary};
use redis::{Cmd, Value};

use crate::RedisStore;
use crate::engine::{Call, Lane};
use crate::error::corrupt;
use crate::events::beyond;
use crate::layout::{Bucket, Owner};
use crate::record::{self, Entry};
use crate::script::{self, ScriptCall};
use crate::value;

/// So many events are looked at in one go where payloads are read.
const SLICE_EVENTS: usize = 256;
/// So many bytes of payload are read in one go, but for its last event.
const SLICE_BYTES: u64 = 2 << 20;

/// One page of a query.
pub(crate) struct Search<'store> {
    store: &'store RedisStore,
    query: EventQuery,
}

/// An event whose entry was read.
struct Candidate {
    owner: Owner,
    entry: Entry,
}

/// A part of the buckets whose entries come in order.
struct Source<'store> {
    buckets: &'store [Bucket],
    read: VecDeque<Candidate>,
    /// The id of the last that was read.
    last: Option<EventId>,
    is_over: bool,
    /// How many are asked for next.
    size: usize,
}

impl<'store> Search<'store> {
    pub(crate) fn new(store: &'store RedisStore, query: &EventQuery) -> Self {
        Self { store, query: query.clone() }
    }

    pub(crate) async fn run(self) -> Result<Page<EventSummary>, StoreError> {
        if self.query.id_range().is_none() {
            return Ok(Page { items: Vec::new(), next: None });
        }
        let mut sources = self.sources();
        let mut items = Vec::new();
        let mut scanned = Scanned::default();
        let mut rest = self.query.clone();
        loop {
            let candidates = self.slice(&mut sources).await?;
            if candidates.is_empty() {
                return Ok(Page { items, next: None });
            }
            let matching = self.matching(&candidates).await?;
            for (candidate, matches) in candidates.into_iter().zip(matching) {
                if items.len() == self.query.limit.get() || self.is_enough(&scanned) {
                    return Ok(Page { items, next: Some(rest) });
                }
                rest.beyond = Some(candidate.entry.id);
                scanned.events += 1;
                if self.query.contains.is_some() {
                    scanned.bytes += u64::from(candidate.entry.size);
                }
                if matches {
                    items.push(candidate.entry.summary(candidate.owner));
                }
            }
        }
    }

    fn is_enough(&self, scanned: &Scanned) -> bool {
        scanned.events >= self.store.scan_events_max || scanned.bytes >= self.store.scan_bytes_max
    }

    fn sources(&self) -> Vec<Source<'store>> {
        let buckets = self.store.layout.buckets();
        let parts: Vec<_> = match self.query.endpoint {
            Some(endpoint) => {
                vec![std::slice::from_ref(self.store.layout.bucket_of(Owner::Endpoint(endpoint)))]
            }
            None if self.store.engine.is_cluster() => buckets.chunks(1).collect(),
            None => vec![buckets],
        };
        // One more than a page, which tells whether it is the last; more at once where a part of
        // what is read will not match.
        let wanted = match self.is_filtered() {
            true => SLICE_EVENTS,
            false => self.query.limit.get() + 1,
        };
        let size = if parts.len() == 1 { wanted } else { (4 * wanted / parts.len()).max(8) };
        let source =
            |buckets| Source { buckets, read: VecDeque::new(), last: None, is_over: false, size };
        parts.into_iter().map(source).collect()
    }

    fn is_filtered(&self) -> bool {
        self.query.contains.is_some() || self.query.event_type.is_some()
    }

    /// The next events in the order of the query; none at the end.
    async fn slice(&self, sources: &mut [Source<'_>]) -> Result<Vec<Candidate>, StoreError> {
        let wanted = if self.is_filtered() { SLICE_EVENTS } else { self.query.limit.get() + 1 };
        let mut slice = Vec::with_capacity(wanted);
        let mut bytes = 0;
        while slice.len() < wanted && (self.query.contains.is_none() || bytes < SLICE_BYTES) {
            self.fill(sources).await?;
            let nearest = (sources.iter_mut())
                .filter(|source| !source.read.is_empty())
                .max_by_key(|source| Nearness::of(source.read[0].entry.id, self.query.order));
            let Some(candidate) = nearest.and_then(|source| source.read.pop_front()) else {
                break;
            };
            bytes += u64::from(candidate.entry.size);
            slice.push(candidate);
        }
        Ok(slice)
    }

    /// Asks the sources for more that are used up.
    async fn fill(&self, sources: &mut [Source<'_>]) -> Result<(), StoreError> {
        let is_empty = |source: &&mut Source<'_>| source.read.is_empty() && !source.is_over;
        let mut empty: Vec<_> = sources.iter_mut().filter(is_empty).collect();
        if empty.is_empty() {
            return Ok(());
        }
        let calls = empty.iter().map(|source| self.call(source)).collect();
        let answers = self.store.engine.call_all(Lane::Read, calls).await;
        for (source, answer) in empty.iter_mut().zip(answers) {
            let answer = answer.map_err(|failure| failure.of_read("cannot search the events"))?;
            source.take(answer)?;
        }
        Ok(())
    }

    /// The call for what comes next of a source. See `scripts/range.lua` for its arguments.
    fn call(&self, source: &Source<'_>) -> Call {
        let query = match source.last {
            Some(last) => self.query.beyond(last),
            None => self.query.clone(),
        };
        let published = self.store.layout.bucket_of(Owner::Workspace(query.workspace)).number;
        let published = source.buckets.iter().position(|bucket| bucket.number == published);
        let (from, to) = match query.id_range() {
            Some((low, high)) => ([b"[", &low.as_bytes()[..]].concat(), beyond(high)),
            // Nothing is beyond what was read last.
            None => (b"+".to_vec(), b"-".to_vec()),
        };
        let is_turned = query.order == Order::Descending;
        let (first, last) = if is_turned { (to, from) } else { (from, to) };
        let keys = source.buckets.iter().map(|bucket| &bucket.tag);
        let call = ScriptCall::new(&script::RANGE, keys, (8, 24 * source.buckets.len() + 128))
            .text(query.workspace)
            .text(published.map_or(0, |place| place + 1));
        let call = match query.endpoint {
            Some(endpoint) => call.text(endpoint),
            None => call.bytes(""),
        };
        let call = call.bytes(first).bytes(last).text(u8::from(is_turned)).text(source.size);
        Call::of_script(source.buckets[0].slot, &script::RANGE, call)
    }

    /// Which of them match.
    async fn matching(&self, candidates: &[Candidate]) -> Result<Vec<bool>, StoreError> {
        let Self { query, store } = self;
        let mut matching: Vec<_> = candidates
            .iter()
            .map(|candidate| {
                query.event_type.is_none() || query.event_type == candidate.entry.event_type
            })
            .collect();
        let Some(needle) = &query.contains else {
            return Ok(matching);
        };
        let read: Vec<usize> = (0..candidates.len()).filter(|place| matching[*place]).collect();
        let calls = read.iter().map(|place| {
            let Candidate { owner, entry } = &candidates[*place];
            let bucket = store.layout.bucket_of(*owner);
            let mut get = Cmd::new();
            get.arg("HGET")
                .arg(bucket.key(format_args!("payloads:{owner}")))
                .arg(entry.id.as_bytes());
            Call::new(bucket.slot, get)
        });
        let answers = store.engine.call_all(Lane::Read, calls.collect()).await;
        let mut scratch = Vec::new();
        for (place, answer) in read.into_iter().zip(answers) {
            let answer = answer.map_err(|failure| failure.of_read("cannot read a payload"))?;
            matching[place] = match value::bytes(answer) {
                Some(content) => needle.stands_in(record::payload(&content)?, &mut scratch),
                // Deleted since its entry was read.
                None => false,
            };
        }
        Ok(matching)
    }
}

/// What a page has looked at.
#[derive(Default)]
struct Scanned {
    events: usize,
    bytes: u64,
}

impl Source<'_> {
    fn take(&mut self, answer: Value) -> Result<(), StoreError> {
        let broken = || corrupt("an index");
        let mut parts = value::array(answer).ok_or_else(broken)?.into_iter();
        let goes_on = parts.next().as_ref().and_then(value::int).ok_or_else(broken)?;
        self.is_over = goes_on == 0;
        // Whoever is read on has much: fewer and larger reads.
        self.size = (self.size * 2).min(1_024);
        while let (Some(owner), Some(_), Some(entry)) = (parts.next(), parts.next(), parts.next()) {
            let owner = value::bytes(owner).and_then(|text| Owner::parse(&text));
            let owner = owner.ok_or_else(broken)?;
            let entry = Entry::parse(&value::bytes(entry).ok_or_else(broken)?)?;
            self.last = Some(entry.id);
            self.read.push_back(Candidate { owner, entry });
        }
        Ok(())
    }
}
