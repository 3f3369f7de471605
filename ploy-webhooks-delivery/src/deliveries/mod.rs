//! [`Deliveries`]: carries runs out that deliver an event to a destination.

mod current;
mod flow;
mod known;
mod lasting;
mod order;
mod submissions;

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ploy_webhooks::limit::{Admission, LimitKey, RateLimiter};
use ploy_webhooks::store::{DefinitionStore, RunStore, StoreError};
use ploy_webhooks::trigger::{Gates, INTERRUPTED, Job, Output, RunError, Terms, TriggerRunner};
use ploy_webhooks::{Action, DestinationId, Lane, LeasedRun, Outcome, Rate, Run, Task, Trigger};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout};

use self::flow::Health;
use self::known::Known;
use self::submissions::Submission;
use crate::client::FailureClass;
use crate::courier::{Courier, Kind, Parcel, Record, Remains, Sent, Verdict};
use crate::destination::Status;

/// How long an attempt may wait in all, beside what its request takes: for its turn, its time, that of
/// all nodes, and a place.
const WAITS_MAX: Duration = Duration::from_secs(60);
/// How long it may wait for its time. What waits longer is held back, and waits in line.
const WAIT_MAX: Duration = Duration::from_secs(12);
/// After how long what could not be sent is due again. It is the gate of the destination that decides
/// when it is tried.
const HELD_GAP: Duration = Duration::from_secs(1);
/// The same for what was sent to a receiver that is down: it doubles up to the longest, so that not
/// one run alone tries it all the time.
const DOWN_GAP: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// How many deliveries are under way at once where nothing else is said: three quarters of what a
/// dispatcher has, so that receivers that hang leave some of it to others.
const AT_ONCE_MAX: usize = 48;

/// Carries runs out that deliver an event to a destination, by the destination as it is defined in a
/// store, and on its terms.
///
/// A change of a destination is seen within a second. What it holds back, being paused or known to
/// be down, stays in line: see [`gates`](TriggerRunner::gates).
///
/// A delivery is one run: it is done when its request was answered with a success (2xx), and may be
/// sent more than once. All its requests have the same `webhook-id`.
#[derive(Debug)]
pub struct Deliveries<S> {
    store: S,
    courier: Courier,
    limiter: Option<Arc<dyn RateLimiter>>,
    gates: Gates,
    known: Known,
    places: Places,
}

/// How many deliveries are under way at once.
#[derive(Debug)]
struct Places {
    all: Semaphore,
    /// Half of them at most are for receivers that have not proved that they take what is sent: many
    /// of which hang do not hold up those that do.
    unproven: Semaphore,
}

impl Places {
    fn new(all: usize) -> Self {
        Self { all: Semaphore::new(all), unproven: Semaphore::new((all / 2).max(1)) }
    }

    /// A place, if there is one for such a receiver: one that is proven comes free soon, and is
    /// waited for.
    async fn take(&self, is_proven: bool) -> Option<[Option<SemaphorePermit<'_>>; 2]> {
        let unproven = match is_proven {
            true => None,
            false => Some(self.unproven.try_acquire().ok()?),
        };
        let one = timeout(WAIT_MAX, self.all.acquire()).await;
        Some([unproven, Some(one.ok()?.ok()?)])
    }
}

impl<S: DefinitionStore + RunStore> Deliveries<S> {
    /// Delivers to what is defined in `store`.
    #[must_use]
    pub fn new(store: S, courier: Courier) -> Self {
        let (gates, known) = (Gates::new(), Known::default());
        let places = Places::new(AT_ONCE_MAX);
        Self { store, courier, limiter: None, gates, known, places }
    }

    /// The same, with so many deliveries under way at once: fewer than its dispatcher has
    /// [runs](ploy_webhooks::trigger::DispatcherSettings::concurrency), so that receivers that hang
    /// leave some of these to others. 48 where nothing is said.
    #[must_use]
    pub fn at_once(self, deliveries: NonZeroU16) -> Self {
        Self { places: Places::new(deliveries.get().into()), ..self }
    }

    /// The same, with the rates of destinations held by that limiter for all nodes together.
    /// Without one, each node holds them for itself.
    #[must_use]
    pub fn limiter(self, limiter: impl RateLimiter) -> Self {
        Self { limiter: Some(Arc::new(limiter)), ..self }
    }

    async fn deliver(&self, job: &Job, id: DestinationId, is_draft: bool) -> Attempted {
        let entry = self.known.entry(id, job.event.workspace);
        let Some(current) = entry.current(&self.store, &self.courier).await? else {
            self.known.forget(&entry);
            return Err(no_such(id));
        };
        entry.set_gate(&self.gates, &current);
        let name = job.run.to_string();
        let parcel = parcel(job, &name);
        if is_draft || current.destination().status == Status::Draft {
            return Ok(self.courier.draft(&current.prepared, parcel).to_text().into());
        }
        if let Some(why) = current.why_nothing_is_sent() {
            entry.shut(&self.gates, &current);
            return Err(held(why, HELD_GAP));
        }
        let Some(_one_of_all) = self.places.take(entry.is_proven()).await else {
            return Err(held("too many deliveries are under way", HELD_GAP));
        };
        let _under_way = entry.enter(&self.gates, &current);
        let _turn = match &current.destination().order_by {
            None => None,
            Some(pointer) => {
                order::turn(&self.store, &entry, pointer, job, self.courier.now()).await?
            }
        };
        // Every request ends within its limit, and so one that is waited for does.
        let place = timeout(current.destination().time_limit, entry.place(&current)).await;
        let place = place.map_err(|_| held("other requests are under way", HELD_GAP))?;
        if let Some(rate) = current.destination().rate {
            let paced = timeout(WAIT_MAX, entry.pace(rate, &self.gates, &current)).await;
            paced.map_err(|_| held("others come first at this rate", HELD_GAP))?;
            self.pace_with_other_nodes(id, rate).await?;
        }
        if entry.is_held_back() {
            return Err(held("the receiver is down", HELD_GAP));
        }
        // Somebody may have paused it while it was waited.
        let current = match entry.current(&self.store, &self.courier).await? {
            Some(current) if current.why_nothing_is_sent().is_none() => current,
            _ => return Err(held("the destination was changed meanwhile", HELD_GAP)),
        };
        let submission = Submission::reserve(&self.store, &entry, &current).await?;
        let begun = Instant::now();
        let sent = self.courier.send(&current.prepared, parcel).await;
        let health = entry.see(sent.verdict, begun.elapsed(), &current);
        drop(place);
        // What the request came to is what goes on record. A store that fails now leaves a submission
        // counted that was none, or has the next request say how it is going.
        if !may_be_taken(sent.verdict) {
            let _ = submission.give_back().await;
        }
        let now = self.courier.now();
        let _ = entry.remember(&self.store, now, &current, sent.verdict, health).await;
        attempted(sent, health, job.attempt)
    }

    /// Waits until the rate allows one more of all nodes together.
    async fn pace_with_other_nodes(&self, id: DestinationId, rate: Rate) -> Result<(), RunError> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let rate = Rate { burst: Some(rate.burst.unwrap_or(NonZeroU32::MIN)), ..rate };
        let give_up_at = Instant::now() + WAIT_MAX;
        loop {
            let admission = limiter.check(LimitKey::Destination(id), rate).await;
            match admission.map_err(failed)? {
                Admission::Admitted { .. } => return Ok(()),
                Admission::Exceeded { retry_after } if Instant::now() < give_up_at => {
                    sleep(retry_after).await;
                }
                Admission::Exceeded { retry_after } => {
                    return Err(held("other nodes take all of the rate", retry_after));
                }
            }
        }
    }

    async fn uncounted(&self, run: &LeasedRun) -> Result<u32, RunError> {
        if run.lease.attempt == NonZeroU32::MIN {
            return Ok(0);
        }
        let kept = self.store.run(&run.event.workspace, &run.lease.run).await.map_err(failed)?;
        Ok(kept.as_ref().map_or(0, uncounted))
    }
}

/// What came of an attempt.
type Attempted = Result<Output, RunError>;

#[async_trait]
impl<S: DefinitionStore + RunStore> TriggerRunner for Deliveries<S> {
    async fn run(&self, job: Job) -> Attempted {
        match job.trigger {
            Trigger::Task(Task { action: Action::Destination(id), draft, .. }) => {
                self.deliver(&job, id, draft).await
            }
            Trigger::Task(_) | Trigger::FirstOf(_) => {
                Err(RunError::permanent("the run delivers nothing: it is for another runner"))
            }
        }
    }

    async fn terms(&self, run: &LeasedRun, usual: Terms) -> Result<Terms, RunError> {
        let Some(id) = run.trigger.destination() else { return Ok(usual) };
        let entry = self.known.entry(id, run.event.workspace);
        // One that there is not fails the attempt itself.
        let Some(current) = entry.current(&self.store, &self.courier).await? else {
            return Ok(usual);
        };
        Ok(Terms {
            time_limit: 2 * current.destination().time_limit + WAITS_MAX,
            retry: current.destination().retry.policy(),
            uncounted: self.uncounted(run).await?,
        })
    }

    fn gates(&self) -> Option<Gates> {
        Some(self.gates.clone())
    }

    async fn look_again(&self, lane: &Lane) {
        let Lane::Destination(id) = lane else { return };
        let Some(entry) = self.known.standing(*id) else { return };
        if entry.is_idle() {
            return self.known.forget(&entry);
        }
        match entry.current(&self.store, &self.courier).await {
            Ok(Some(current)) if current.why_nothing_is_sent().is_some() => {
                entry.shut(&self.gates, &current);
            }
            Ok(Some(current)) => entry.set_gate(&self.gates, &current),
            // What waits fails, and says why.
            Ok(None) => self.known.forget(&entry),
            // It is held back as it was, until the store answers.
            Err(_) => self.gates.set(*lane, 0, Instant::now() + HELD_GAP),
        }
    }
}

fn parcel<'a>(job: &'a Job, id: &'a str) -> Parcel<'a> {
    let (event, fields, attempt) = (&job.event, &*job.fields, job.attempt);
    Parcel { event, fields, id, attempt, kind: Kind::Event }
}

/// Whether the receiver has a request, or may have.
const fn may_be_taken(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Delivered => true,
        Verdict::Failed(Remains::AgainWhenUp { may_be_taken, .. }) => may_be_taken,
        Verdict::Failed(_) => false,
    }
}

/// What goes on record of an attempt. One at a receiver that is known to be down does not count:
/// what waits there is not given up for it.
fn attempted(sent: Sent, health: Health, attempt: NonZeroU32) -> Attempted {
    let Sent { mut record, verdict, .. } = sent;
    let Verdict::Failed(remains) = verdict else {
        return Ok(record.to_text().into());
    };
    Err(match remains {
        Remains::AgainWhenUp { after, .. } if health == Health::Down => {
            record.uncounted = true;
            let gap = DOWN_GAP.0 * (1 << (attempt.get() - 1).min(6));
            RunError::held(record.to_text(), after.unwrap_or_default().max(gap.min(DOWN_GAP.1)))
        }
        Remains::AgainWhenUp { after: Some(after), .. } => {
            RunError::retry_after(record.to_text(), after)
        }
        Remains::Again | Remains::AgainWhenUp { .. } => RunError::retry(record.to_text()),
        Remains::Gone | Remains::Never => RunError::permanent(record.to_text()),
    })
}

/// How many attempts of a run, before the one that is under way, do not count: those that were held
/// back, and all before it was given up, if somebody has it tried once more.
fn uncounted(run: &Run) -> u32 {
    let Some((_, before)) = run.attempts.split_last() else { return 0 };
    before.iter().fold(0, |uncounted, attempt| match attempt.end.as_ref().map(|end| &end.outcome) {
        Some(Outcome::Fail { .. }) => attempt.number.get(),
        Some(Outcome::Retry { error, .. }) => {
            let is_counted = error != INTERRUPTED
                && Record::of_text(error).is_none_or(|record| !record.uncounted);
            uncounted + u32::from(!is_counted)
        }
        Some(Outcome::Succeed { .. }) | None => uncounted,
    })
}

fn no_such(id: DestinationId) -> RunError {
    let reason = format!("there is no destination {id}: it was deleted");
    RunError::permanent(Record::refused(FailureClass::Destination, reason).to_text())
}

/// Nothing was tried, for this reason.
fn held(reason: impl Into<String>, gap: Duration) -> RunError {
    RunError::held(Record::held(reason).to_text(), gap)
}

/// What a store that fails means for a delivery: another attempt.
fn failed(error: StoreError) -> RunError {
    held(format!("the store failed: {error}"), HELD_GAP)
}
