//! The bytes of bodies that the process holds at once, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many bytes may be held, and how many are.
#[derive(Debug)]
pub(super) struct Budget {
    bytes_max: u64,
    held: AtomicU64,
}

impl Budget {
    /// Bodies up to this size may also use the last quarter of the budget.
    const SMALL: u64 = 64 << 10;

    pub(super) const fn new(bytes_max: u64) -> Self {
        Self { bytes_max, held: AtomicU64::new(0) }
    }

    /// How many bytes are held.
    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// A reservation of nothing, to be grown.
    pub(super) const fn reserve_none(&self) -> Reservation<'_> {
        Reservation { budget: self, bytes: 0 }
    }
}

/// Bytes of the budget that are taken until this is dropped.
#[derive(Debug)]
pub(super) struct Reservation<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Reservation<'_> {
    /// Takes what is missing to `bytes`; `false` when the budget does not have it.
    pub(super) fn grow_to(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let bytes_max = match bytes <= Budget::SMALL {
            true => self.budget.bytes_max,
            false => self.budget.bytes_max / 4 * 3,
        };
        let held = &self.budget.held;
        let grown = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            held.checked_add(more).filter(|&held| held <= bytes_max)
        });
        if grown.is_ok() {
            self.bytes += more;
        }
        grown.is_ok()
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_leave_the_last_quarter_to_small_ones() {
        let budget = Budget::new(1 << 20);
        let mut large = budget.reserve_none();
        assert!(large.grow_to(3 << 18));
        assert!(!budget.reserve_none().grow_to(Budget::SMALL + 1));
        let mut small: Vec<_> = (0..4).map(|_| budget.reserve_none()).collect();
        assert!(small.iter_mut().all(|small| small.grow_to(Budget::SMALL)));
        assert!(!budget.reserve_none().grow_to(1));
        drop(large);
        assert!(budget.reserve_none().grow_to(Budget::SMALL + 1));
        drop(small);
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
    }
}
