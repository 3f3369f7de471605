//! Hands what the intake observes of senders to the store, now and then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ploy_webhooks::EndpointId;
use ploy_webhooks::store::{ActivityStore, Observation, Observed};
use tokio::time::MissedTickBehavior;

use super::front::Intake;
use crate::log::chain;
use crate::store::Store;

const EVERY: Duration = Duration::from_secs(5);
/// So much is handed over in one call, so that no commit waits long for it.
const HANDED_AT_ONCE: usize = 512;
/// So much is kept of what a store that fails did not take.
const KEPT_MAX: usize = 1 << 16;

/// What was observed and is not in the store yet.
#[derive(Debug)]
pub(super) struct Activity {
    ingest: Intake,
    store: Arc<dyn Store>,
    /// Each name of each endpoint once.
    kept: HashMap<(EndpointId, Observed), Observation>,
}

impl Activity {
    pub(super) fn new(ingest: Intake, store: Arc<dyn Store>) -> Self {
        Self { ingest, store, kept: HashMap::new() }
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
        self.keep(self.ingest.take_observations());
        while !self.kept.is_empty() {
            let names: Vec<_> = self.kept.keys().take(HANDED_AT_ONCE).cloned().collect();
            let handed = names.iter().map(|name| self.kept[name].clone()).collect();
            if let Err(error) = self.store.observe(handed).await {
                tracing::warn!(error = chain(&error), "what senders did could not be recorded");
                return;
            }
            for name in &names {
                self.kept.remove(name);
            }
        }
    }

    /// Adds it up with what the store did not take before.
    fn keep(&mut self, observed: Vec<Observation>) {
        for observation in observed {
            let name = (observation.endpoint, observation.what.clone());
            if let Some(kept) = self.kept.get_mut(&name) {
                kept.count += observation.count;
                kept.last_at = kept.last_at.max(observation.last_at);
            } else if self.kept.len() < KEPT_MAX {
                self.kept.insert(name, observation);
            }
        }
    }
}
