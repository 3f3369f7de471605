//! [`Dispatcher`]: claims runs and has them carried out.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU16;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{self, JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use super::attempt::{Attempt, Shared};
use super::gates::Gates;
use super::observer::Observer;
use super::runner::TriggerRunner;
use super::settings::DispatcherSettings;
use crate::run::Lane;
use crate::store::{Claim, Lanes, RunQueue};

/// Gaps between two calls of a store that fails: they double.
const STORE_GAPS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long a store may take for the record of what was interrupted.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Carries out what events owe: claims runs as they become due, hands them to a
/// [`TriggerRunner`], and puts on record what comes of them.
///
/// Any number of dispatchers, on any number of nodes, share a store. It works from
/// [`start`](Self::start) on, on the runtime that it was started on. When it is dropped, what is
/// under way is stopped without a word, and carried out again when its leases end;
/// [`drain`](Self::drain) is the orderly way.
pub struct Dispatcher {
    stopping: watch::Sender<bool>,
    interrupting: watch::Sender<bool>,
    work: JoinHandle<()>,
}

impl Dispatcher {
    /// Starts to carry out the runs in `queue` with `runner`.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with a timer.
    pub fn start<Q: RunQueue, T: TriggerRunner>(
        queue: Q,
        runner: T,
        settings: DispatcherSettings,
    ) -> Self {
        Self::start_observed(queue, runner, settings, ())
    }

    /// The same, and tells `observer` what happens.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub fn start_observed<Q: RunQueue, T: TriggerRunner>(
        queue: Q,
        runner: T,
        settings: DispatcherSettings,
        observer: impl Observer,
    ) -> Self {
        let (stopping, stopped) = watch::channel(false);
        let (interrupting, interrupted) = watch::channel(false);
        let attempts = Attempts {
            tasks: JoinSet::new(),
            lane_of: HashMap::new(),
            lanes: Lanes::new(settings.lane_concurrency)
                .with_destinations(settings.destination_concurrency),
        };
        let observer = Box::new(observer);
        let gates = runner.gates().unwrap_or_default();
        let shared = Arc::new(Shared { queue, runner, observer, settings, interrupted });
        let work = Work { shared, stopped, attempts, gates, looks: JoinSet::new() };
        Self { stopping, interrupting, work: tokio::spawn(work.go_on()) }
    }

    /// Claims no more runs, and returns when all that are under way have ended and are on
    /// record. What has not ended after `grace` is stopped, and put on record as to be tried
    /// again at once, by whoever claims it; for that the store has ten seconds more.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped leaves the dispatcher as if it was dropped.
    pub async fn drain(mut self, grace: Duration) {
        // The work may have ended by a panic of the store; then there is nobody to tell.
        let _ = self.stopping.send(true);
        if timeout(grace, &mut self.work).await.is_err() {
            let _ = self.interrupting.send(true);
            // A store that does not answer holds up nobody for ever: what is not on record by
            // then is carried out again when its lease is over.
            let _ = timeout(LAST_WORDS, &mut self.work).await;
        }
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        // What is under way goes with it.
        self.work.abort();
    }
}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher").finish_non_exhaustive()
    }
}

/// What a dispatcher does all the time.
struct Work<Q, T> {
    shared: Arc<Shared<Q, T>>,
    stopped: watch::Receiver<bool>,
    attempts: Attempts,
    gates: Gates,
    /// Those gates that the runner is looking at.
    looks: JoinSet<()>,
}

/// The attempts under way, and the lanes that they are in.
struct Attempts {
    tasks: JoinSet<()>,
    lane_of: HashMap<task::Id, Lane>,
    lanes: Lanes,
}

/// What a look at the line has shown.
enum Look {
    /// Runs were claimed: there may be more.
    Claimed,
    /// Nothing is due where there is room.
    Nothing,
    Failed,
}

impl<Q: RunQueue, T: TriggerRunner> Work<Q, T> {
    async fn go_on(mut self) {
        let mut gap = STORE_GAPS.0;
        while !*self.stopped.borrow() {
            let Some(room) = self.room() else {
                self.until_one_ends().await;
                continue;
            };
            self.look_at_gates();
            match self.claim(room).await {
                Look::Claimed => gap = STORE_GAPS.0,
                Look::Nothing => {
                    gap = STORE_GAPS.0;
                    self.until_something_is_due().await;
                }
                Look::Failed => {
                    self.pause(gap).await;
                    gap = (gap * 2).min(STORE_GAPS.1);
                }
            }
        }
        while self.attempts.one_ends().await.is_some() {}
    }

    /// How many runs more may be under way.
    fn room(&mut self) -> Option<NonZeroU16> {
        let under_way = self.attempts.still_under_way();
        let under_way = u16::try_from(under_way).unwrap_or(u16::MAX);
        NonZeroU16::new(self.shared.settings.concurrency.get().saturating_sub(under_way))
    }

    /// Has the runner look at the gates that have lasted their time, beside all else, and bounds
    /// lanes by all of them.
    fn look_at_gates(&mut self) {
        while self.looks.try_join_next().is_some() {}
        for lane in self.gates.lapsed() {
            let (shared, gates) = (self.shared.clone(), self.gates.clone());
            self.looks.spawn(async move {
                shared.runner.look_again(&lane).await;
                gates.looked_at(&lane);
            });
        }
        self.gates.bound(&mut self.attempts.lanes);
    }

    /// Claims what is due, and begins with it. The call is not dropped half-way: what it had
    /// claimed would be nobody's until its lease ended.
    async fn claim(&mut self, max: NonZeroU16) -> Look {
        let Shared { queue, observer, settings, .. } = &*self.shared;
        let (worker, lease, lanes) = (&settings.worker, settings.lease, &self.attempts.lanes);
        let asked_at = Instant::now();
        let claimed = match queue.claim(&Claim { worker, max, lease, lanes }).await {
            Ok(claimed) if claimed.is_empty() => return Look::Nothing,
            Ok(claimed) => claimed,
            Err(error) => {
                observer.store_failed(&error);
                return Look::Failed;
            }
        };
        observer.claimed(claimed.len());
        for leased in claimed {
            let attempt = Attempt::new(self.shared.clone(), &leased, asked_at);
            self.attempts.begin(leased.lane(), attempt.carry_out(leased));
        }
        Look::Claimed
    }

    async fn until_one_ends(&mut self) {
        tokio::select! {
            _ = self.attempts.one_ends() => {}
            () = turned(&mut self.stopped) => {}
        }
    }

    /// Waits until something may be due where there is room. An attempt that ends in a lane with
    /// room makes nothing due.
    async fn until_something_is_due(&mut self) {
        let Self { shared, stopped, attempts, gates, .. } = self;
        let lanes = attempts.lanes.clone();
        let mut wait = pin!(shared.queue.wait(shared.settings.poll, &lanes));
        let mut gates = pin!(gates.moved());
        loop {
            tokio::select! {
                waited = &mut wait => {
                    if let Err(error) = waited {
                        shared.observer.store_failed(&error);
                        sleep(STORE_GAPS.0).await;
                    }
                    return;
                }
                Some(lane) = attempts.one_ends() => {
                    if lanes.room(&lane) == 0 {
                        return;
                    }
                }
                () = &mut gates => return,
                () = turned(stopped) => return,
            }
        }
    }

    async fn pause(&mut self, gap: Duration) {
        tokio::select! {
            () = sleep(gap) => {}
            () = turned(&mut self.stopped) => {}
        }
    }
}

/// Waits until the signal has turned, or there is nobody left to turn it.
async fn turned(signal: &mut watch::Receiver<bool>) {
    let _ = signal.wait_for(|is_turned| *is_turned).await;
}

impl Attempts {
    fn begin(&mut self, lane: Lane, attempt: impl Future<Output = ()> + Send + 'static) {
        self.lanes.enter(lane);
        let id = self.tasks.spawn(attempt).id();
        self.lane_of.insert(id, lane);
    }

    /// Waits for one to end, however it ends, and says in which lane; `None` where there is none.
    async fn one_ends(&mut self) -> Option<Lane> {
        let ended = self.tasks.join_next_with_id().await?;
        Some(self.leave(ended))
    }

    fn still_under_way(&mut self) -> usize {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.leave(ended);
        }
        self.tasks.len()
    }

    fn leave(&mut self, ended: Result<(task::Id, ()), JoinError>) -> Lane {
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        let lane = self.lane_of.remove(&id).expect("each attempt is begun in a lane");
        self.lanes.leave(lane);
        lane
    }
}
