//! [`FeedStore`]: what is stored, told as it happens, from any place in its history on.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{PageSize, StoreError};
use crate::event::EventSummary;
use crate::id::{EndpointId, EventId, RunId, WorkspaceId};
use crate::run::RunState;

/// A store that tells what was committed since a place in its history.
///
/// Ids are no such place: those of several nodes, and transactions of a database, commit out of
/// order, so that who goes on after the last id that it saw misses what came late. A [`Position`]
/// is, and only the store that gave it knows how.
#[async_trait]
pub trait FeedStore: Debug + Send + Sync + 'static {
    /// What was committed in the workspace since that place.
    ///
    /// # To ensure correctness
    ///
    /// - Whatever was committed is told, and told once, to who goes on with
    ///   [`next`](Changes::next) each time: also what commits late, on whichever node, and however
    ///   the ids are sorted (`the_feed_skips_no_late_commit`). Who goes on with an earlier place is
    ///   told again what came after that one.
    /// - Of what concerns one endpoint, or what the app publishes in one workspace, that is told
    ///   first which had returned before the other was called; an event comes before its runs
    ///   (`the_feed_tells_every_commit_once_in_order`).
    /// - Runs that an event is stored with come with it, unsaid. What becomes of runs is told:
    ///   those that are added, claimed, ended, called off or tried again
    ///   (`the_feed_tells_what_becomes_of_runs`).
    /// - Nothing is told of another workspace (`the_feed_keeps_workspaces_apart`), nor of an
    ///   endpoint that is deleted (`the_feed_tells_nothing_of_deleted_endpoints`).
    /// - A position outlasts the process (`the_feed_goes_on_after_a_restart`). Where something from
    ///   after it is not kept any more, that is [said](Changes::has_gap).
    ///
    /// What a call holds and looks at is bounded: a page may be short, or empty, while there
    /// [is more](Changes::has_more).
    ///
    /// # Errors
    ///
    /// Any [`StoreError`]; [`Misuse`](super::StoreErrorKind::Misuse) where the position is none that
    /// this store has given (`the_feed_refuses_what_is_no_position`).
    async fn changes(&self, query: &FeedQuery) -> Result<Changes, StoreError>;

    /// The place behind all that is committed by now.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    async fn end(&self) -> Result<Position, StoreError>;

    /// Waits until there may be something after that place, in whichever workspace, but no longer
    /// than `at_most`. It may end early, and in a second at the latest after another node has stored
    /// something (`waiting_for_the_feed_ends_when_something_is_stored`).
    ///
    /// # Errors
    ///
    /// Those of [`changes`](Self::changes).
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped has done nothing.
    async fn changed(&self, after: &Position, at_most: Duration) -> Result<(), StoreError>;
}

/// A place in the history of a store, in the order of its commits. What its bytes mean is known to
/// the store alone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Position(Box<[u8]>);

impl Position {
    /// The position with these bytes: those of one that the store gave, or it will refuse it.
    #[must_use]
    pub fn from_bytes(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// Its bytes, to be kept.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Position({})", hex::encode(&self.0))
    }
}

/// Of which workspace changes are wanted, from where on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedQuery {
    /// The tenant.
    pub workspace: WorkspaceId,
    /// The place to go on from.
    pub after: Position,
    /// After how many changes it is enough. What one commit holds may be told whole, and so there
    /// may be more: by no more than a commit has.
    pub limit: PageSize,
}

impl FeedQuery {
    /// What was committed in a workspace since that place, about 50 changes at once.
    #[must_use]
    pub const fn after(workspace: WorkspaceId, after: Position) -> Self {
        Self { workspace, after, limit: PageSize::DEFAULT }
    }
}

/// A part of what was committed.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "every store builds it from its parts")]
pub struct Changes {
    /// What was committed, in the order of the commits. May be short, or empty, before the end.
    pub items: Vec<Change>,
    /// The place behind these.
    pub next: Position,
    /// Whether there may be more behind that place already. Where there is not, who goes on
    /// [waits](FeedStore::changed).
    pub has_more: bool,
    /// Whether there was more between the place that was asked for and these, perhaps of the
    /// workspace, that is not kept any more.
    pub has_gap: bool,
}

/// Something that was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// An event was stored.
    Accepted(EventSummary),
    /// A run is in another state, or begins another attempt.
    Run(RunChange),
}

/// What has become of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "every store builds it from its parts")]
pub struct RunChange {
    /// The run.
    pub run: RunId,
    /// The event that owes it.
    pub event: EventId,
    /// The endpoint that took the event; `None` when the app published it.
    pub endpoint: Option<EndpointId>,
    /// The state that the run came into.
    pub state: RunState,
    /// The number of its last attempt; 0 where none was made.
    pub attempt: u32,
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper forwards everything")]
#[async_trait]
impl<S: FeedStore + ?Sized> FeedStore for Arc<S> {
    async fn changes(&self, query: &FeedQuery) -> Result<Changes, StoreError> {
        (**self).changes(query).await
    }

    async fn end(&self) -> Result<Position, StoreError> {
        (**self).end().await
    }

    async fn changed(&self, after: &Position, at_most: Duration) -> Result<(), StoreError> {
        (**self).changed(after, at_most).await
    }
}
