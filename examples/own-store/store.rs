//! A store in one file: a line of JSON and the payload for each event, flushed before the answer.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use ploy_webhooks::store::{
    Appended, EventQuery, EventStore, KeyStore, Order, Page, StoreError, StoreErrorKind,
};
use ploy_webhooks::{
    Clock, Endpoint, EndpointId, Event, EventId, EventSummary, EventType, KeptHeaders, NewEvent,
    Slug, SystemClock, Timestamp, WorkspaceId,
};
use serde::{Deserialize, Serialize};

/// Endpoints that the code fixes, and events in a file.
#[derive(Debug)]
pub(crate) struct FileStore {
    endpoints: Vec<Arc<Endpoint>>,
    log: Arc<Mutex<Log>>,
}

#[derive(Debug)]
struct Log {
    file: File,
    /// Up to where the file is whole events.
    length: u64,
    events: Vec<Event>,
    seen: HashMap<Seen, (EventId, Timestamp)>,
}

/// What two repeats share: whose they are, and their key.
type Seen = (WorkspaceId, Option<EndpointId>, [u8; 32]);

/// All of an event but its payload, which follows its line.
#[derive(Serialize, Deserialize)]
struct Head {
    id: EventId,
    workspace: WorkspaceId,
    endpoint: Option<EndpointId>,
    event_type: Option<EventType>,
    headers: Vec<u8>,
    source: Option<IpAddr>,
    dedup: Option<([u8; 32], Timestamp)>,
    payload_bytes: usize,
}

impl FileStore {
    /// Opens the file, and reads what is in it. A last event that was cut off by a crash was
    /// never answered: it is left out.
    pub(crate) fn open(path: &Path, endpoints: Vec<Endpoint>) -> std::io::Result<Self> {
        let file = File::options().create(true).read(true).append(true).open(path)?;
        let mut log = Log { file, length: 0, events: Vec::new(), seen: HashMap::new() };
        let mut reader = BufReader::new(log.file.try_clone()?);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            let Ok(head) = serde_json::from_slice::<Head>(&line) else { break };
            let mut payload = vec![0; head.payload_bytes];
            if reader.read_exact(&mut payload).is_err() {
                break;
            }
            log.length += (line.len() + payload.len()) as u64;
            log.keep(head, payload.into());
            line.clear();
        }
        let endpoints = endpoints.into_iter().map(Arc::new).collect();
        Ok(Self { endpoints, log: Arc::new(Mutex::new(log)) })
    }

    /// The fence: an event is stored only under the state that its endpoint has now. Endpoints
    /// that could change would have to be compared under the lock that also writes.
    fn is_fenced_off(&self, event: &NewEvent) -> bool {
        event.fence.is_some_and(|fence| {
            !self.endpoints.iter().any(|endpoint| {
                endpoint.id == fence.endpoint
                    && endpoint.revision == fence.checked_at
                    && endpoint.workspace == event.workspace
            })
        })
    }
}

impl Log {
    /// Everything happens under the one lock: so of two repeats, one comes first.
    fn append(&mut self, event: NewEvent) -> std::io::Result<Appended> {
        let now = SystemClock.now();
        let endpoint = event.fence.map(|fence| fence.endpoint);
        let dedup = event.dedup.map(|dedup| (*dedup.key.as_bytes(), now.after(dedup.window)));
        if let Some((key, _)) = dedup
            && let Some((first, ends_at)) = self.seen.get(&(event.workspace, endpoint, key))
            && now < *ends_at
        {
            return Ok(Appended::Duplicate(*first));
        }
        let head = Head {
            id: event.id,
            workspace: event.workspace,
            endpoint,
            event_type: event.event_type,
            headers: event.headers.as_lines().to_vec(),
            source: event.source,
            dedup,
            payload_bytes: event.payload.len(),
        };
        let mut record = serde_json::to_vec(&head)?;
        record.push(b'\n');
        record.extend_from_slice(&event.payload);
        self.write(&record)?;
        self.keep(head, event.payload);
        Ok(Appended::Stored)
    }

    /// Whatever a crash or a failed write has left behind the last whole event is cut off first:
    /// what followed it would not be found again.
    fn write(&mut self, record: &[u8]) -> std::io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.write_all(record)?;
        self.file.sync_data()?;
        self.length += record.len() as u64;
        Ok(())
    }

    fn keep(&mut self, head: Head, payload: Bytes) {
        let Head { id, workspace, endpoint, event_type, headers, source, dedup, .. } = head;
        if let Some((key, ends_at)) = dedup {
            self.seen.insert((workspace, endpoint, key), (id, ends_at));
        }
        let headers = KeptHeaders::from_lines(&headers).unwrap_or_default();
        self.events.push(Event { id, workspace, endpoint, event_type, headers, source, payload });
        self.events.sort_by_key(|event| event.id);
    }
}

#[async_trait]
impl KeyStore for FileStore {
    async fn endpoint(&self, slug: &Slug) -> Result<Option<Arc<Endpoint>>, StoreError> {
        Ok(self.endpoints.iter().find(|endpoint| endpoint.slug == *slug).cloned())
    }
}

#[async_trait]
impl EventStore for FileStore {
    async fn append(&self, event: NewEvent) -> Result<Appended, StoreError> {
        if !event.owes.is_empty() {
            return Err(StoreError::new(StoreErrorKind::Misuse, "this store keeps no runs"));
        }
        if event.quota.is_some() {
            return Err(StoreError::new(StoreErrorKind::Misuse, "this store counts no quotas"));
        }
        if self.is_fenced_off(&event) {
            return Ok(Appended::Fenced(Box::new(event)));
        }
        let log = self.log.clone();
        // A flush blocks: it is not for the threads that serve requests.
        let append = move || log.lock().expect("no append panics").append(event);
        match tokio::task::spawn_blocking(append).await {
            Ok(Ok(appended)) => Ok(appended),
            // Some of it may be in the file.
            Ok(Err(error)) => {
                Err(StoreError::new(StoreErrorKind::Indeterminate, "cannot write").because(error))
            }
            Err(error) => {
                Err(StoreError::new(StoreErrorKind::Indeterminate, "an append panicked")
                    .because(error))
            }
        }
    }

    async fn event(
        &self,
        workspace: &WorkspaceId,
        id: &EventId,
    ) -> Result<Option<Event>, StoreError> {
        let log = self.log.lock().expect("no append panics");
        let found = log.events.iter().find(|event| event.id == *id);
        Ok(found.filter(|event| event.workspace == *workspace).cloned())
    }

    async fn search(&self, query: &EventQuery) -> Result<Page<EventSummary>, StoreError> {
        let Some((low, high)) = query.id_range() else {
            return Ok(Page { items: Vec::new(), next: None });
        };
        let log = self.log.lock().expect("no append panics");
        let mut scratch = Vec::new();
        let matching = log.events.iter().filter(|event| {
            event.workspace == query.workspace
                && (low..=high).contains(&event.id)
                && query.endpoint.is_none_or(|endpoint| event.endpoint == Some(endpoint))
                && (query.event_type.is_none() || event.event_type == query.event_type)
                && query.contains.as_ref().is_none_or(|n| n.stands_in(&event.payload, &mut scratch))
        });
        let mut items: Vec<_> = matching.map(EventSummary::from).collect();
        if query.order == Order::Descending {
            items.reverse();
        }
        let goes_on = items.len() > query.limit.get();
        items.truncate(query.limit.get());
        let next = items.last().filter(|_| goes_on).map(|last| query.beyond(last.id));
        Ok(Page { items, next })
    }
}
