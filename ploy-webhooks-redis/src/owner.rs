//! Whose events and runs lie side by side: what a bucket follows from, and what keys are named by.

use std::fmt::{self, Display};

use ploy_webhooks::{EndpointId, Lane, NewEvent, WorkspaceId};

/// Whose an event is, and with it all that it owes, whatever lanes its runs stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// The endpoint that took it.
    Endpoint(EndpointId),
    /// The workspace in which the app published it.
    Workspace(WorkspaceId),
}

impl Owner {
    pub(crate) fn of(event: &NewEvent) -> Self {
        match event.fence {
            Some(fence) => Self::Endpoint(fence.endpoint),
            None => Self::Workspace(event.workspace),
        }
    }

    /// The owner of all that stands in that lane; `None` for one in which several have runs.
    pub(crate) const fn of_lane(lane: Lane) -> Option<Self> {
        match lane {
            Lane::Endpoint(id) => Some(Self::Endpoint(id)),
            Lane::Workspace(id) => Some(Self::Workspace(id)),
            Lane::Destination(_) => None,
        }
    }

    /// The owner that is called so.
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        let name = std::str::from_utf8(name).ok()?;
        let endpoint = name.parse().map(Self::Endpoint).ok();
        endpoint.or_else(|| name.parse().map(Self::Workspace).ok())
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 16] {
        match self {
            Self::Endpoint(id) => id.as_bytes(),
            Self::Workspace(id) => id.as_bytes(),
        }
    }

    pub(crate) const fn endpoint(self) -> Option<EndpointId> {
        match self {
            Self::Endpoint(id) => Some(id),
            Self::Workspace(_) => None,
        }
    }
}

/// What the owner is called in the names of keys. That is the name of its lane, too.
impl Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(id) => id.fmt(f),
            Self::Workspace(id) => id.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_keep_their_names() {
        let endpoint = Owner::Endpoint(EndpointId::from_bytes([7; 16]));
        for owner in [endpoint, Owner::Workspace(WorkspaceId::DEFAULT)] {
            assert_eq!(Owner::named(owner.to_string().as_bytes()), Some(owner));
        }
        assert_eq!(Owner::named(b"run_00000000000000000000000000"), None);
        assert_eq!(Owner::named(b"dst_00000000000000000000000000"), None);
    }
}
