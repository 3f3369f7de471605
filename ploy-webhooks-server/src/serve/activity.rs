//! Hands what the intake observes of senders to the store, now and then.

use std::sync::Arc;
use std::time::Duration;

use ploy_webhooks::store::{ActivityStore, Observation};
use tokio::time::MissedTickBehavior;

use super::front::Intake;
use crate::log::chain;
use crate::store::Store;

const EVERY: Duration = Duration::from_secs(5);
/// So much is kept of what a store that fails did not take.
const KEPT_MAX: usize = 1 << 16;

/// What was observed and is not in the store yet.
#[derive(Debug)]
pub(super) struct Activity {
    ingest: Intake,
    store: Arc<dyn Store>,
    kept: Vec<Observation>,
}

impl Activity {
    pub(super) const fn new(ingest: Intake, store: Arc<dyn Store>) -> Self {
        Self { ingest, store, kept: Vec::new() }
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
        self.kept.extend(self.ingest.take_observations());
        if self.kept.is_empty() {
            return;
        }
        match self.store.observe(self.kept.clone()).await {
            Ok(()) => self.kept.clear(),
            Err(error) => {
                tracing::warn!(error = chain(&error), "what senders did could not be recorded");
                self.kept.truncate(KEPT_MAX);
            }
        }
    }
}
