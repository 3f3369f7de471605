//! What became of attempts.

use std::sync::atomic::{AtomicU64, Ordering};

use ploy_webhooks::trigger::Ended;
use ploy_webhooks::{Lane, Outcome};

use super::histogram::{Histogram, Seen};
use super::sharded::Sharded;

/// From a millisecond to an hour: an agent takes its time.
const BOUNDS: [u64; 16] = [
    1_000,
    5_000,
    10_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    900_000_000,
    3_600_000_000,
];

/// What attempts are of.
const KINDS: [&str; 2] = ["run", "delivery"];
/// How they end.
const OUTCOMES: [&str; 3] = ["succeeded", "retry", "failed"];

/// What one shard has counted.
#[derive(Debug)]
pub(super) struct Attempts {
    claimed: AtomicU64,
    ended: [[AtomicU64; OUTCOMES.len()]; KINDS.len()],
    took: [Histogram<{ BOUNDS.len() }>; KINDS.len()],
    lost: AtomicU64,
    unrecorded: AtomicU64,
    store_errors: AtomicU64,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            claimed: AtomicU64::default(),
            ended: Default::default(),
            took: std::array::from_fn(|_| Histogram::new(&BOUNDS)),
            lost: AtomicU64::default(),
            unrecorded: AtomicU64::default(),
            store_errors: AtomicU64::default(),
        }
    }
}

/// What all shards have counted.
#[derive(Debug)]
pub(super) struct Totals {
    pub(super) claimed: u64,
    /// By kind and outcome.
    pub(super) ended: Vec<([&'static str; 2], u64)>,
    pub(super) took: [(&'static str, Seen); KINDS.len()],
    pub(super) lost: u64,
    pub(super) unrecorded: u64,
    pub(super) store_errors: u64,
}

impl Attempts {
    pub(super) fn claimed(&self, runs: usize) {
        self.claimed.fetch_add(runs as u64, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, ended: &Ended<'_>) {
        let kind = usize::from(matches!(ended.lane, Lane::Destination(_)));
        let outcome = match ended.outcome {
            Outcome::Succeed { .. } => 0,
            Outcome::Retry { .. } => 1,
            Outcome::Fail { .. } => 2,
        };
        self.ended[kind][outcome].fetch_add(1, Ordering::Relaxed);
        self.took[kind].observe(ended.after);
    }

    pub(super) fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn unrecorded(&self) {
        self.unrecorded.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn store_failed(&self) {
        self.store_errors.fetch_add(1, Ordering::Relaxed);
    }
}

impl Totals {
    pub(super) fn of(shards: &Sharded<Attempts>) -> Self {
        let sum = |figure: fn(&Attempts) -> &AtomicU64| {
            shards.sum(|shard| figure(shard).load(Ordering::Relaxed))
        };
        let mut ended = Vec::with_capacity(KINDS.len() * OUTCOMES.len());
        for (kind, kind_name) in KINDS.iter().enumerate() {
            for (outcome, outcome_name) in OUTCOMES.iter().enumerate() {
                let count = |shard: &Attempts| shard.ended[kind][outcome].load(Ordering::Relaxed);
                ended.push(([*kind_name, *outcome_name], shards.sum(count)));
            }
        }
        let took = std::array::from_fn(|kind| {
            let mut seen = Seen::default();
            shards.all().for_each(|shard| shard.took[kind].add_to(&mut seen));
            (KINDS[kind], seen)
        });
        Self {
            claimed: sum(|shard| &shard.claimed),
            ended,
            took,
            lost: sum(|shard| &shard.lost),
            unrecorded: sum(|shard| &shard.unrecorded),
            store_errors: sum(|shard| &shard.store_errors),
        }
    }
}
