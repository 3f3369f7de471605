//! [`TriggerRunner`]: what carries a run out.

use std::borrow::Cow;
use std::fmt::Debug;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;

use super::gates::Gates;
use crate::endpoint::Endpoint;
use crate::event::Event;
use crate::fields::Fields;
use crate::id::RunId;
use crate::ploybook::{Ploybook, RetryPolicy};
use crate::run::{Lane, LeasedRun};
use crate::task::Trigger;

/// Carries runs out.
#[async_trait]
pub trait TriggerRunner: Debug + Send + Sync + 'static {
    /// Carries out one attempt of a run.
    ///
    /// The same run may be carried out again, also after an attempt that did all its work: its
    /// worker may have been lost before that was on record. What must happen once is made
    /// idempotent with [`Job::run`], which all attempts share. No two attempts are under way at
    /// the same time, as long as this returns in time or ends when it is dropped.
    ///
    /// # Errors
    ///
    /// A [`RunError`] that says whether another attempt may help.
    ///
    /// # Panics
    ///
    /// One that panics has failed, and is tried again; nothing else comes to harm.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped when its time is over, when the run is cancelled and when its lease
    /// is lost. It must not block its thread: what does belongs behind
    /// [`blocking_fn`](super::blocking_fn).
    async fn run(&self, job: Job) -> Result<Output, RunError>;

    /// On what terms a run is carried out: asked before each attempt. As it stands, on those of
    /// the dispatcher.
    ///
    /// # Errors
    ///
    /// When they cannot be told: then the attempt has failed, with this.
    async fn terms(&self, run: &LeasedRun, usual: Terms) -> Result<Terms, RunError> {
        let _ = run;
        Ok(usual)
    }

    /// What holds lanes back: asked once, when a dispatcher starts. As it stands, nothing does.
    fn gates(&self) -> Option<Gates> {
        None
    }

    /// Sets the gate of that lane anew, whose time is over. Until this returns it holds as it was; one
    /// that is not set by then is forgotten.
    async fn look_again(&self, lane: &Lane) {
        let _ = lane;
    }
}

/// One attempt of a run, for whoever carries it out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Job {
    /// The run: the same for all its attempts.
    pub run: RunId,
    /// Which attempt of it, beginning with 1.
    pub attempt: NonZeroU32,
    /// What is to be run.
    pub trigger: Trigger,
    /// The event that owes it.
    pub event: Event,
    /// How long the attempt may take, from its beginning.
    pub time_limit: Duration,
    /// The definition that the trigger names, where there are definitions.
    pub ploybook: Option<Arc<Ploybook>>,
    /// The endpoint that took the event, where it is known.
    pub endpoint: Option<Arc<Endpoint>>,
    /// The fields that the endpoint names in the payload.
    pub fields: Arc<Fields>,
}

impl Job {
    /// An attempt of which no more is known than its event.
    #[must_use]
    pub fn new(leased: LeasedRun, time_limit: Duration) -> Self {
        let LeasedRun { lease, trigger, event, .. } = leased;
        Self {
            run: lease.run,
            attempt: lease.attempt,
            trigger,
            event,
            time_limit,
            ploybook: None,
            endpoint: None,
            fields: Arc::default(),
        }
    }
}

/// On what terms a run is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "runners build it from its parts")]
pub struct Terms {
    /// How long one attempt may take.
    pub time_limit: Duration,
    /// How often it is tried.
    pub retry: RetryPolicy,
    /// How many attempts before this one do not count: they were [held back](RunError::held).
    pub uncounted: u32,
}

/// What a run says when it is done. Kept on record up to a bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output(Bytes);

impl Output {
    /// The bytes of it.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl<B: Into<Bytes>> From<B> for Output {
    fn from(bytes: B) -> Self {
        Self(bytes.into())
    }
}

/// Why an attempt failed.
///
/// The message goes on record, for people: it must hold no secret.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct RunError {
    message: Cow<'static, str>,
    remedy: Remedy,
}

/// What may help after an attempt has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a dispatcher acts on each of these")]
pub enum Remedy {
    /// Another attempt, when the policy says so.
    Again,
    /// Another attempt, but not before this time: whoever was asked has said so (`Retry-After`,
    /// RFC 9110 §10.2.3).
    AgainAfter(Duration),
    /// Another attempt after this time, whatever the policy says: nothing was tried.
    Later(Duration),
    /// Nothing: another attempt would fail as well.
    None,
}

impl RunError {
    /// A failure after which another attempt may help.
    #[must_use]
    pub fn retry(message: impl Into<Cow<'static, str>>) -> Self {
        Self { message: message.into(), remedy: Remedy::Again }
    }

    /// A failure after which another attempt may help, but not before that time.
    #[must_use]
    pub fn retry_after(message: impl Into<Cow<'static, str>>, gap: Duration) -> Self {
        Self { message: message.into(), remedy: Remedy::AgainAfter(gap) }
    }

    /// No failure, but nothing was tried either: it could not be now, and is to be after that time.
    /// Such an attempt is never the last one. That it does not count is for the runner to say, with
    /// [`Terms::uncounted`].
    #[must_use]
    pub fn held(message: impl Into<Cow<'static, str>>, gap: Duration) -> Self {
        Self { message: message.into(), remedy: Remedy::Later(gap) }
    }

    /// A failure after which no attempt would help.
    #[must_use]
    pub fn permanent(message: impl Into<Cow<'static, str>>) -> Self {
        Self { message: message.into(), remedy: Remedy::None }
    }

    /// What may help.
    #[must_use]
    pub const fn remedy(&self) -> Remedy {
        self.remedy
    }

    /// What went wrong.
    #[must_use]
    pub fn into_message(self) -> String {
        self.message.into_owned()
    }
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper forwards everything")]
#[async_trait]
impl<T: TriggerRunner + ?Sized> TriggerRunner for Arc<T> {
    async fn run(&self, job: Job) -> Result<Output, RunError> {
        (**self).run(job).await
    }

    async fn terms(&self, run: &LeasedRun, usual: Terms) -> Result<Terms, RunError> {
        (**self).terms(run, usual).await
    }

    fn gates(&self) -> Option<Gates> {
        (**self).gates()
    }

    async fn look_again(&self, lane: &Lane) {
        (**self).look_again(lane).await;
    }
}
