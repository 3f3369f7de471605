//! A destination as it is now, ready to be sent to.

use ploy_webhooks::store::{DefinitionKind, DefinitionStore};
use ploy_webhooks::trigger::RunError;
use ploy_webhooks::{DestinationId, WorkspaceId};

use super::failed;
use crate::client::FailureClass;
use crate::courier::{Courier, Prepared, Record};
use crate::destination::{Destination, DestinationState, Status};

/// A destination as it was a moment ago, and how deliveries to it were going.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) prepared: Prepared,
    pub(super) state: DestinationState,
}

impl Current {
    /// The destination of that id; `None` where the workspace has none.
    pub(super) async fn look_up(
        store: &impl DefinitionStore,
        courier: &Courier,
        workspace: &WorkspaceId,
        id: DestinationId,
    ) -> Result<Option<Self>, RunError> {
        let kind = DefinitionKind::Destination;
        let found = store.definition(workspace, kind, &id.to_string()).await.map_err(failed)?;
        let Some(definition) = found else { return Ok(None) };
        let destination: Destination = serde_json::from_str(&definition.text)
            .map_err(|_| unusable(id, "cannot be read: set it anew"))?;
        let prepared = courier
            .prepare(id, destination)
            .map_err(|_| unusable(id, "has secrets that do not open: set them anew"))?;
        let (state, _) = DestinationState::of(store, workspace, id).await.map_err(failed)?;
        Ok(Some(Self { prepared, state }))
    }

    pub(super) const fn destination(&self) -> &Destination {
        &self.prepared.destination
    }

    /// Whether somebody has set it otherwise since, so that nothing is known of how it takes what is
    /// sent.
    pub(super) fn was_mended_since(&self, before: &Self) -> bool {
        let is_elsewhere = self.destination().url.as_str() != before.destination().url.as_str();
        let is_enabled = before.why_nothing_is_sent().is_some();
        is_elsewhere || (is_enabled && self.why_nothing_is_sent().is_none())
    }

    /// Why what is owed to it has to wait, if it has.
    pub(super) fn why_nothing_is_sent(&self) -> Option<String> {
        if let Some(disabled) = &self.state.disabled {
            return Some(format!("the destination is disabled: {}", disabled.reason));
        }
        match self.destination().status {
            Status::Paused => Some("the destination is paused".to_owned()),
            Status::Unverified => Some("the destination is not confirmed yet".to_owned()),
            Status::Active | Status::Draft => None,
        }
    }
}

fn unusable(id: DestinationId, why: &str) -> RunError {
    let reason = format!("the destination {id} {why}, then retry the run");
    RunError::permanent(Record::refused(FailureClass::Destination, reason).to_text())
}
