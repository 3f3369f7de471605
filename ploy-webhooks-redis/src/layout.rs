//! Where things lie: buckets, hash slots, names of keys.
//!
//! | key | what |
//! | --- | --- |
//! | `{ploy}:meta` | hash: the format and the number of buckets |
//! | `{ploy}:root-token` | the digest of the root token |
//! | `{ploy:3}:slug:…` | the id of the endpoint that has the slug, or is about to |
//! | `{ploy:3}:endpoint:ep_…` | hash: the endpoint, and in the field `quota` what it has stored under one: the period in milliseconds, the number of the period, how many events |
//! | `{ploy:3}:observed:ep_…` | hash: what was observed of its senders: how often, and when last, by name |
//! | `{ploy:3}:gone:ep_…` | there never was such an endpoint, or there is none any more |
//! | `{ploy:3}:workspace:ws_…` | sorted set: the workspace's endpoints in this bucket |
//! | `{ploy:3}:index:ep_…` | sorted set, all scores 0: id and summary of each event |
//! | `{ploy:3}:payloads:ep_…` | hash: the headers and the payload of each event, by its id |
//! | `{ploy:3}:runs:ep_…` | hash: what the events owe, and what came of it |
//! | `{ploy:3}:queued:ep_…` | sorted set, all scores 0: the ids of the runs in that state; the same with `running`, `retrying`, `succeeded`, `failed` and `cancelled` |
//! | `{ploy:3}:delayed:ep_…` | the same for runs that are queued and wait for their delay |
//! | `{ploy:3}:line:ep_…` | sorted set: the runs that are due at a time, by when |
//! | `{ploy:3}:seen:ep_…:…` | the id of the first event with a deduplication key |
//! | `{ploy:3}:line:ep_…:dst_…` | the same for those that are delivered to that destination |
//! | `{ploy:3}:receivers:ep_…` | set: the destinations to which it has a line |
//! | `{ploy:3}:senders:dst_…` | sorted set: who has a line to that destination, by when the first of it is due |
//! | `{ploy:3}:lanes` | sorted set: who has a line, and to which destinations there are some, by when it is their turn |
//! | `{ploy:3}:feed` | stream: for who follows the feed, what calls have done to owners, the last of it |
//! | `{ploy:3}:claimed` | hash: in which line the run stands that somebody has claimed |
//! | `{ploy:3}:history:ws_…` | hash: how much has happened in the workspace: events accepted, requests refused, runs succeeded and failed, by when that time began |
//! | `{ploy:3}:ploybook:ws_…` | hash: the definitions of that kind, by name; the same with `subscription` and each other kind, of which `workspace` is called `tenant` |
//! | `{ploy:3}:ploybook-names:ws_…` | sorted set, all scores 0: their names; likewise |
//! | `{ploy:rate:ep_…}` | the count of an endpoint's rate; the same with a workspace |
//!
//! Where an event is published by the app, its workspace stands in the place of the endpoint. So
//! everything of an endpoint is under one hash tag, and a dozen keys are its whole history.
//!
//! Runs of `queued` are due, and taken in the order of their ids. What waits for a delay, or for the
//! next attempt, stands in `line`, and so does what is claimed: it is due when its lease ends. A lane
//! stands among the lanes where the first of its line does while nothing of it is due, and from then
//! on where its turn is: behind those that came, or were served, before.
//!
//! What is delivered stands in `delayed` until it is claimed, and always in a line. A destination has
//! one lane in a bucket, however many owners of the bucket have a line to it, and in that lane whose
//! first has waited longest is served first.

use std::fmt::Display;
use std::num::NonZeroU16;

use ploy_webhooks::Slug;
use ploy_webhooks::limit::LimitKey;
use ploy_webhooks::store::DefinitionKind;

use crate::owner::Owner;

/// The hash slots of a Cluster.
pub(crate) const SLOTS: u16 = 16_384;

/// What the names of a store's keys are made of.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    prefix: String,
    buckets: Vec<Bucket>,
}

/// A part of the store, in one hash slot.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pub(crate) number: u16,
    pub(crate) slot: u16,
    /// What its keys begin with.
    pub(crate) tag: String,
}

impl Layout {
    pub(crate) fn new(prefix: &str, buckets: NonZeroU16) -> Self {
        let buckets = (0..buckets.get()).map(|number| {
            let tag = format!("{prefix}:{number}");
            Bucket { number, slot: slot_of(tag.as_bytes()), tag: format!("{{{tag}}}:") }
        });
        Self { prefix: prefix.to_owned(), buckets: buckets.collect() }
    }

    pub(crate) fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// The slots with the store's keys, but for those of rates.
    pub(crate) fn slots(&self) -> Vec<u16> {
        let store_wide = slot_of(self.prefix.as_bytes());
        self.buckets.iter().map(|bucket| bucket.slot).chain([store_wide]).collect()
    }

    /// The bucket with everything of that owner.
    pub(crate) fn bucket_of(&self, owner: Owner) -> &Bucket {
        self.bucket_by_hash(owner.as_bytes())
    }

    /// The bucket in which it is written to whom the slug belongs.
    pub(crate) fn bucket_of_slug(&self, slug: &Slug) -> &Bucket {
        self.bucket_by_hash(slug.as_str().as_bytes())
    }

    fn bucket_by_hash(&self, bytes: &[u8]) -> &Bucket {
        let place = fnv_1a(bytes) % self.buckets.len() as u64;
        &self.buckets[usize::try_from(place).expect("it is less than the number of buckets")]
    }

    /// The key with that name that belongs to the store as a whole, and its slot.
    pub(crate) fn store_wide(&self, name: &str) -> (u16, String) {
        (slot_of(self.prefix.as_bytes()), format!("{{{}}}:{name}", self.prefix))
    }

    /// The key of a rate, and its slot. It depends on no number of buckets: nodes that share
    /// nothing but their limits agree on it.
    pub(crate) fn rate_of(&self, of: LimitKey) -> (u16, String) {
        let tag = match of {
            LimitKey::Endpoint(id) => format!("{}:rate:{id}", self.prefix),
            LimitKey::Workspace(id) => format!("{}:rate:{id}", self.prefix),
            LimitKey::Destination(id) => format!("{}:rate:{id}", self.prefix),
        };
        (slot_of(tag.as_bytes()), format!("{{{tag}}}"))
    }

    /// Where nodes tell each other that there are runs to claim.
    pub(crate) fn channel(&self) -> String {
        format!("{}:due", self.prefix)
    }
}

impl Bucket {
    /// A key of this bucket.
    pub(crate) fn key(&self, name: impl Display) -> String {
        format!("{}{name}", self.tag)
    }
}

/// What definitions of a kind are called in the names of keys. The endpoints of a workspace are
/// listed under `workspace`, so definitions of workspaces have another name.
pub(crate) fn name_of_kind(kind: DefinitionKind) -> &'static str {
    match kind.as_str() {
        "workspace" => "tenant",
        name => name,
    }
}

/// FNV-1a, 64 bits: what an endpoint's bucket is told by, for good.
fn fnv_1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash: u64 = bytes.iter().fold(0xcbf2_9ce4_8422_2325, step);
    // Its low bits alone would hardly depend on the high bits of what is hashed.
    hash ^ (hash >> 32)
}

/// The hash slot of a key with that hash tag (CRC-16/XMODEM, as the Cluster specification has it).
fn slot_of(tag: &[u8]) -> u16 {
    let mut crc = 0_u16;
    for &byte in tag {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
    }
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use ploy_webhooks::{Clock, EndpointId, SystemClock};

    #[test]
    fn slots_are_those_of_the_specification() {
        // "123456789" has the CRC 0x31c3; the others are what CLUSTER KEYSLOT says.
        assert_eq!(slot_of(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"foo"), 12_182);
        assert_eq!(slot_of(b"ploy:17"), Layout::new("ploy", BUCKETS).buckets()[17].slot);
    }

    const BUCKETS: NonZeroU16 = NonZeroU16::new(64).unwrap();

    /// What is stored is found by these: they never change.
    #[test]
    fn the_bucket_of_an_id_is_for_good() {
        let layout = Layout::new("ploy", BUCKETS);
        let bucket = |byte| layout.bucket_of(Owner::Endpoint(EndpointId::from_bytes([byte; 16])));
        assert_eq!([0, 1, 2, 255].map(|byte| bucket(byte).number), [28, 30, 56, 29]);
    }

    #[test]
    fn ids_are_spread_over_all_buckets() {
        let layout = Layout::new("ploy", BUCKETS);
        let mut counts = [0; 64];
        for _ in 0..64_000 {
            let id = EndpointId::mint(SystemClock.now());
            counts[usize::from(layout.bucket_of(Owner::Endpoint(id)).number)] += 1;
        }
        assert!(counts.iter().all(|count| (700..1_300).contains(count)), "{counts:?}");
    }

    /// In one bucket, a workspace has its definitions beside the list of its endpoints and what it
    /// published.
    #[test]
    fn definitions_have_keys_of_their_own() {
        let others = [
            "slug",
            "endpoint",
            "observed",
            "gone",
            "workspace",
            "index",
            "payloads",
            "runs",
            "queued",
            "running",
            "retrying",
            "succeeded",
            "failed",
            "cancelled",
            "delayed",
            "line",
            "receivers",
            "senders",
            "seen",
            "lanes",
            "claimed",
            "history",
            "feed",
        ];
        let mut names: Vec<_> = DefinitionKind::ALL.map(name_of_kind).into();
        names.extend(others);
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "left: how many names there are of so many keys");
    }
}
