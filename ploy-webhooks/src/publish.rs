//! Events that the app emits itself.

use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::clock::{Clock, SystemClock};
use crate::event::{Dedup, DedupKey, EventType, NewEvent};
use crate::id::{EventId, RunId, WorkspaceId};
use crate::store::{Appended, DefinitionStore, EventStore, StoreError, StoreErrorKind};
use crate::subscription::{self, Wiring};

/// An event that the app emits: what the subscriptions of the workspace say comes of it, as of one
/// that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Publication {
    /// The tenant.
    pub workspace: WorkspaceId,
    /// Its type.
    pub event_type: EventType,
    /// What happened, kept byte for byte. Whatever is to be made of it by a template or a condition
    /// has to be a JSON object.
    pub payload: Bytes,
    /// The same for each repeat of one event, and for nothing else in the workspace: within a day
    /// the event is stored once.
    pub idempotency_key: Option<String>,
}

impl Publication {
    /// For how long an idempotency key is known.
    pub const KEY_WINDOW: Duration = Duration::from_secs(86_400);

    /// One without an idempotency key.
    #[must_use]
    pub const fn new(workspace: WorkspaceId, event_type: EventType, payload: Bytes) -> Self {
        Self { workspace, event_type, payload, idempotency_key: None }
    }

    /// By what its repeats are known.
    fn dedup(&self) -> Option<Dedup> {
        let key = self.idempotency_key.as_ref()?;
        let mut hash = Sha256::new();
        hash.update(b"published");
        hash.update(self.workspace.as_bytes());
        hash.update(key);
        let key = DedupKey::from_bytes(hash.finalize().into());
        Some(Dedup { key, window: Self::KEY_WINDOW })
    }
}

/// What came of a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
#[expect(clippy::exhaustive_enums, reason = "callers act on each of these")]
pub enum Published {
    /// The event is durable, and so is what it owes.
    Stored {
        /// The event.
        event: EventId,
        /// What it owes.
        runs: Vec<RunId>,
    },
    /// It repeats this one, by its idempotency key: nothing new is stored, and nothing runs.
    Duplicate(EventId),
}

/// Stores an event of the app's own, with all that the subscriptions of its workspace have it run,
/// in one step.
///
/// Which subscriptions these are is looked up each time, so that a change which has returned is
/// followed. For an event that is to be stored together with the app's own data, see the outbox of
/// `ploy-webhooks-postgres`.
///
/// # Errors
///
/// Any [`StoreError`]; with [`Unavailable`](StoreErrorKind::Unavailable) it may be tried again, and
/// with an idempotency key after [`Indeterminate`](StoreErrorKind::Indeterminate) too.
///
/// # Cancel safety
///
/// A call that is dropped may store the event or not.
pub async fn publish(
    store: &(impl EventStore + DefinitionStore + ?Sized),
    publication: Publication,
) -> Result<Published, StoreError> {
    let now = SystemClock.now();
    let subscriptions = subscription::all(store, &publication.workspace).await?;
    let owes = Wiring::of_published(subscriptions).owes(Some(&publication.event_type), now);
    let (event, runs) = (EventId::mint(now), owes.iter().map(|run| run.id).collect());
    let dedup = publication.dedup();
    let Publication { workspace, event_type, payload, .. } = publication;
    let appended = store.append(NewEvent {
        event_type: Some(event_type),
        dedup,
        owes,
        ..NewEvent::published(event, workspace, payload)
    });
    match appended.await? {
        Appended::Stored => Ok(Published::Stored { event, runs }),
        Appended::Duplicate(first) => Ok(Published::Duplicate(first)),
        Appended::Fenced(_) | Appended::OverQuota { .. } => Err(StoreError::new(
            StoreErrorKind::Misuse,
            "the store refuses an event of the app's own by the state of an endpoint",
        )),
    }
}
