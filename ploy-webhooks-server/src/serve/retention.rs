//! Has events go that have been kept for long enough, now and then.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use ploy_webhooks::store::{DefinitionKind, Expired, StoreError, StoreErrorKind, Sweep};
use ploy_webhooks::{Endpoint, Fence, Retention, Workspace, WorkspaceId};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::log::chain;
use crate::store::Store;

const PAGE: NonZeroU16 = NonZeroU16::new(200).expect("it is not zero");
/// After each call that has removed something, nothing is done for so many times as long as it
/// took: so events that come have the store to themselves for most of the time.
const PAUSES: u32 = 4;
/// And no longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How often a sweep begins anew that is overtaken by changes of its endpoint. The next one is soon.
const ROUNDS_MAX: usize = 4;

/// Sweeps all workspaces of a store. Any number of nodes may do so.
#[derive(Debug)]
pub(super) struct Sweeper {
    store: Arc<dyn Store>,
    every: Duration,
}

/// What came of a pass over all workspaces.
#[derive(Debug, Default)]
struct Pass {
    events: u64,
    /// Of how many endpoints, and workspaces that publish.
    owners: u64,
}

impl Sweeper {
    pub(super) const fn new(store: Arc<dyn Store>, every: Duration) -> Self {
        Self { store, every }
    }

    /// Sweeps until it is dropped, which it may be at any time.
    pub(super) async fn sweep_for_ever(self) {
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (mut pass, begun) = (Pass::default(), Instant::now());
            let outcome = self.sweep_all(&mut pass).await;
            let Pass { events, owners } = pass;
            if events > 0 {
                let seconds = begun.elapsed().as_secs();
                tracing::info!(events, owners, seconds, "events went whose time was over");
            }
            if let Err(error) = outcome {
                let error = chain(&error);
                tracing::warn!(
                    error,
                    "old events could not all be removed: the next sweep goes on"
                );
            }
        }
    }

    async fn sweep_all(&self, pass: &mut Pass) -> Result<(), StoreError> {
        self.sweep_or_pass_over(WorkspaceId::DEFAULT, pass).await?;
        let kind = DefinitionKind::Workspace;
        let mut after: Option<String> = None;
        loop {
            let listed =
                self.store.definitions(&WorkspaceId::ROOT, kind, after.as_deref(), PAGE).await?;
            let Some(last) = listed.last() else {
                return Ok(());
            };
            after = Some(last.name.clone());
            let ids = listed.iter().filter_map(|workspace| workspace.name.parse().ok());
            for id in ids.filter(|id| *id != WorkspaceId::DEFAULT) {
                self.sweep_or_pass_over(id, pass).await?;
            }
        }
    }

    /// A workspace that cannot be swept, since what is kept of it cannot be read, is no reason to keep
    /// what is old in the others. A store that does not answer is.
    async fn sweep_or_pass_over(&self, id: WorkspaceId, pass: &mut Pass) -> Result<(), StoreError> {
        match self.sweep_workspace(id, pass).await {
            Err(error)
                if !matches!(error.kind(), StoreErrorKind::Unavailable | StoreErrorKind::Busy) =>
            {
                let error = chain(&error);
                tracing::error!(workspace = %id, error, "old events of a workspace stay");
                Ok(())
            }
            swept => swept,
        }
    }

    /// Sweeps what was published in the workspace, and each of its endpoints.
    async fn sweep_workspace(&self, id: WorkspaceId, pass: &mut Pass) -> Result<(), StoreError> {
        self.sweep_published(id, pass).await?;
        let mut after = None;
        loop {
            let endpoints = self.store.endpoints(&id, after, PAGE).await?;
            let Some(last) = endpoints.last() else {
                return Ok(());
            };
            after = Some(last.id);
            // After the endpoints, of which a change of the workspace is a change too: see `expire`.
            let of_workspace = self.kept_by(&id).await?;
            for endpoint in &endpoints {
                if retention(of_workspace, endpoint).is_some() {
                    self.sweep_endpoint(endpoint, of_workspace, pass).await?;
                }
            }
        }
    }

    /// How long the workspace keeps events. One that cannot be read keeps all of them.
    async fn kept_by(&self, id: &WorkspaceId) -> Result<Option<Retention>, StoreError> {
        let workspace = Workspace::look_up(&*self.store, id).await?;
        Ok(workspace.and_then(|workspace| workspace.limits.retention))
    }

    /// There is no revision of what is published: how long it is kept is read before each call.
    async fn sweep_published(&self, id: WorkspaceId, pass: &mut Pass) -> Result<(), StoreError> {
        let mut sweep = Sweep::published(id);
        let before = pass.events;
        while let Some(retention) = self.kept_by(&id).await? {
            sweep.older_than = Some(retention.as_duration());
            match self.expire(&sweep, pass).await? {
                Expired::Swept { next: Some(next), .. } => sweep.from = Some(next),
                Expired::Swept { next: None, .. } | Expired::Fenced => break,
            }
        }
        pass.owners += u64::from(pass.events > before);
        Ok(())
    }

    async fn sweep_endpoint(
        &self,
        endpoint: &Endpoint,
        of_workspace: Option<Retention>,
        pass: &mut Pass,
    ) -> Result<(), StoreError> {
        let Endpoint { id, workspace, .. } = *endpoint;
        let before = pass.events;
        let mut kept = retention(of_workspace, endpoint);
        let mut fence = Fence { endpoint: id, checked_at: endpoint.revision };
        for _ in 0..ROUNDS_MAX {
            let Some(retention_now) = kept else { break };
            let older_than = Some(retention_now.as_duration());
            let sweep = Sweep { endpoint: Some(fence), older_than, ..Sweep::published(workspace) };
            if self.sweep_to_the_end(sweep, pass).await? == Ended::AtTheEnd {
                break;
            }
            let Some(now) = self.store.endpoint_by_id(&workspace, &id).await? else { break };
            fence.checked_at = now.revision;
            kept = retention(self.kept_by(&workspace).await?, &now);
        }
        pass.owners += u64::from(pass.events > before);
        Ok(())
    }

    async fn sweep_to_the_end(&self, sweep: Sweep, pass: &mut Pass) -> Result<Ended, StoreError> {
        let mut rest = sweep;
        loop {
            match self.expire(&rest, pass).await? {
                Expired::Swept { next: Some(next), .. } => rest = sweep.from(next),
                Expired::Swept { next: None, .. } => return Ok(Ended::AtTheEnd),
                Expired::Fenced => return Ok(Ended::ByAChange),
            }
        }
    }

    /// One call, and a pause where it has kept the store busy.
    async fn expire(&self, sweep: &Sweep, pass: &mut Pass) -> Result<Expired, StoreError> {
        let begun = Instant::now();
        let expired = self.store.expire(sweep).await?;
        if let Expired::Swept { events, next } = expired {
            pass.events += events;
            if next.is_some() {
                sleep((PAUSES * begun.elapsed()).min(PAUSE_MAX)).await;
            }
        }
        Ok(expired)
    }
}

/// How a sweep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    AtTheEnd,
    ByAChange,
}

fn retention(of_workspace: Option<Retention>, endpoint: &Endpoint) -> Option<Retention> {
    Retention::that_holds(of_workspace, endpoint.config.limits.retention)
}
