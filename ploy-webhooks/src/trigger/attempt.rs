//! One attempt of a run: carried out, held on to, put on record.
//!
//! The runner's code runs on a task of its own. Whatever it does there, panic, hang or not stop
//! when it is told to, the task of the attempt goes on, and says on record what came of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinSet, yield_now};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::observer::{Ended, Observer};
use super::runner::{Job, Output, Remedy, RunError, Terms, TriggerRunner};
use super::settings::DispatcherSettings;
use crate::id::WorkspaceId;
use crate::run::{Lane, Lease, LeasedRun, Outcome};
use crate::store::{RunQueue, StoreErrorKind, Tenure};

/// How long a runner that is told to stop may take, before it is left to itself.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// What is on record of an attempt whose dispatcher was stopped.
pub const INTERRUPTED: &str = "stopped: the worker was shut down";
/// How long it is tried to put on record what a dispatcher has interrupted.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// No gap before another attempt is longer, whatever a runner asks for.
const GAP_MAX: Duration = Duration::from_secs(7 * 86_400);
/// As good as no limit: an instant that is farther away may not exist.
const TIME_LIMIT_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);
/// The gap between two calls of a store that fails.
const STORE_GAP: Duration = Duration::from_millis(250);

/// What every attempt of a dispatcher goes by.
#[derive(Debug)]
pub(super) struct Shared<Q, T> {
    pub(super) queue: Q,
    pub(super) runner: T,
    pub(super) observer: Box<dyn Observer>,
    pub(super) settings: DispatcherSettings,
    /// Turns to `true` when attempts under way are to be interrupted.
    pub(super) interrupted: watch::Receiver<bool>,
}

/// One attempt under way.
pub(super) struct Attempt<Q, T> {
    shared: Arc<Shared<Q, T>>,
    lease: Lease,
    workspace: WorkspaceId,
    lane: Lane,
    begun_at: Instant,
    /// Until when nobody else has the run, with time to spare for a runner that is slow to stop.
    held_until: Instant,
    terms: Terms,
}

/// What became of the runner's code.
enum End {
    Ended(Result<Result<Output, RunError>, JoinError>),
    TimedOut,
    /// The dispatcher stops.
    Interrupted,
    /// The lease is lost: nothing may be put on record.
    Lost,
}

impl<Q: RunQueue, T: TriggerRunner> Attempt<Q, T> {
    /// An attempt under a lease that was asked for at that moment.
    pub(super) fn new(shared: Arc<Shared<Q, T>>, leased: &LeasedRun, asked_at: Instant) -> Self {
        let (lease, workspace, lane) = (leased.lease, leased.event.workspace, leased.lane());
        let DispatcherSettings { lease: time, ref terms, .. } = shared.settings;
        let (terms, held_until) = (terms.clone(), asked_at + held_for(time));
        Self { shared, lease, workspace, lane, begun_at: asked_at, held_until, terms }
    }

    /// Carries it out, to its end on record.
    pub(super) async fn carry_out(mut self, leased: LeasedRun) {
        let (tell, told) = oneshot::channel();
        let shared = self.shared.clone();
        let work = async move {
            let terms = shared.runner.terms(&leased, shared.settings.terms.clone()).await?;
            // The attempt may have ended meanwhile.
            let _ = tell.send(terms.clone());
            // The attempt waits to run on this very thread, where no other thread takes it from:
            // a runner that blocks the thread would keep it from ever looking at the time.
            yield_now().await;
            if leased.is_after_loss {
                give_up_after_last(&leased.lease, &terms)?;
            }
            shared.runner.run(Job::new(leased, terms.time_limit)).await
        };
        let end = self.guard(work, told).await;
        let Some(outcome) = self.outcome(end) else {
            return self.shared.observer.lost(&self.lease.run);
        };
        self.shared.observer.ended(&Ended {
            run: self.lease.run,
            workspace: self.workspace,
            lane: self.lane,
            outcome: &outcome,
            after: self.begun_at.elapsed(),
        });
        self.record(outcome).await;
    }

    /// Has the runner's code run on a task of its own, until it ends or has to be stopped.
    async fn guard(
        &mut self,
        work: impl Future<Output = Result<Output, RunError>> + Send + 'static,
        mut told: oneshot::Receiver<Terms>,
    ) -> End {
        let mut task = JoinSet::new();
        task.spawn(work);
        let mut interrupted = self.shared.interrupted.clone();
        let mut stop_at = self.stop_at();
        let mut is_told = false;
        let end = loop {
            tokio::select! {
                Some(ended) = task.join_next() => {
                    // It may have said its terms and ended at once.
                    self.take_terms(told.try_recv().ok());
                    return End::Ended(ended);
                }
                terms = &mut told, if !is_told => {
                    is_told = true;
                    self.take_terms(terms.ok());
                    stop_at = self.stop_at();
                }
                () = sleep_until(stop_at) => break End::TimedOut,
                () = self.hold() => break End::Lost,
                // An error is no signal: the dispatcher is dropped, and this goes with it.
                Ok(_) = interrupted.wait_for(|is_over| *is_over) => break End::Interrupted,
            }
        };
        task.abort_all();
        let last_word = timeout(STOP_GRACE, task.join_next()).await;
        // One that does not stop holds up nothing: it is left to itself.
        task.detach_all();
        match (end, last_word) {
            // It was done at the last moment.
            (End::TimedOut | End::Interrupted, Ok(Some(Ok(result)))) => End::Ended(Ok(result)),
            (end, _) => end,
        }
    }

    fn take_terms(&mut self, told: Option<Terms>) {
        if let Some(terms) = told {
            self.terms = terms;
        }
    }

    /// When an attempt that begins now has to end.
    fn stop_at(&self) -> Instant {
        Instant::now() + self.terms.time_limit.min(TIME_LIMIT_MAX)
    }

    /// Extends the lease, again and again. Returns when it is lost.
    async fn hold(&mut self) {
        let Shared { queue, observer, settings, .. } = &*self.shared;
        let held_for = held_for(settings.lease);
        loop {
            // Two thirds are left for calls that fail.
            sleep_until(self.held_until - held_for * 2 / 3).await;
            let asked_at = Instant::now();
            let extended = queue.extend(&self.lease, settings.lease);
            match timeout_at(self.held_until, extended).await {
                Ok(Ok(Tenure::Held)) => self.held_until = asked_at + held_for,
                Ok(Ok(Tenure::Lost)) | Err(_) => return,
                Ok(Err(error)) => {
                    observer.store_failed(&error);
                    let now = Instant::now();
                    if now >= self.held_until {
                        return;
                    }
                    sleep_until((now + STORE_GAP).min(self.held_until)).await;
                }
            }
        }
    }

    /// What goes on record; `None` where nothing may.
    fn outcome(&self, end: End) -> Option<Outcome> {
        let result = match end {
            End::Ended(Ok(result)) => result,
            End::Ended(Err(panicked)) => Err(RunError::retry(last_words(panicked))),
            End::TimedOut => Err(RunError::retry(format!(
                "stopped: the attempt took longer than its time limit of {:?}",
                self.terms.time_limit
            ))),
            End::Interrupted => {
                let error = INTERRUPTED.to_owned();
                return Some(Outcome::Retry { error, after: Duration::ZERO });
            }
            End::Lost => return None,
        };
        let settings = &self.shared.settings;
        let error = match result {
            Ok(output) => {
                let output = cut(output.into_bytes(), settings.output_bytes_max);
                return Some(Outcome::Succeed { output });
            }
            Err(error) => error,
        };
        let Terms { retry, .. } = &self.terms;
        let counted = counted(&self.lease, &self.terms);
        let is_last = counted >= retry.attempts_max.get().into();
        let gap = || retry.gap_after(counted, fastrand::f64());
        let after = match error.remedy() {
            Remedy::Again if !is_last => Some(gap()),
            Remedy::AgainAfter(wanted) if !is_last => Some(wanted.max(gap())),
            Remedy::Later(wanted) => Some(wanted),
            Remedy::Again | Remedy::AgainAfter(_) | Remedy::None => None,
        };
        let error = cut_text(error.into_message(), settings.error_bytes_max);
        Some(match after {
            Some(after) => Outcome::Retry { error, after: after.min(GAP_MAX) },
            None => Outcome::Fail { error },
        })
    }

    /// Puts it on record. A store that fails is asked again, for as long as nobody else has the
    /// run, or for a short while where the dispatcher stops; after that the run is another
    /// attempt's.
    async fn record(&self, outcome: Outcome) {
        let Shared { queue, observer, settings, .. } = &*self.shared;
        let mut give_up_at = self.held_until + settings.lease;
        if *self.shared.interrupted.borrow() {
            give_up_at = give_up_at.min(Instant::now() + LAST_WORDS);
        }
        loop {
            let error = match queue.finish(&self.lease, outcome.clone()).await {
                Ok(Tenure::Held) => return,
                Ok(Tenure::Lost) => return observer.lost(&self.lease.run),
                Err(error) => error,
            };
            observer.store_failed(&error);
            let is_hopeless =
                matches!(error.kind(), StoreErrorKind::Misuse | StoreErrorKind::Corrupt);
            if is_hopeless || Instant::now() >= give_up_at {
                return observer.unrecorded(&self.lease.run);
            }
            sleep(STORE_GAP).await;
        }
    }
}

/// For how long a lease is relied on: what is left is for a runner that is slow to stop.
fn held_for(lease: Duration) -> Duration {
    lease - STOP_GRACE.min(lease / 4)
}

/// The number of an attempt among those that count.
fn counted(lease: &Lease, terms: &Terms) -> u32 {
    lease.attempt.get().saturating_sub(terms.uncounted).max(1)
}

/// A run whose last attempts have ended without a word is given up when there would be no
/// attempt after them: it may be what takes its workers down.
fn give_up_after_last(lease: &Lease, terms: &Terms) -> Result<(), RunError> {
    let attempts_max = terms.retry.attempts_max;
    if counted(lease, terms) <= attempts_max.get().into() {
        return Ok(());
    }
    Err(RunError::permanent(format!(
        "given up: there have been {attempts_max} attempts, and the worker of the last one was \
         lost on the way"
    )))
}

/// What is known of a panic.
fn last_words(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else {
        return "the runner was stopped from outside, with the runtime that it ran on".to_owned();
    };
    let text = panic.downcast_ref::<&str>().copied();
    match text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)) {
        Some(text) => format!("the runner panicked: {text}"),
        None => "the runner panicked".to_owned(),
    }
}

/// Cuts an output to its bound, and says so in it.
fn cut(output: Bytes, bytes_max: usize) -> Bytes {
    if output.len() <= bytes_max {
        return output;
    }
    // What is kept must not keep all of it in memory.
    let mut kept = output[..bytes_max].to_vec();
    kept.extend_from_slice(cut_note(output.len() - bytes_max).as_bytes());
    kept.into()
}

/// Cuts a text to its bound, between two characters, and says so in it.
fn cut_text(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let end = text.floor_char_boundary(bytes_max);
        let note = cut_note(text.len() - end);
        text.truncate(end);
        text.push_str(&note);
        text.shrink_to_fit();
    }
    text
}

pub(super) fn cut_note(bytes: usize) -> String {
    format!("\n… ({bytes} more bytes are not kept)")
}
