//! Replay: an event runs again what it is wired to.

use crate::clock::{Clock, SystemClock};
use crate::id::{EventId, RunId, WorkspaceId};
use crate::store::{DefinitionStore, EndpointStore, RunQueue, StoreError};
use crate::subscription::{self, Wiring};

/// What came of a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
#[expect(clippy::exhaustive_enums, reason = "callers act on each of these")]
pub enum Replayed {
    /// These runs were added to the event.
    Runs(Vec<RunId>),
    /// Nothing is wired to the event.
    Unwired,
    /// The workspace has no such event.
    Missing,
}

/// Has a stored event run what is wired to it now, as runs of their own beside those that it has:
/// the trigger of its endpoint, and what the subscriptions of its workspace say. The event is not
/// copied.
///
/// # Errors
///
/// Any [`StoreError`].
///
/// # Cancel safety
///
/// A call that is dropped may add the runs or not.
pub async fn replay(
    store: &(impl DefinitionStore + EndpointStore + RunQueue + ?Sized),
    workspace: &WorkspaceId,
    event: &EventId,
) -> Result<Replayed, StoreError> {
    let Some(found) = store.event(workspace, event).await? else {
        return Ok(Replayed::Missing);
    };
    let subscriptions = subscription::all(store, workspace).await?;
    let wiring = match &found.endpoint {
        None => Wiring::of_published(subscriptions),
        Some(id) => match store.endpoint_by_id(workspace, id).await? {
            Some(endpoint) => Wiring::of(&endpoint, subscriptions),
            None => return Ok(Replayed::Missing),
        },
    };
    let runs = wiring.owes(found.event_type.as_ref(), SystemClock.now());
    if runs.is_empty() {
        return Ok(Replayed::Unwired);
    }
    let ids = runs.iter().map(|run| run.id).collect();
    match store.enqueue(workspace, event, runs).await? {
        true => Ok(Replayed::Runs(ids)),
        false => Ok(Replayed::Missing),
    }
}
