//! [`ActivityStore`]: what is known of an endpoint beside its state: what it was sent, and by whom.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::id::{CredentialId, EndpointId, WorkspaceId};
use crate::limits::{Quota, QuotaCount};

/// Where nodes hand over what they have observed of the senders of an endpoint.
///
/// Nodes count in memory and hand over a few times a minute, so that no request costs a write. A
/// node that is killed takes along what it had not handed over.
#[async_trait]
pub trait ActivityStore: Debug + Send + Sync + 'static {
    /// Adds these up with what was observed before (`observations_add_up`). Those of endpoints
    /// that are not there are dropped, and so are those of one name more than
    /// [`OBSERVED_MAX`].
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have counted all, some or none.
    async fn observe(&self, observations: Vec<Observation>) -> Result<(), StoreError>;

    /// What is known of the endpoint; `None` where the workspace has none.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    async fn activity(
        &self,
        workspace: &WorkspaceId,
        endpoint: &EndpointId,
    ) -> Result<Option<Activity>, StoreError>;
}

/// How many names of what is observed a store keeps for an endpoint: that of each credential that it
/// ever had is one.
pub const OBSERVED_MAX: usize = 1_024;

/// What a node has observed of one endpoint since it last said so.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "nodes and stores build it from its parts")]
pub struct Observation {
    /// The tenant.
    pub workspace: WorkspaceId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// What was observed.
    pub what: Observed,
    /// How often.
    pub count: u64,
    /// When it was last.
    pub last_at: Timestamp,
}

/// Observations, added up: each name of each endpoint once. Past
/// [`NAMES_MAX`](Self::NAMES_MAX) those of further names are let go of.
#[derive(Clone, Debug, Default)]
pub struct Observations(HashMap<(EndpointId, Observed), Observation>);

impl Observations {
    /// How many names there may be.
    pub const NAMES_MAX: usize = 1 << 16;

    /// Adds one up with those before.
    pub fn add(&mut self, observation: Observation) {
        let name = (observation.endpoint, observation.what.clone());
        if let Some(sum) = self.0.get_mut(&name) {
            sum.count += observation.count;
            sum.last_at = sum.last_at.max(observation.last_at);
        } else if self.0.len() < Self::NAMES_MAX {
            self.0.insert(name, observation);
        }
    }

    /// Some of them, which stay.
    #[must_use]
    pub fn some(&self, at_most: usize) -> Vec<Observation> {
        self.0.values().take(at_most).cloned().collect()
    }

    /// All of them, in no particular order.
    #[must_use]
    pub fn into_vec(self) -> Vec<Observation> {
        self.0.into_values().collect()
    }

    /// Lets go of these names.
    pub fn forget(&mut self, observations: &[Observation]) {
        for observation in observations {
            self.0.remove(&(observation.endpoint, observation.what.clone()));
        }
    }
}

/// What is observed of senders. Its text is what a store keeps: the id of the credential, or the
/// code of the refusal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Observed {
    /// A sender has proved itself with this credential.
    Credential(CredentialId),
    /// A request was refused, with this code.
    Refusal(Cow<'static, str>),
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(id) => fmt::Display::fmt(id, f),
            Self::Refusal(code) => f.write_str(code),
        }
    }
}

/// Every text is one: what is no credential's id is a code.
impl FromStr for Observed {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.parse() {
            Ok(id) => Self::Credential(id),
            Err(_) => Self::Refusal(text.to_owned().into()),
        })
    }
}

/// What is known of an endpoint beside its state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "every store builds it from its parts")]
pub struct Activity {
    /// What is used of its quota; `None` where it has stored nothing under one.
    pub quota: Option<QuotaUse>,
    /// What was observed of its senders, in the order of the texts.
    pub observed: Vec<Tally>,
}

/// What is used of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "every store builds it from its parts")]
pub struct QuotaUse {
    /// The period of the quota that it was counted for.
    pub period_seconds: Option<NonZeroU32>,
    /// How many events were stored in the period that is now.
    pub used: u64,
    /// When the next period begins; `None` where there is none.
    pub resets_in: Option<Duration>,
}

impl QuotaUse {
    /// What this count says now.
    #[must_use]
    pub fn of(count: QuotaCount, now: Timestamp) -> Self {
        // How many events it allows is no matter here.
        let quota = Quota { events: NonZeroU64::MIN, period_seconds: count.period_seconds };
        Self {
            period_seconds: count.period_seconds,
            used: count.used(quota, now),
            resets_in: quota.resets_in(now),
        }
    }
}

/// How often something was observed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "every store builds it from its parts")]
pub struct Tally {
    /// What.
    pub what: Observed,
    /// How often, in all.
    pub count: u64,
    /// When it was last.
    pub last_at: Timestamp,
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper forwards everything")]
#[async_trait]
impl<S: ActivityStore + ?Sized> ActivityStore for Arc<S> {
    async fn observe(&self, observations: Vec<Observation>) -> Result<(), StoreError> {
        (**self).observe(observations).await
    }

    async fn activity(
        &self,
        workspace: &WorkspaceId,
        endpoint: &EndpointId,
    ) -> Result<Option<Activity>, StoreError> {
        (**self).activity(workspace, endpoint).await
    }
}
