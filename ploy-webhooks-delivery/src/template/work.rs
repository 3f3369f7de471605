//! What expressions may still read, copy and make.
//!
//! The engine counts steps, and a step may copy a megabyte. So whatever brings bytes into an
//! expression (a field, a filter) pays for them, times the operators of that expression: that is
//! how often each of them is copied or compared at most.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::WORK_BYTES_MAX;

/// What is left, in bytes. It is only ever used by one thread; that it is atomic is for the engine,
/// which asks it of all values.
#[derive(Debug)]
pub(super) struct Work {
    left: AtomicI64,
    copies: AtomicU64,
}

impl Work {
    pub(super) fn new() -> Self {
        let left = AtomicI64::new(i64::try_from(WORK_BYTES_MAX).unwrap_or(i64::MAX));
        Self { left, copies: AtomicU64::new(1) }
    }

    /// From here on each byte may be copied by so many operators.
    pub(super) fn begin(&self, operators: usize) {
        self.copies.store(operators as u64 + 1, Ordering::Relaxed);
    }

    /// Pays for so many bytes; `false` when that is more than there is.
    pub(super) fn pay(&self, bytes: usize) -> bool {
        let cost = (bytes as u64 + 1).saturating_mul(self.copies.load(Ordering::Relaxed));
        let cost = i64::try_from(cost).unwrap_or(i64::MAX);
        let left = self.left.load(Ordering::Relaxed).saturating_sub(cost);
        self.left.store(left, Ordering::Relaxed);
        left >= 0
    }

    /// Leaves nothing.
    pub(super) fn exhaust(&self) {
        self.left.store(-1, Ordering::Relaxed);
    }

    /// Whether more was asked for than there was.
    pub(super) fn is_exhausted(&self) -> bool {
        self.left.load(Ordering::Relaxed) < 0
    }
}
