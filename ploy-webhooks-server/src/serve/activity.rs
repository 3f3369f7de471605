//! Hands to the store, now and then, what is observed of senders and how much has happened.

use std::sync::Arc;
use std::time::Duration;

use ploy_webhooks::store::{ActivityStore, HistoryStore, HistoryTally, Observations};
use ploy_webhooks::{Clock, SystemClock};
use tokio::time::MissedTickBehavior;

use super::front::Intake;
use crate::log::chain;
use crate::metrics::Metrics;
use crate::store::Store;

const EVERY: Duration = Duration::from_secs(5);
/// More tallies are not kept for a store that fails.
const TALLIES_MAX: usize = 1 << 16;
/// So much is handed over in one call, so that no commit waits long for it.
const HANDED_AT_ONCE: usize = 512;

/// What was observed and is not in the store yet.
#[derive(Debug)]
pub(super) struct Activity {
    ingest: Intake,
    metrics: Metrics,
    store: Arc<dyn Store>,
    kept: Observations,
    tallies: Vec<HistoryTally>,
}

impl Activity {
    pub(super) fn new(ingest: Intake, metrics: Metrics, store: Arc<dyn Store>) -> Self {
        Self { ingest, metrics, store, kept: Observations::default(), tallies: Vec::new() }
    }

    /// Hands over until it is dropped. Nothing is lost when it is: what is under way is handed
    /// over again, and may be counted twice.
    pub(super) async fn hand_over_for_ever(&mut self) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.hand_over().await;
        }
    }

    /// Hands over what there is.
    pub(super) async fn hand_over(&mut self) {
        self.hand_tallies_over().await;
        self.hand_observations_over().await;
    }

    async fn hand_tallies_over(&mut self) {
        self.tallies.extend(self.metrics.take_tallies(SystemClock.now()));
        // Where the store has failed for long, what is oldest is let go of.
        let surplus = self.tallies.len().saturating_sub(TALLIES_MAX);
        self.tallies.drain(..surplus);
        while !self.tallies.is_empty() {
            let kept = self.tallies.len().saturating_sub(HANDED_AT_ONCE);
            if let Err(error) = self.store.tally(self.tallies[kept..].to_vec()).await {
                tracing::warn!(error = chain(&error), "what has happened could not be recorded");
                return;
            }
            self.tallies.truncate(kept);
        }
    }

    async fn hand_observations_over(&mut self) {
        for observation in self.ingest.take_observations() {
            self.kept.add(observation);
        }
        loop {
            let handed = self.kept.some(HANDED_AT_ONCE);
            if handed.is_empty() {
                return;
            }
            if let Err(error) = self.store.observe(handed.clone()).await {
                tracing::warn!(error = chain(&error), "what senders did could not be recorded");
                return;
            }
            self.kept.forget(&handed);
        }
    }
}
