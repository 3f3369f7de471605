//! Sorted entries of many owners in many buckets, as one sequence.
//!
//! What an entry begins with is an id, by which they are sorted. On a single server the script
//! `range` merges all buckets; on a Cluster each bucket lists its own, they are merged here, and
//! each is asked for more when what it gave is used up.

use std::collections::VecDeque;

use ploy_webhooks::WorkspaceId;
use ploy_webhooks::store::StoreError;
use redis::Value;

use crate::RedisStore;
use crate::engine::{Call, Via};
use crate::error::{corrupt, unavailable};
use crate::layout::Bucket;
use crate::owner::Owner;
use crate::script::{self, ScriptCall};
use crate::value;

/// No more entries are asked for at once.
const READ_MAX: usize = 1_024;

/// Which entries are merged.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) workspace: WorkspaceId,
    /// Of this endpoint alone.
    pub(crate) only: Option<Owner>,
    /// What the names of the sets begin with.
    pub(crate) sets: Vec<String>,
    /// Where they begin and end, in the order in which they come, as Redis writes it.
    pub(crate) first: Vec<u8>,
    pub(crate) last: Vec<u8>,
    /// The greatest ids first.
    pub(crate) is_turned: bool,
}

/// An entry that was read.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) owner: Owner,
    pub(crate) id: [u8; 16],
    pub(crate) entry: Vec<u8>,
}

/// The entries that are still to come.
#[derive(Debug)]
pub(crate) struct Merge<'store> {
    store: &'store RedisStore,
    wanted: Wanted,
    sources: Vec<Source<'store>>,
}

/// A part of the buckets whose entries come in order.
#[derive(Debug)]
struct Source<'store> {
    buckets: &'store [Bucket],
    read: VecDeque<Found>,
    /// Where it goes on.
    first: Vec<u8>,
    is_over: bool,
    /// How many are asked for next.
    size: usize,
}

impl<'store> Merge<'store> {
    /// The entries, of which probably so many are needed.
    pub(crate) fn new(store: &'store RedisStore, wanted: Wanted, count: usize) -> Self {
        let buckets = store.layout.buckets();
        let parts: Vec<_> = match wanted.only {
            Some(owner) => vec![std::slice::from_ref(store.layout.bucket_of(owner))],
            None if store.engine.is_cluster() => buckets.chunks(1).collect(),
            None => vec![buckets],
        };
        let size = if parts.len() == 1 { count } else { (4 * count / parts.len()).max(8) };
        let source = |buckets| Source {
            buckets,
            read: VecDeque::new(),
            first: wanted.first.clone(),
            is_over: false,
            size,
        };
        let sources = parts.into_iter().map(source).collect();
        Self { store, wanted, sources }
    }

    /// The next one; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Found>, StoreError> {
        self.fill().await?;
        let is_turned = self.wanted.is_turned;
        let nearest = (self.sources.iter_mut())
            .filter(|source| !source.read.is_empty())
            .reduce(|a, b| if (b.read[0].id < a.read[0].id) == is_turned { a } else { b });
        Ok(nearest.and_then(|source| source.read.pop_front()))
    }

    /// Asks the sources for more that are used up.
    async fn fill(&mut self) -> Result<(), StoreError> {
        let is_empty = |source: &&mut Source<'_>| source.read.is_empty() && !source.is_over;
        let mut empty: Vec<_> = self.sources.iter_mut().filter(is_empty).collect();
        if empty.is_empty() {
            return Ok(());
        }
        let calls = empty.iter().map(|source| call(self.store, &self.wanted, source)).collect();
        let answers = self.store.engine.call_all(Via::Read, calls).await;
        for (source, answer) in empty.iter_mut().zip(answers) {
            let answer = answer.map_err(|failure| failure.of_read("cannot read an index"))?;
            source.take(answer)?;
        }
        Ok(())
    }
}

/// The call for what comes next of a source. See `scripts/range.lua` for its arguments.
fn call(store: &RedisStore, wanted: &Wanted, source: &Source<'_>) -> Call {
    let published = store.layout.bucket_of(Owner::Workspace(wanted.workspace)).number;
    let published = source.buckets.iter().position(|bucket| bucket.number == published);
    let keys = source.buckets.iter().map(|bucket| &bucket.tag);
    let call = ScriptCall::new(&script::RANGE, keys, (13, 24 * source.buckets.len() + 256))
        .text(wanted.workspace)
        .text(published.map_or(0, |place| place + 1));
    let call = match wanted.only {
        Some(owner) => call.text(owner),
        None => call.bytes(""),
    };
    let call = call.bytes(&source.first).bytes(&wanted.last);
    let mut call = call.text(u8::from(wanted.is_turned)).text(source.size);
    for set in &wanted.sets {
        call.push(set);
    }
    Call::of_script(source.buckets[0].slot, &script::RANGE, call)
}

impl Source<'_> {
    fn take(&mut self, answer: Value) -> Result<(), StoreError> {
        let broken = || corrupt("an index");
        let mut parts = value::array(answer).ok_or_else(broken)?.into_iter();
        let goes_on = parts.next().as_ref().and_then(value::int).ok_or_else(broken)?;
        self.is_over = goes_on == 0;
        // Whoever is read on has much: fewer and larger reads.
        self.size = (self.size * 2).min(READ_MAX);
        while let (Some(owner), Some(_), Some(entry)) = (parts.next(), parts.next(), parts.next()) {
            let owner =
                value::bytes(owner).and_then(|name| Owner::named(&name)).ok_or_else(broken)?;
            let entry = value::bytes(entry).ok_or_else(broken)?;
            let id = *entry.first_chunk().ok_or_else(broken)?;
            self.read.push_back(Found { owner, id, entry });
        }
        if let Some(last) = self.read.back() {
            self.first = [b"(", &last.entry[..]].concat();
        } else if !self.is_over {
            return Err(unavailable("an index goes on without an entry"));
        }
        Ok(())
    }
}
