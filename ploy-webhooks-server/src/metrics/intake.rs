//! What became of requests to the intake.

use std::sync::atomic::{AtomicU64, Ordering};

use ploy_webhooks::ingest::{Answered, Received, Refusal};

use super::histogram::{Histogram, Seen};
use super::sharded::Sharded;

/// From 10 µs, which is less than a request takes that is stored in memory, to the 10 s after which
/// a sender is told to try again.
const BOUNDS: [u64; 19] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000,
    500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// The stages of a request, in their order.
pub(super) const STAGES: [&str; 4] = ["admit", "read", "check", "append"];

/// What one shard has counted.
#[derive(Debug)]
pub(super) struct Intake {
    stored: AtomicU64,
    repeats: AtomicU64,
    handshakes: AtomicU64,
    refused: [AtomicU64; Refusal::CODES.len()],
    body_bytes: AtomicU64,
    cache_hits: AtomicU64,
    cache_misses: AtomicU64,
    stages: [Histogram<{ BOUNDS.len() }>; STAGES.len()],
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            stored: AtomicU64::default(),
            repeats: AtomicU64::default(),
            handshakes: AtomicU64::default(),
            refused: std::array::from_fn(|_| AtomicU64::default()),
            body_bytes: AtomicU64::default(),
            cache_hits: AtomicU64::default(),
            cache_misses: AtomicU64::default(),
            stages: std::array::from_fn(|_| Histogram::new(&BOUNDS)),
        }
    }
}

/// What all shards have counted.
#[derive(Debug)]
pub(super) struct Totals {
    pub(super) stored: u64,
    pub(super) repeats: u64,
    pub(super) handshakes: u64,
    /// By the code of the answer.
    pub(super) refused: Vec<(&'static str, u64)>,
    pub(super) body_bytes: u64,
    pub(super) cache_hits: u64,
    pub(super) cache_misses: u64,
    pub(super) stages: [(&'static str, Seen); STAGES.len()],
}

impl Intake {
    pub(super) fn count(&self, answered: &Answered<'_>) {
        let outcome = match answered.outcome {
            Ok(Received::Event(event)) if event.duplicate => &self.repeats,
            Ok(Received::Event(_)) => &self.stored,
            Ok(Received::Handshake(_)) => &self.handshakes,
            Err(refusal) => {
                let place = Refusal::CODES.iter().position(|code| *code == refusal.code());
                &self.refused[place.expect("each code is among them")]
            }
        };
        outcome.fetch_add(1, Ordering::Relaxed);
        if let Some(bytes) = answered.body_bytes {
            self.body_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        // Who is refused for the head of the request was not looked for.
        if answered.took.admit.is_some() {
            let cache = match answered.look_ups {
                0 => &self.cache_hits,
                _ => &self.cache_misses,
            };
            cache.fetch_add(1, Ordering::Relaxed);
        }
        let took = &answered.took;
        for (stage, took) in
            self.stages.iter().zip([took.admit, took.read, took.check, took.append])
        {
            if let Some(took) = took {
                stage.observe(took);
            }
        }
    }
}

impl Totals {
    pub(super) fn of(shards: &Sharded<Intake>) -> Self {
        let sum = |figure: fn(&Intake) -> &AtomicU64| {
            shards.sum(|shard| figure(shard).load(Ordering::Relaxed))
        };
        let refused = Refusal::CODES.iter().enumerate().map(|(place, code)| {
            (*code, shards.sum(|shard| shard.refused[place].load(Ordering::Relaxed)))
        });
        let stages = std::array::from_fn(|place| {
            let mut seen = Seen::default();
            shards.all().for_each(|shard| shard.stages[place].add_to(&mut seen));
            (STAGES[place], seen)
        });
        Self {
            stored: sum(|shard| &shard.stored),
            repeats: sum(|shard| &shard.repeats),
            handshakes: sum(|shard| &shard.handshakes),
            refused: refused.collect(),
            body_bytes: sum(|shard| &shard.body_bytes),
            cache_hits: sum(|shard| &shard.cache_hits),
            cache_misses: sum(|shard| &shard.cache_misses),
            stages,
        }
    }
}
