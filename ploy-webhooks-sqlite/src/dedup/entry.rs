//! A key that is remembered, in thirty-eight bytes.

use ploy_webhooks::{DedupKey, EventId, NewEvent, Timestamp, WorkspaceId};
use sha2::{Digest, Sha256};

/// Stands for a deduplication key and whose it is: half of their SHA-256.
///
/// Sixteen bytes, because that is what each key costs on the disk. Two keys of which one would be
/// taken for the other's repeat have to agree in 128 bits of a digest: by chance, among 2^32 keys
/// within one window, one time in 2^65; on purpose, a sender can at best, with 2^64 digests, find
/// two deliveries of its own, and for one of somebody else's it would need 2^128.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Print([u8; 16]);

impl Print {
    /// What stands for the event's key; `None` where it has none.
    pub(crate) fn of(event: &NewEvent) -> Option<Self> {
        let dedup = event.dedup?;
        Some(match event.fence {
            Some(fence) => Self::of_endpoint(fence.endpoint.as_bytes(), &dedup.key),
            None => Self::of_workspace(event.workspace, &dedup.key),
        })
    }

    /// A key of events that the endpoint took. Its id is never used again, so nothing has to be
    /// forgotten when it is deleted.
    pub(super) fn of_endpoint(endpoint: &[u8; 16], key: &DedupKey) -> Self {
        Self::digest(b'e', endpoint, key)
    }

    /// A key of events that were published.
    pub(super) fn of_workspace(workspace: WorkspaceId, key: &DedupKey) -> Self {
        Self::digest(b'w', workspace.as_bytes(), key)
    }

    fn digest(kind: u8, owner: &[u8; 16], key: &DedupKey) -> Self {
        let digest = Sha256::new().chain_update([kind]).chain_update(owner);
        let digest: [u8; 32] = digest.chain_update(key.as_bytes()).finalize().into();
        Self(*digest.first_chunk().expect("32 bytes hold 16"))
    }

    /// In which of so many buckets it lies. The order of the buckets is the order of the prints.
    pub(super) fn bucket(self, buckets: u32) -> u32 {
        let place = u64::from_be_bytes(*self.0.first_chunk().expect("16 bytes hold 8"));
        let bucket = (u128::from(place) * u128::from(buckets)) >> 64;
        u32::try_from(bucket).expect("it is below the number of buckets")
    }

    /// What a filter takes of it; says nothing of its bucket.
    pub(super) fn filtered(self) -> u64 {
        u64::from_be_bytes(*self.0.last_chunk().expect("16 bytes hold 8"))
    }
}

/// The first event with a key, and until when others with it are repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct First {
    pub(crate) event: EventId,
    pub(crate) expires_at: Timestamp,
}

impl First {
    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at > now
    }
}

/// A key that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) print: Print,
    pub(crate) first: First,
}

impl Entry {
    pub(super) const BYTES: usize = 16 + 16 + 6;

    pub(super) fn write_to(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.print.0);
        bytes.extend_from_slice(self.first.event.as_bytes());
        // A moment has 48 bits.
        bytes.extend_from_slice(&self.first.expires_at.as_millis().to_be_bytes()[2..]);
    }

    fn read(bytes: &[u8; Self::BYTES]) -> Self {
        let (print, rest) = bytes.split_first_chunk().expect("38 bytes hold 16");
        let (event, expires_at) = rest.split_first_chunk().expect("22 bytes hold 16");
        let mut millis = [0; 8];
        millis[2..].copy_from_slice(expires_at);
        let expires_at = Timestamp::from_millis(u64::from_be_bytes(millis));
        Self {
            print: Print(*print),
            first: First { event: EventId::from_bytes(*event), expires_at },
        }
    }

    /// The entries of a row, as they were written; `None` where those bytes are none.
    pub(super) fn read_all(bytes: &[u8]) -> Option<impl Iterator<Item = Self>> {
        let (entries, rest) = bytes.as_chunks();
        rest.is_empty().then(|| entries.iter().map(Self::read))
    }
}
