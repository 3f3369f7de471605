//! What a saboteur does wrong with quotas and observations.

use async_trait::async_trait;
use ploy_webhooks::store::{Activity, ActivityStore, Observation, StoreError};
use ploy_webhooks::{EndpointId, NewEvent, Quota, WorkspaceId};

use super::{Fault, Saboteur};

impl Saboteur {
    /// Decides by a count of its own, before everything else.
    pub(super) fn is_past_its_quota_wrongly(&self, event: &NewEvent) -> bool {
        let endpoint = event.fence.map(|fence| fence.endpoint);
        let Some(quota) = event.quota else {
            return false;
        };
        let endpoint = endpoint.filter(|_| self.fault != Fault::QuotasAreShared);
        match self.fault {
            Fault::CountsQuotasBeforeTheCommit => self.used(endpoint) >= quota.events.get(),
            Fault::CountsRepeats | Fault::QuotasAreShared | Fault::QuotasNeverBeginAnew => {
                let is_past = self.used(endpoint) >= quota.events.get();
                self.count_wrongly(endpoint, Some(quota));
                is_past
            }
            _ => false,
        }
    }

    pub(super) fn count_wrongly(&self, endpoint: Option<EndpointId>, quota: Option<Quota>) {
        if quota.is_some() {
            *self.aside().used.entry(endpoint).or_default() += 1;
        }
    }

    fn used(&self, endpoint: Option<EndpointId>) -> u64 {
        self.aside().used.get(&endpoint).copied().unwrap_or_default()
    }
}

#[async_trait]
impl ActivityStore for Saboteur {
    async fn observe(&self, mut observations: Vec<Observation>) -> Result<(), StoreError> {
        match self.fault {
            Fault::ObservesTheLastOnly => drop(observations.drain(..observations.len().max(1) - 1)),
            Fault::ObservesAnything => {
                for observation in &mut observations {
                    observation.workspace =
                        self.owner(&observation.endpoint, &observation.workspace);
                }
            }
            _ => {}
        }
        self.store.observe(observations).await
    }

    async fn activity(
        &self,
        workspace: &WorkspaceId,
        endpoint: &EndpointId,
    ) -> Result<Option<Activity>, StoreError> {
        self.store.activity(workspace, endpoint).await
    }
}
