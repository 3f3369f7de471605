//! Whether a caller is still let in while an answer goes on for long.

use std::time::Duration;

use ploy_webhooks::WorkspaceId;
use tokio::time::Instant;

use super::Api;
use super::auth::Shown;
use super::caller::TenantApi;
use super::problem::Problem;

/// A caller who was let in.
#[derive(Debug)]
pub(super) struct Admission {
    api: Api,
    shown: Shown,
    workspace: WorkspaceId,
    asked_at: Instant,
}

impl Admission {
    /// Now, for what that call is of.
    pub(super) fn of(api: &TenantApi, shown: Shown) -> Self {
        let workspace = *api.workspace();
        Self { api: api.api().clone(), shown, workspace, asked_at: Instant::now() }
    }

    /// Whether the token still opens the workspace, as far as was asked not longer ago than that.
    pub(super) async fn holds(&mut self, asked_within: Duration) -> bool {
        if self.asked_at.elapsed() < asked_within {
            return true;
        }
        match self.shown.identify(&self.api).await {
            Ok(caller) if caller.workspace == self.workspace => {
                self.asked_at = Instant::now();
                true
            }
            // Nobody knows; it is asked again.
            Err(Problem::Unavailable(_)) => true,
            Ok(_) | Err(_) => false,
        }
    }
}
