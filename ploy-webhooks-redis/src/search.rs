//! Events found by endpoint, type, time and substring.
//!
//! There is no index of what payloads hold: a search reads entries in the order of their ids,
//! and payloads where it asks for a substring, and stops at a bound, to go on with the next page.

use ploy_webhooks::EventSummary;
use ploy_webhooks::store::{EventQuery, Order, Page, StoreError};
use redis::Cmd;

use crate::RedisStore;
use crate::engine::{Call, Via};
use crate::events::beyond;
use crate::merge::{Merge, Wanted};
use crate::owner::Owner;
use crate::record::{self, Entry};
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

impl<'store> Search<'store> {
    pub(crate) fn new(store: &'store RedisStore, query: &EventQuery) -> Self {
        Self { store, query: query.clone() }
    }

    pub(crate) async fn run(self) -> Result<Page<EventSummary>, StoreError> {
        let Some((low, high)) = self.query.id_range() else {
            return Ok(Page { items: Vec::new(), next: None });
        };
        let (from, to) = ([b"[", &low.as_bytes()[..]].concat(), beyond(high.as_bytes()));
        let is_turned = self.query.order == Order::Descending;
        let (first, last) = if is_turned { (to, from) } else { (from, to) };
        let wanted = Wanted {
            workspace: self.query.workspace,
            only: self.query.endpoint.map(Owner::Endpoint),
            sets: vec!["index:".to_owned()],
            first,
            last,
            is_turned,
        };
        let mut entries = Merge::new(self.store, wanted, self.slice_size());
        let mut items = Vec::new();
        let mut scanned = Scanned::default();
        let mut rest = self.query.clone();
        loop {
            let candidates = self.slice(&mut entries).await?;
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

    /// How many are looked at in one go: one more than a page, which tells whether it is the last;
    /// more where a part of what is read will not match.
    fn slice_size(&self) -> usize {
        match self.query.contains.is_some() || self.query.event_type.is_some() {
            true => SLICE_EVENTS,
            false => self.query.limit.get() + 1,
        }
    }

    /// The next events in the order of the query; none at the end.
    async fn slice(&self, entries: &mut Merge<'_>) -> Result<Vec<Candidate>, StoreError> {
        let wanted = self.slice_size();
        let mut slice = Vec::with_capacity(wanted);
        let mut bytes = 0;
        while slice.len() < wanted && (self.query.contains.is_none() || bytes < SLICE_BYTES) {
            let Some(found) = entries.next().await? else {
                break;
            };
            let entry = Entry::parse(&found.entry)?;
            bytes += u64::from(entry.size);
            slice.push(Candidate { owner: found.owner, entry });
        }
        Ok(slice)
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
        let answers = store.engine.call_all(Via::Read, calls.collect()).await;
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
