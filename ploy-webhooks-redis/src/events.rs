//! [`EventStore`]: events in, and out again by their ids.

use async_trait::async_trait;
use ploy_webhooks::store::{Appended, EventQuery, EventStore, Page, StoreError, StoreErrorKind};
use ploy_webhooks::{Event, EventId, EventSummary, NewEvent, WorkspaceId};
use redis::Value;
use tokio::sync::oneshot;

use crate::RedisStore;
use crate::engine::{Call, Via};
use crate::error::corrupt;
use crate::layout::Bucket;
use crate::owner::Owner;
use crate::queue::Waiting;
use crate::record::{self, Entry};
use crate::run_record::check_runs;
use crate::script::{self, Known, ScriptCall};
use crate::search::Search;
use crate::value;

#[async_trait]
impl EventStore for RedisStore {
    async fn append(&self, event: NewEvent) -> Result<Appended, StoreError> {
        record::check_size(&event)?;
        if event.owes.len() > 1 {
            check_runs(&event.owes)?;
        }
        let (answer, answered) = oneshot::channel();
        self.queue.push(Waiting { event, answer })?;
        answered.await.unwrap_or_else(|_| {
            Err(StoreError::new(StoreErrorKind::Indeterminate, "the writer has stopped"))
        })
    }

    async fn event(
        &self,
        workspace: &WorkspaceId,
        id: &EventId,
    ) -> Result<Option<Event>, StoreError> {
        match self.find(*workspace, *id, Content::Read).await? {
            Some(Found { owner, entry, content }) => {
                entry.event(owner, *workspace, content).map(Some)
            }
            None => Ok(None),
        }
    }

    async fn search(&self, query: &EventQuery) -> Result<Page<EventSummary>, StoreError> {
        Search::new(self, query).run().await
    }
}

/// Whether the headers and the payload of an event are read too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Read,
    Left,
}

/// An event that was found.
pub(crate) struct Found {
    pub(crate) owner: Owner,
    pub(crate) entry: Entry,
    content: Vec<u8>,
}

impl RedisStore {
    /// The workspace's event with that id. Its id does not say whose it is, so all buckets are
    /// asked at once.
    pub(crate) async fn find(
        &self,
        workspace: WorkspaceId,
        id: EventId,
        content: Content,
    ) -> Result<Option<Found>, StoreError> {
        let published = self.layout.bucket_of(Owner::Workspace(workspace)).number;
        let calls = self.over_all_buckets(&script::FIND, |call, buckets| {
            let place = buckets.iter().position(|bucket| bucket.number == published);
            call.text(workspace)
                .text(place.map_or(0, |place| place + 1))
                .bytes(id.as_bytes())
                .bytes(beyond(id.as_bytes()))
                .bytes(if content == Content::Read { "1" } else { "0" })
        });
        let mut failure = None;
        for answer in self.engine.call_all(Via::Read, calls).await {
            match answer {
                Ok(answer) if value::is_nil(&answer) => {}
                Ok(answer) => {
                    return parse_found(answer).ok_or_else(|| corrupt("an event")).map(Some);
                }
                Err(refusal) => failure = failure.or(Some(refusal)),
            }
        }
        // Only where it is found nowhere does it matter that somebody did not answer.
        match failure {
            Some(failure) => Err(failure.of_read("cannot look the event up")),
            None => Ok(None),
        }
    }

    /// A call of a script for all buckets: one on a single server, one for each slot on a
    /// Cluster. What it is about is added to each, knowing which buckets it has.
    pub(crate) fn over_all_buckets(
        &self,
        script: &'static Known,
        finish: impl Fn(ScriptCall, &[Bucket]) -> ScriptCall,
    ) -> Vec<Call> {
        let buckets = self.layout.buckets();
        let size = if self.engine.is_cluster() { 1 } else { buckets.len() };
        let calls = buckets.chunks(size).map(|buckets| {
            let keys = buckets.iter().map(|bucket| &bucket.tag);
            let call = ScriptCall::new(script, keys, (8, 24 * buckets.len()));
            Call::of_script(buckets[0].slot, script, finish(call, buckets))
        });
        calls.collect()
    }
}

/// Where the entries of an index end that have an id up to this.
pub(crate) fn beyond(id: &[u8; 16]) -> Vec<u8> {
    match u128::from_be_bytes(*id).checked_add(1) {
        Some(next) => [b"(", &next.to_be_bytes()[..]].concat(),
        None => b"+".to_vec(),
    }
}

fn parse_found(answer: Value) -> Option<Found> {
    let [owner, _place, entry, content] = value::parts(answer)?;
    Some(Found {
        owner: Owner::named(&value::bytes(owner)?)?,
        entry: Entry::parse(&value::bytes(entry)?).ok()?,
        content: value::bytes(content)?,
    })
}
