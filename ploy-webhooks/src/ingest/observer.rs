//! [`Observer`]: who is told what became of requests, for figures.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use super::response::Received;
use super::{Refusal, pipeline::Trail};
use crate::clock::Stopwatch;
use crate::id::WorkspaceId;

/// Is told what became of each request, for figures.
///
/// It is called where the request is answered, before the answer leaves, so it must not block:
/// what it takes, every sender waits for. A request whose sender has gone away is not answered,
/// and nothing is told of it.
pub trait Observer: Debug + Send + Sync + 'static {
    /// A request is about to be answered.
    fn answered(&self, answered: &Answered<'_>);
}

/// A request, and what became of it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Answered<'a> {
    /// What it is answered.
    pub outcome: Result<&'a Received, &'a Refusal>,
    /// The tenant, where the request got as far as an endpoint.
    pub workspace: Option<WorkspaceId>,
    /// How long its body is, in bytes, where it was read.
    pub body_bytes: Option<usize>,
    /// How often the endpoint was looked up in the store: 0 where what the cache had was enough.
    pub look_ups: u32,
    /// How long it took.
    pub took: Took,
}

/// How long the stages of a request have taken; `None` is a stage that it did not come to.
///
/// One that was refused in a stage has taken that long until then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Took {
    /// The checks before the body is read: the endpoint, its sender as far as headers show who
    /// that is, the rate.
    pub admit: Option<Duration>,
    /// Until the body was there: the sender's time, mostly.
    pub read: Option<Duration>,
    /// The checks of the body: what was signed, the form.
    pub check: Option<Duration>,
    /// Until the store had it.
    pub append: Option<Duration>,
}

impl Took {
    /// All stages together.
    #[must_use]
    pub fn in_all(&self) -> Duration {
        let Self { admit, read, check, append } = *self;
        [admit, read, check, append].into_iter().flatten().sum()
    }
}

/// A stage of a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    Admit,
    Read,
    Check,
    Append,
}

/// Measures the stages of a request, where somebody wants to know.
#[derive(Debug, Default)]
pub(super) struct Stages {
    /// The stage under way.
    now: Option<(Stage, Stopwatch)>,
    took: Took,
}

impl Stages {
    fn begin() -> Self {
        Self { now: Some((Stage::Admit, Stopwatch::start())), took: Took::default() }
    }

    /// The stage before is over. Nothing is measured that was not begun.
    pub(super) fn enter(&mut self, stage: Stage) {
        if let Some((before, mut watch)) = self.now.take() {
            self.add(before, watch.lap());
            self.now = Some((stage, watch));
        }
    }

    fn end(mut self) -> Took {
        if let Some((last, mut watch)) = self.now.take() {
            self.add(last, watch.lap());
        }
        self.took
    }

    fn add(&mut self, stage: Stage, lap: Duration) {
        let took = match stage {
            Stage::Admit => &mut self.took.admit,
            Stage::Read => &mut self.took.read,
            Stage::Check => &mut self.took.check,
            Stage::Append => &mut self.took.append,
        };
        *took = Some(took.unwrap_or_default() + lap);
    }
}

/// Who watches an intake, if anybody does.
#[derive(Clone, Debug, Default)]
pub(super) struct Watcher(pub(super) Option<Arc<dyn Observer>>);

impl Watcher {
    /// The stages of a request that begins, measured where somebody looks at them.
    pub(super) fn stages(&self) -> Stages {
        self.0.is_some().then(Stages::begin).unwrap_or_default()
    }

    /// Tells of a request that went through the pipeline.
    pub(super) fn tell(&self, outcome: &Result<Received, Refusal>, trail: &mut Trail) {
        if let Some(observer) = &self.0 {
            observer.answered(&Answered {
                outcome: outcome.as_ref(),
                workspace: trail.endpoint.as_ref().map(|endpoint| endpoint.workspace),
                body_bytes: trail.body_bytes,
                look_ups: trail.look_ups,
                took: std::mem::take(&mut trail.stages).end(),
            });
        }
    }

    /// Tells of a request that was refused for its head.
    pub(super) fn tell_refused(&self, refusal: &Refusal) {
        if let Some(observer) = &self.0 {
            observer.answered(&Answered {
                outcome: Err(refusal),
                workspace: None,
                body_bytes: None,
                look_ups: 0,
                took: Took::default(),
            });
        }
    }
}
