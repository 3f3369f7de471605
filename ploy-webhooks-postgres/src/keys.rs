//! The deduplication keys of a batch: which of them are taken in the tables, and which events of
//! the batch repeat another one of it.

use ploy_webhooks::{Dedup, NewEvent};
use sha2::{Digest, Sha256};

use crate::batch::{Verdict, millis};
use crate::generations::{Filters, filtered};
use crate::queue::Waiting;
use crate::wire::Uuid;

/// What is asked of the tables for an event.
#[derive(Clone, Copy, Debug)]
struct Taking {
    key: Uuid,
    /// The place of the event in the batch.
    place: usize,
    window_ms: i64,
}

/// An event that has the key of another one of the batch.
#[derive(Clone, Copy, Debug)]
struct Follower {
    place: usize,
    first: usize,
}

/// The keys of a batch.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// The first event of each key, by key: so that two batches never wait for each other in a
    /// circle.
    takings: Vec<Taking>,
    followers: Vec<Follower>,
    /// The sealed generations that were looked into.
    covered: Vec<Uuid>,
    suspects: Vec<Suspect>,
}

/// A key that a sealed generation may have.
#[derive(Clone, Copy, Debug)]
struct Suspect {
    seal: Uuid,
    place: usize,
}

impl Keys {
    pub(crate) fn of(batch: &[Waiting], filters: &Filters) -> Self {
        let keyed = batch.iter().enumerate().filter_map(|(place, waiting)| {
            let dedup = waiting.event.dedup?;
            let key = scoped(&waiting.event, dedup);
            Some(Taking { key, place, window_ms: millis(dedup.window) })
        });
        let mut takings: Vec<_> = keyed.collect();
        takings.sort_unstable_by_key(|taking| (taking.key, taking.place));
        let mut followers = Vec::new();
        takings.dedup_by(|later, first| {
            let is_repeat = later.key == first.key;
            if is_repeat {
                followers.push(Follower { place: later.place, first: first.place });
            }
            is_repeat
        });
        let suspects = filters.iter().flat_map(|sealed| {
            let suspects =
                takings.iter().filter(|taking| sealed.filter.may_have(filtered(taking.key)));
            suspects.map(|taking| Suspect { seal: sealed.seal, place: taking.place })
        });
        let suspects = suspects.collect();
        let covered = filters.iter().map(|sealed| sealed.seal).collect();
        Self { takings, followers, covered, suspects }
    }

    /// The events that take a key, counted from 1 as Postgres counts.
    pub(crate) fn places(&self) -> Vec<i32> {
        self.takings.iter().map(|taking| place_of(taking.place)).collect()
    }

    pub(crate) fn keys(&self) -> Vec<Uuid> {
        self.takings.iter().map(|taking| taking.key).collect()
    }

    pub(crate) fn windows_ms(&self) -> Vec<i64> {
        self.takings.iter().map(|taking| taking.window_ms).collect()
    }

    /// The sealed generations of which it is known what they have not: by their seals.
    pub(crate) fn covered(&self) -> &[Uuid] {
        &self.covered
    }

    /// Those of them that may have a key of the batch, once for each.
    pub(crate) fn suspected(&self) -> Vec<Uuid> {
        self.suspects.iter().map(|suspect| suspect.seal).collect()
    }

    /// The events that have these keys: counted as the others.
    pub(crate) fn suspects(&self) -> Vec<i32> {
        self.suspects.iter().map(|suspect| place_of(suspect.place)).collect()
    }

    /// The events that follow another one of the batch, which are not stored: likewise counted.
    pub(crate) fn followers(&self) -> Vec<i32> {
        self.followers.iter().map(|follower| place_of(follower.place)).collect()
    }

    /// What becomes of those that follow another event of the batch, once it is known what becomes
    /// of that.
    pub(crate) fn follow(&self, batch: &[Waiting], verdicts: &mut [Verdict]) {
        for follower in &self.followers {
            let (event, first) = (&batch[follower.place].event, &batch[follower.first].event);
            verdicts[follower.place] = match verdicts[follower.first] {
                // It was checked against another state, or counts for another quota.
                _ if (event.fence, event.workspace) != (first.fence, first.workspace) => {
                    Verdict::Again
                }
                Verdict::OverQuota { .. } if event.quota != first.quota => Verdict::Again,
                Verdict::Stored(_) => Verdict::Duplicate(first.id),
                other => other,
            };
        }
    }
}

/// A place as Postgres counts, from 1.
pub(crate) fn place_of(place: usize) -> i32 {
    i32::try_from(place + 1).expect("a batch has at most 512 events")
}

/// A key belongs to the endpoint that took the event, or to the workspace that published it. Half
/// a digest is enough: among 10^10 keys two are the same with a probability of 10^-19, and who
/// could make two such on purpose would have repeated an event of their own.
fn scoped(event: &NewEvent, dedup: Dedup) -> Uuid {
    let hash = match &event.fence {
        Some(fence) => Sha256::new().chain_update(b"e").chain_update(fence.endpoint.as_bytes()),
        None => Sha256::new().chain_update(b"w").chain_update(event.workspace.as_bytes()),
    };
    let digest = hash.chain_update(dedup.key.as_bytes()).finalize();
    Uuid(std::array::from_fn(|place| digest[place]))
}
