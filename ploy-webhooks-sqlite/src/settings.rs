//! Where the store lives, and its bounds.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// Where the store lives, and its bounds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SqliteSettings {
    /// The file of the database. Two more stand beside it: `-wal` and `-shm`, and one, `-lock`,
    /// by which a second process is refused.
    pub path: PathBuf,
    /// What an answered append survives. Default: [`Durability::Full`].
    pub durability: Durability,
    /// How many appends may wait for the writer; past it, they are refused at once.
    /// Default: 8,192.
    pub waiting_max: usize,
    /// How many bytes of payload may wait for the writer. Default: 256 MiB.
    pub waiting_bytes_max: u64,
    /// How long a lock that another program holds on the file is waited for. Default: 2 s.
    pub lock_timeout: Duration,
    /// How large the file may become, in bytes; past it, appends are refused. `None`, the
    /// default, is as large as the disk.
    pub file_bytes_max: Option<u64>,
    /// How many searches run at once; look-ups have readers of their own. Default: 4.
    pub searches_max: NonZeroUsize,
    /// Whether search has an index. Default: [`SearchIndex::Kept`].
    pub search_index: SearchIndex,
    /// How many deduplication keys are gathered in memory before they are put in order behind the
    /// writes; as many more come in meanwhile, and up to eight times as many where that does not
    /// keep up. Past it, events with keys are refused as
    /// [`Busy`](ploy_webhooks::store::StoreErrorKind::Busy). A key takes about 60 bytes. A start
    /// reads those that were not in order. Default: 114,688.
    pub dedup_newest: NonZeroUsize,
    /// How many bytes of memory the filters take that tell new deduplication keys from those which
    /// are in order on the disk. A million keys want 2 MB, and once more as much while they are
    /// put in order anew: ten million 40 MB. With less, more of the new keys are looked for on the
    /// disk, which takes longer; it is as exact. Default: 64 MiB, enough for 16 million keys.
    pub dedup_filter_bytes_max: u64,
}

/// What an answered append survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "flushed or not flushed")]
pub enum Durability {
    /// The loss of power: every commit is flushed to the disk (`synchronous=FULL`).
    #[default]
    Full,
    /// The end of the process, but not the loss of power (`synchronous=OFF`). For tests.
    Process,
}

/// Whether search has an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is one or there is none")]
pub enum SearchIndex {
    /// Built behind the writes.
    #[default]
    Kept,
    /// None is built: each search reads the whole history.
    Absent,
}

impl SqliteSettings {
    /// The defaults, at that path.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            durability: Durability::Full,
            waiting_max: 8_192,
            waiting_bytes_max: 256 << 20,
            lock_timeout: Duration::from_secs(2),
            file_bytes_max: None,
            searches_max: NonZeroUsize::new(4).expect("four is not zero"),
            search_index: SearchIndex::Kept,
            dedup_newest: NonZeroUsize::new(7 << 14).expect("it is not zero"),
            dedup_filter_bytes_max: 64 << 20,
        }
    }
}
