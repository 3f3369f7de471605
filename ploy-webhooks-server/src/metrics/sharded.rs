//! [`Sharded`]: figures that threads count each for itself, so that none waits for another's cache
//! line.

use std::sync::atomic::{AtomicUsize, Ordering};

/// More threads than this share.
const SHARDS: usize = 16;

/// Figures in shards, which are added up by whoever reads them.
#[derive(Debug, Default)]
pub(super) struct Sharded<T>([Padded<T>; SHARDS]);

/// Two cache lines, since processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

thread_local! {
    static MINE: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS
    };
}

impl<T> Sharded<T> {
    /// The shard that this thread counts in.
    pub(super) fn mine(&self) -> &T {
        &self.0[MINE.with(|mine| *mine)].0
    }

    /// The sum of a figure over all shards.
    pub(super) fn sum(&self, figure: impl Fn(&T) -> u64) -> u64 {
        self.all().map(figure).fold(0, u64::wrapping_add)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|shard| &shard.0)
    }
}
