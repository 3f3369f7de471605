//! [`Observer`]: who is told what a dispatcher does, for logs and figures.

use std::fmt::Debug;
use std::time::Duration;

use crate::id::RunId;
use crate::run::Outcome;
use crate::store::StoreError;

/// Is told what a dispatcher does. What it does not care for it leaves out.
///
/// It is called on the dispatcher's own tasks, so it must not block.
pub trait Observer: Debug + Send + Sync + 'static {
    /// So many runs were claimed by one call.
    fn claimed(&self, runs: usize) {
        let _ = runs;
    }

    /// An attempt has ended after so long, with this, which is about to go on record.
    fn ended(&self, run: &RunId, outcome: &Outcome, after: Duration) {
        let _ = (run, outcome, after);
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

/// Tells nobody.
impl Observer for () {}
