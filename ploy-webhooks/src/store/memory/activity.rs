//! What endpoints were sent, in memory: quotas and observations.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;

use super::{MemoryStore, State};
use crate::clock::Timestamp;
use crate::id::{EndpointId, WorkspaceId};
use crate::limits::{Quota, QuotaCount};
use crate::store::{
    Activity, ActivityStore, OBSERVED_MAX, Observation, QuotaUse, StoreError, Tally,
};

/// What the endpoints of a memory store were sent.
#[derive(Debug, Default)]
pub(super) struct Activities {
    quotas: HashMap<EndpointId, QuotaCount>,
    /// By the text of what was observed.
    observed: HashMap<EndpointId, BTreeMap<String, Tally>>,
}

impl Activities {
    /// How many events the endpoint has stored in the period that is now.
    pub(super) fn used(&self, endpoint: EndpointId, quota: Quota, now: Timestamp) -> u64 {
        self.quotas.get(&endpoint).map_or(0, |count| count.used(quota, now))
    }

    /// Counts one more.
    pub(super) fn count(&mut self, endpoint: EndpointId, quota: Quota, now: Timestamp) {
        let before = self.quotas.get(&endpoint).copied();
        self.quotas.insert(endpoint, QuotaCount::one_more(before, quota, now));
    }

    pub(super) fn forget(&mut self, endpoint: EndpointId) {
        self.quotas.remove(&endpoint);
        self.observed.remove(&endpoint);
    }

    fn observe(&mut self, observation: Observation) {
        let tallies = self.observed.entry(observation.endpoint).or_default();
        let name = observation.what.to_string();
        if tallies.len() >= OBSERVED_MAX && !tallies.contains_key(&name) {
            return;
        }
        let Observation { what, count, last_at, .. } = observation;
        let tally = tallies.entry(name).or_insert(Tally { what, count: 0, last_at });
        tally.count = tally.count.saturating_add(count);
        tally.last_at = tally.last_at.max(last_at);
    }

    fn of(&self, endpoint: EndpointId, now: Timestamp) -> Activity {
        let quota = self.quotas.get(&endpoint).map(|count| QuotaUse::of(*count, now));
        let observed = self.observed.get(&endpoint);
        let observed = observed.map(|tallies| tallies.values().cloned().collect());
        Activity { quota, observed: observed.unwrap_or_default() }
    }
}

#[async_trait]
impl ActivityStore for MemoryStore {
    async fn observe(&self, observations: Vec<Observation>) -> Result<(), StoreError> {
        let mut state = self.state();
        for observation in observations {
            if state.has_endpoint(&observation.workspace, &observation.endpoint) {
                state.activity.observe(observation);
            }
        }
        Ok(())
    }

    async fn activity(
        &self,
        workspace: &WorkspaceId,
        endpoint: &EndpointId,
    ) -> Result<Option<Activity>, StoreError> {
        let now = self.clock.now();
        let state = self.state();
        let is_there = state.has_endpoint(workspace, endpoint);
        Ok(is_there.then(|| state.activity.of(*endpoint, now)))
    }
}

impl State {
    fn has_endpoint(&self, workspace: &WorkspaceId, endpoint: &EndpointId) -> bool {
        self.endpoints.get(endpoint).is_some_and(|endpoint| endpoint.workspace == *workspace)
    }
}
