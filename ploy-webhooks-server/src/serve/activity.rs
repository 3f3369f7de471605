//! Hands what the intake observes of senders to the store, now and then.

use std::sync::Arc;
use std::time::Duration;

use ploy_webhooks::store::{ActivityStore, Observations};
use tokio::time::MissedTickBehavior;

use super::front::Intake;
use crate::log::chain;
use crate::store::Store;

const EVERY: Duration = Duration::from_secs(5);
/// So much is handed over in one call, so that no commit waits long for it.
const HANDED_AT_ONCE: usize = 512;

/// What was observed and is not in the store yet.
#[derive(Debug)]
pub(super) struct Activity {
    ingest: Intake,
    store: Arc<dyn Store>,
    kept: Observations,
}

impl Activity {
    pub(super) fn new(ingest: Intake, store: Arc<dyn Store>) -> Self {
        Self { ingest, store, kept: Observations::default() }
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
