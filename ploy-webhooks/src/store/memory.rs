//! A store in memory: for tests, for trying things out, and as the yardstick of the others.
//!
//! It keeps every promise but the one that its name excludes: nothing survives the process.

mod activity;
mod definitions;
mod feed;
mod history;
mod retention;
mod runs;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU16;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use self::runs::Runs;
use super::{
    Appended, Created, EndpointPatch, EndpointStore, EventQuery, EventStore, KeyStore, Order, Page,
    StoreError, StoreErrorKind, TokenStore, Updated,
};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::endpoint::{Endpoint, Revision, Slug};
use crate::event::{Dedup, DedupKey, Event, EventSummary, NewEvent};
use crate::id::{EndpointId, EventId, WorkspaceId};
use crate::secret::SecretDigest;

/// A store in memory, bounded by the bytes of the payloads that it holds and of what attempts
/// have said. Past the bound it takes no events; what comes of an attempt is always taken, so
/// that no run is carried out again for want of space.
///
/// Small payloads share chunks of a mebibyte; a chunk is given back when the last of its events
/// is deleted.
#[derive(Debug)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    payload_bytes_max: u64,
    state: Mutex<State>,
    /// Pokes those who wait for a run.
    owed: Notify,
    /// Pokes those who wait for a change.
    fed: Notify,
}

#[derive(Debug, Default)]
struct State {
    endpoints: BTreeMap<EndpointId, Arc<Endpoint>>,
    slugs: HashMap<Slug, EndpointId>,
    /// In the order of their ids. They come nearly in it, so most are pushed to the end.
    events: Vec<Event>,
    payload_bytes: u64,
    chunk: BytesMut,
    runs: Runs,
    feed: feed::Feed,
    activity: activity::Activities,
    histories: history::Histories,
    seen: HashMap<SeenKey, (EventId, Timestamp)>,
    expiries: BTreeSet<(Timestamp, SeenKey)>,
    definitions: definitions::Definitions,
    root_token: Option<SecretDigest>,
}

/// A deduplication key belongs to the endpoint that took the event, or to the workspace that
/// published it.
type SeenKey = (WorkspaceId, Option<EndpointId>, DedupKey);

impl MemoryStore {
    /// The bound on payloads where none is set: 1 GiB.
    pub const PAYLOAD_BYTES_MAX: u64 = 1 << 30;

    /// How many events one page of a search looks at, at most, before it says where to go on.
    const SCAN_MAX: usize = 1 << 16;
    /// How many events are looked at under one hold of the lock, so that appends pass between.
    const SCAN_SLICE: usize = 1 << 10;
    /// About how many bytes of what was said a page of runs holds.
    const PAGE_BYTES_MAX: u64 = 4 << 20;

    /// An empty store that holds [`PAYLOAD_BYTES_MAX`](Self::PAYLOAD_BYTES_MAX).
    #[must_use]
    pub fn new() -> Self {
        Self::with_parts(Self::PAYLOAD_BYTES_MAX, Arc::new(SystemClock))
    }

    /// An empty store that refuses events past so many bytes of payload, and measures
    /// deduplication windows, delays and leases by that clock.
    #[must_use]
    pub fn with_parts(payload_bytes_max: u64, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            payload_bytes_max,
            state: Mutex::default(),
            owed: Notify::new(),
            fed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }

    /// Lets the state go after a change, and pokes who waits for one.
    fn changed_in(&self, mut state: MutexGuard<'_, State>) {
        let is_awaited = std::mem::take(&mut state.feed.is_awaited);
        drop(state);
        if is_awaited {
            self.fed.notify_waiters();
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl KeyStore for MemoryStore {
    async fn endpoint(&self, slug: &Slug) -> Result<Option<Arc<Endpoint>>, StoreError> {
        let state = self.state();
        Ok(state.slugs.get(slug).and_then(|id| state.endpoints.get(id)).cloned())
    }
}

#[async_trait]
impl EventStore for MemoryStore {
    async fn append(&self, event: NewEvent) -> Result<Appended, StoreError> {
        let owes_runs = !event.owes.is_empty();
        let mut state = self.state();
        // An event that needs no clock does not pay for one. Read by who has the lock: so time goes
        // forward from event to event.
        let now = match event.dedup.is_some() || event.quota.is_some() || owes_runs {
            true => self.clock.now(),
            false => event.id.timestamp(),
        };
        if state.is_fenced_off(&event) {
            return Ok(Appended::Fenced(Box::new(event)));
        }
        let endpoint = event.fence.map(|fence| fence.endpoint);
        let seen_key = event.dedup.map(|Dedup { key, .. }| (event.workspace, endpoint, key));
        if let Some(first) = seen_key.and_then(|key| state.first_of(&key, now)) {
            return Ok(Appended::Duplicate(first));
        }
        let counted = event.quota.zip(endpoint);
        if let Some((quota, endpoint)) = counted
            && state.activity.used(endpoint, quota, now) >= quota.events.get()
        {
            return Ok(Appended::OverQuota { resets_in: quota.resets_in(now) });
        }
        let Err(place) = state.place_of(&event.id) else {
            return Err(StoreError::new(
                StoreErrorKind::Misuse,
                "an event with that id is stored already",
            ));
        };
        if !state.runs.are_new(&event.owes) {
            return Err(runs::known_already());
        }
        let payload_bytes = state.payload_bytes + event.payload.len() as u64;
        if payload_bytes + state.runs.outcome_bytes > self.payload_bytes_max {
            return Err(StoreError::new(
                StoreErrorKind::Refused,
                "the memory store is full: raise its bound or delete endpoints",
            ));
        }
        state.payload_bytes = payload_bytes;
        if let (Some(key), Some(dedup)) = (seen_key, event.dedup) {
            state.remember(key, event.id, now.after(dedup.window), now);
        }
        if let Some((quota, endpoint)) = counted {
            state.activity.count(endpoint, quota, now);
        }
        state.insert(place, event, now);
        self.changed_in(state);
        if owes_runs {
            self.owed.notify_waiters();
        }
        Ok(Appended::Stored)
    }

    async fn event(
        &self,
        workspace: &WorkspaceId,
        id: &EventId,
    ) -> Result<Option<Event>, StoreError> {
        let state = self.state();
        let found = state.event(id).filter(|event| event.workspace == *workspace);
        Ok(found.cloned())
    }

    async fn search(&self, query: &EventQuery) -> Result<Page<EventSummary>, StoreError> {
        let mut items = Vec::new();
        let mut scratch = Vec::new();
        let mut scanned = 0;
        let mut rest = query.clone();
        while let Some(range) = rest.id_range() {
            let slice = self.state().slice(range, query.order, Self::SCAN_SLICE);
            let is_last = slice.len() < Self::SCAN_SLICE;
            for event in slice {
                if items.len() == query.limit.get() || scanned == Self::SCAN_MAX {
                    return Ok(Page { items, next: Some(rest) });
                }
                scanned += 1;
                rest.beyond = Some(event.id);
                if matches(&event, query, &mut scratch) {
                    items.push(EventSummary::from(&event));
                }
            }
            if is_last {
                break;
            }
        }
        Ok(Page { items, next: None })
    }
}

fn matches(event: &Event, query: &EventQuery, scratch: &mut Vec<u8>) -> bool {
    event.workspace == query.workspace
        && query.endpoint.is_none_or(|endpoint| event.endpoint == Some(endpoint))
        && query.event_type.as_ref().is_none_or(|wanted| event.event_type.as_ref() == Some(wanted))
        && query.contains.as_ref().is_none_or(|needle| needle.stands_in(&event.payload, scratch))
}

#[async_trait]
impl EndpointStore for MemoryStore {
    async fn create(&self, endpoint: Endpoint) -> Result<Created, StoreError> {
        let mut state = self.state();
        if state.slugs.contains_key(&endpoint.slug) || state.endpoints.contains_key(&endpoint.id) {
            return Ok(Created::Taken);
        }
        state.slugs.insert(endpoint.slug.clone(), endpoint.id);
        state.endpoints.insert(endpoint.id, Arc::new(endpoint));
        Ok(Created::Created)
    }

    async fn endpoint_by_id(
        &self,
        workspace: &WorkspaceId,
        id: &EndpointId,
    ) -> Result<Option<Arc<Endpoint>>, StoreError> {
        let state = self.state();
        Ok(state.endpoints.get(id).filter(|endpoint| endpoint.workspace == *workspace).cloned())
    }

    async fn endpoints(
        &self,
        workspace: &WorkspaceId,
        after: Option<EndpointId>,
        limit: NonZeroU16,
    ) -> Result<Vec<Arc<Endpoint>>, StoreError> {
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let state = self.state();
        Ok(state
            .endpoints
            .range((begin, Bound::Unbounded))
            .map(|(_, endpoint)| endpoint)
            .filter(|endpoint| endpoint.workspace == *workspace)
            .take(limit.get().into())
            .cloned()
            .collect())
    }

    async fn update(
        &self,
        workspace: &WorkspaceId,
        id: &EndpointId,
        expected: Revision,
        patch: EndpointPatch,
    ) -> Result<Updated, StoreError> {
        let mut state = self.state();
        let Some(endpoint) =
            state.endpoints.get_mut(id).filter(|endpoint| endpoint.workspace == *workspace)
        else {
            return Ok(Updated::Missing);
        };
        if endpoint.revision != expected {
            return Ok(Updated::Conflict(endpoint.revision));
        }
        *endpoint = Arc::new(patch.apply(endpoint));
        Ok(Updated::Updated(endpoint.clone()))
    }

    async fn delete(&self, workspace: &WorkspaceId, id: &EndpointId) -> Result<bool, StoreError> {
        let mut state = self.state();
        if state.endpoints.get(id).is_none_or(|endpoint| endpoint.workspace != *workspace) {
            return Ok(false);
        }
        state.remove(*id);
        Ok(true)
    }
}

#[async_trait]
impl TokenStore for MemoryStore {
    async fn root_token(&self) -> Result<Option<SecretDigest>, StoreError> {
        Ok(self.state().root_token)
    }

    async fn claim_root_token(
        &self,
        digest: SecretDigest,
        _now: Timestamp,
    ) -> Result<SecretDigest, StoreError> {
        Ok(*self.state().root_token.get_or_insert(digest))
    }
}

impl State {
    fn is_fenced_off(&self, event: &NewEvent) -> bool {
        event.fence.is_some_and(|fence| {
            self.endpoints.get(&fence.endpoint).is_none_or(|endpoint| {
                endpoint.revision != fence.checked_at || endpoint.workspace != event.workspace
            })
        })
    }

    fn first_of(&self, key: &SeenKey, now: Timestamp) -> Option<EventId> {
        self.seen.get(key).filter(|(_, expires_at)| now < *expires_at).map(|(first, _)| *first)
    }

    /// Remembers a key, and forgets up to two that have expired: so that the number of expired
    /// ones goes down with every append.
    fn remember(&mut self, key: SeenKey, first: EventId, expires_at: Timestamp, now: Timestamp) {
        if let Some((_, replaced)) = self.seen.insert(key, (first, expires_at)) {
            self.expiries.remove(&(replaced, key));
        }
        self.expiries.insert((expires_at, key));
        for _ in 0..2 {
            if self.expiries.first().is_none_or(|(expires_at, _)| *expires_at > now) {
                break;
            }
            if let Some((_, expired)) = self.expiries.pop_first() {
                self.seen.remove(&expired);
            }
        }
    }

    fn insert(&mut self, place: usize, mut event: NewEvent, now: Timestamp) {
        event.payload = self.keep(event.payload);
        for run in std::mem::take(&mut event.owes) {
            self.runs.add(event.id, event.lane(), run, now);
        }
        self.feed.accepted(event.id);
        self.events.insert(place, event.into());
    }

    /// Moves a payload to where it stays: side by side with others, in memory that is taken from
    /// the system a chunk at a time. The buffer that it came in is free for the next request.
    fn keep(&mut self, payload: Bytes) -> Bytes {
        const CHUNK_BYTES: usize = 1 << 20;
        const LARGE_BYTES: usize = CHUNK_BYTES / 16;
        if payload.len() >= LARGE_BYTES {
            return payload;
        }
        if self.chunk.capacity() < payload.len() {
            self.chunk = BytesMut::with_capacity(CHUNK_BYTES);
        }
        self.chunk.extend_from_slice(&payload);
        self.chunk.split().freeze()
    }

    fn event(&self, id: &EventId) -> Option<&Event> {
        self.place_of(id).ok().map(|place| &self.events[place])
    }

    fn place_of(&self, id: &EventId) -> Result<usize, usize> {
        match self.events.last() {
            Some(last) if last.id >= *id => self.events.binary_search_by_key(id, |event| event.id),
            _ => Err(self.events.len()),
        }
    }

    fn slice(&self, (low, high): (EventId, EventId), order: Order, size: usize) -> Vec<Event> {
        let begin = self.events.partition_point(|event| event.id < low);
        let end = self.events.partition_point(|event| event.id <= high);
        let events = self.events[begin..end].iter();
        match order {
            Order::Ascending => events.take(size).cloned().collect(),
            Order::Descending => events.rev().take(size).cloned().collect(),
        }
    }

    fn remove(&mut self, id: EndpointId) {
        if let Some(endpoint) = self.endpoints.remove(&id) {
            self.slugs.remove(&endpoint.slug);
        }
        let Self { events, runs, payload_bytes, .. } = self;
        events.retain(|event| {
            let stays = event.endpoint != Some(id);
            if !stays {
                *payload_bytes -= event.payload.len() as u64;
                runs.forget(event.id);
            }
            stays
        });
        self.activity.forget(id);
        self.seen.retain(|(_, endpoint, _), _| *endpoint != Some(id));
        self.expiries.retain(|(_, (_, endpoint, _))| *endpoint != Some(id));
    }
}
