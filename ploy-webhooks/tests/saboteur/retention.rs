//! What a saboteur does wrong with events that have been kept for long enough.

use async_trait::async_trait;
use ploy_webhooks::Fence;
use ploy_webhooks::store::{
    EndpointStore, Expired, RetentionStore, RunQueue, RunStore, StoreError, Sweep,
};

use super::{Fault, Saboteur};

#[async_trait]
impl RetentionStore for Saboteur {
    async fn expire(&self, sweep: &Sweep) -> Result<Expired, StoreError> {
        let mut sweep = *sweep;
        match self.fault {
            Fault::ExpiresNothing => return Ok(Expired::Swept { events: 0, next: None }),
            Fault::ExpiresWhateverTheAge => sweep.older_than = None,
            Fault::ExpiresWhatIsOwed => self.call_all_off(&sweep).await?,
            Fault::SweepsUnfenced => self.fit(&mut sweep).await?,
            Fault::SweepsForAnybody => self.sweep_the_others(&sweep).await?,
            _ => {}
        }
        let expired = self.store.expire(&sweep).await?;
        Ok(match (self.fault, expired) {
            (Fault::EndsSweepsTooSoon, Expired::Swept { events, .. }) => {
                Expired::Swept { events, next: None }
            }
            _ => expired,
        })
    }
}

impl Saboteur {
    /// Has no run in the way.
    async fn call_all_off(&self, sweep: &Sweep) -> Result<(), StoreError> {
        let events: Vec<_> = self.aside().appended.iter().map(|event| event.id).collect();
        for event in events {
            for run in self.store.runs(&sweep.workspace, &event).await? {
                let _over_or_not = self.store.cancel(&sweep.workspace, &run.id).await?;
            }
        }
        Ok(())
    }

    /// Names the revision that holds.
    async fn fit(&self, sweep: &mut Sweep) -> Result<(), StoreError> {
        if let Some(Fence { endpoint, checked_at }) = &mut sweep.endpoint
            && let Some(now) = self.store.endpoint_by_id(&sweep.workspace, endpoint).await?
        {
            *checked_at = now.revision;
        }
        Ok(())
    }

    async fn sweep_the_others(&self, sweep: &Sweep) -> Result<(), StoreError> {
        let made: Vec<_> = self.aside().made.values().cloned().collect();
        for endpoint in made {
            let fence = Fence { endpoint: endpoint.id, checked_at: endpoint.revision };
            let theirs = Sweep { workspace: endpoint.workspace, from: None, ..*sweep };
            for endpoint in [None, Some(fence)] {
                let _whatever_went = self.store.expire(&Sweep { endpoint, ..theirs }).await?;
            }
        }
        Ok(())
    }
}
