//! [`Observer`]: who is told what a dispatcher does, for logs and figures.

use std::fmt::Debug;
use std::time::Duration;

use crate::id::{RunId, WorkspaceId};
use crate::run::{Lane, Outcome};
use crate::store::StoreError;

/// Is told what a dispatcher does. What it does not care for it leaves out.
///
/// It is called on the dispatcher's own tasks, so it must not block.
pub trait Observer: Debug + Send + Sync + 'static {
    /// So many runs were claimed by one call.
    fn claimed(&self, runs: usize) {
        let _ = runs;
    }

    /// An attempt has ended, with an outcome that is about to go on record.
    fn ended(&self, ended: &Ended<'_>) {
        let _ = ended;
    }

    /// The lease of a run was lost while an attempt was under way: the run was called off, was
    /// deleted, or another worker has it. The attempt was stopped.
    fn lost(&self, run: &RunId) {
        let _ = run;
    }

    /// An attempt has ended, and it could not be put on record what came of it: the run is carried
    /// out again when its lease is over.
    fn unrecorded(&self, run: &RunId) {
        let _ = run;
    }

    /// The store has failed. The dispatcher tries again, the less often the longer that lasts.
    fn store_failed(&self, error: &StoreError) {
        let _ = error;
    }
}

/// The end of an attempt.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Ended<'a> {
    /// The run.
    pub run: RunId,
    /// The tenant.
    pub workspace: WorkspaceId,
    /// The lane that it was carried out in: that of a [destination](Lane::Destination) for a
    /// delivery.
    pub lane: Lane,
    /// What goes on record.
    pub outcome: &'a Outcome,
    /// How long it took, from the claim on.
    pub after: Duration,
}

/// Tells nobody.
impl Observer for () {}
