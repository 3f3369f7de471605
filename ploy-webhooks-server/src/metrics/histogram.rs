//! [`Histogram`]: how long things took, in buckets, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Times in `N` buckets and one for all that is longer than their bounds.
#[derive(Debug)]
pub(super) struct Histogram<const N: usize> {
    /// In microseconds, ascending, inclusive.
    bounds: &'static [u64; N],
    counts: [AtomicU64; N],
    beyond: AtomicU64,
    nanos: AtomicU64,
}

/// What histograms have seen, added up.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) seconds: f64,
    pub(super) count: u64,
    /// The upper bound of each bucket in seconds, and how many are in it alone.
    pub(super) buckets: Vec<(f64, u64)>,
}

impl<const N: usize> Histogram<N> {
    pub(super) fn new(bounds: &'static [u64; N]) -> Self {
        let counts = std::array::from_fn(|_| AtomicU64::new(0));
        Self { bounds, counts, beyond: AtomicU64::new(0), nanos: AtomicU64::new(0) }
    }

    pub(super) fn observe(&self, took: Duration) {
        let micros = took.as_nanos().div_ceil(1_000);
        let place = self.bounds.partition_point(|&bound| u128::from(bound) < micros);
        self.counts.get(place).unwrap_or(&self.beyond).fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Adds what this one has seen.
    pub(super) fn add_to(&self, seen: &mut Seen) {
        if seen.buckets.is_empty() {
            let bounds = self.bounds.iter().map(|&micros| micros as f64 / 1e6);
            seen.buckets = bounds.chain([f64::INFINITY]).map(|bound| (bound, 0)).collect();
        }
        let counts = self.counts.iter().chain([&self.beyond]);
        for ((_, sum), count) in seen.buckets.iter_mut().zip(counts) {
            let count = count.load(Ordering::Relaxed);
            *sum += count;
            seen.count += count;
        }
        seen.seconds += self.nanos.load(Ordering::Relaxed) as f64 / 1e9;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_at_a_bound_is_within_it() {
        let histogram = Histogram::new(&[10, 1_000]);
        for nanos in [0, 10_000, 10_001, 1_000_000, 1_000_001] {
            histogram.observe(Duration::from_nanos(nanos));
        }
        let mut seen = Seen::default();
        histogram.add_to(&mut seen);
        histogram.add_to(&mut seen);
        assert_eq!(seen.buckets, [(0.000_01, 4), (0.001, 4), (f64::INFINITY, 2)]);
        assert_eq!(seen.count, 10);
        assert!((seen.seconds - 2.0 * 0.002_020_002).abs() < 1e-12, "{}", seen.seconds);
    }
}
