//! [`Flow`]: how much is sent to one destination, as its receiver proves what it can take.
//!
//! The window is how many requests may be under way: it doubles with every success, up to what the
//! destination says, and halves with every request that finds its receiver down. Where it answers
//! quickly, as many attempts again may wait for a place, so that the next request begins as one ends.
//! After ten failures in a row the receiver is taken to be down: nothing is sent for a while, then one request tries
//! it, and so on, with gaps that double up to a minute. One success, and all goes on.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use ploy_webhooks::Rate;
use tokio::time::Instant;

use crate::courier::{Remains, Verdict};

/// How many requests in a row have to find a receiver down.
const DOWN_AFTER: u32 = 10;
/// The first gap between two requests that try a receiver which is down, and the longest.
const COOL_DOWN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A receiver that answers within this time is quick.
const QUICK: Duration = Duration::from_millis(500);
/// How often it is looked whether a destination that rests has been changed.
const RESTS: Duration = Duration::from_secs(10);
/// One that has been failing for so long is taken to be down by who begins with it.
const DOWN_FOR: Duration = Duration::from_secs(60);
/// No receiver has it all wait for longer because it says so once.
const WISH_MAX: Duration = Duration::from_secs(3_600);
/// With how many requests it is begun, where nothing is known yet.
const WINDOW_FIRST: u16 = 2;
/// After so long without a request, what was learned of a receiver that is up is forgotten.
const IDLE: Duration = Duration::from_secs(60);
/// The same for one that is not, or that nothing is sent to: what is owed to it then finds that out
/// once more.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// How often it is looked whether a destination that is shut is open again.
const SHUT: Duration = Duration::from_secs(2);

/// How a receiver was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// It takes what is sent.
    Up,
    /// It has not taken this, and it is not known to be down.
    Failing {
        /// How often in a row.
        times: u32,
    },
    /// It is taken to be down.
    Down,
}

/// How much is sent to one destination, by this node.
#[derive(Debug)]
pub(super) struct Flow {
    window: u16,
    /// How many attempts are under way, those among them that wait for a place or their time.
    under_way: u16,
    /// How many of them have a place: their requests are under way.
    sending: u16,
    /// How many of them wait for the rate.
    pacing: u16,
    /// Requests in a row that failed, whatever was wrong.
    failures: u32,
    /// Requests in a row that found the receiver down.
    downs: u32,
    /// Until when nothing is sent, since the receiver is down.
    rests_until: Option<Instant>,
    /// Until when nothing is sent, since the receiver wishes it.
    is_wished_until: Option<Instant>,
    cool_down: Duration,
    is_quick: bool,
    /// Whether it took the last request that it was sent.
    is_proven: bool,
    shut: Option<Shut>,
    /// When the next request would be on time, if all were evenly spaced.
    next_slot: Option<Instant>,
    used_at: Instant,
}

/// That nothing is sent, whatever the receiver says.
#[derive(Clone, Copy, Debug)]
struct Shut {
    since: Instant,
    until: Instant,
}

impl Flow {
    pub(super) fn new() -> Self {
        Self {
            window: WINDOW_FIRST,
            under_way: 0,
            sending: 0,
            pacing: 0,
            failures: 0,
            downs: 0,
            rests_until: None,
            is_wished_until: None,
            cool_down: COOL_DOWN.0,
            is_quick: false,
            is_proven: false,
            shut: None,
            next_slot: None,
            used_at: Instant::now(),
        }
    }

    /// How many may be under way, and until when that is so.
    pub(super) fn gate(&self, at_once: NonZeroU16, rate: Option<Rate>) -> (u16, Instant) {
        let now = Instant::now();
        if let Some(Shut { until, .. }) = self.shut {
            return (0, until);
        }
        if let Some(until) = self.rest_ends(now) {
            return (0, until.min(now + RESTS));
        }
        let until = now + IDLE;
        if self.downs >= DOWN_AFTER {
            return (1, until);
        }
        let places = self.window.min(at_once.get());
        let waiting = if self.downs == 0 && self.is_quick { places } else { 0 };
        let at_once = places.saturating_add(waiting);
        let Some(rate) = rate else { return (at_once, until) };
        // What waits for its time takes places from others: a tenth of a second of it is enough.
        let ahead = u16::try_from(rate.per_second.get() / 10).unwrap_or(u16::MAX).max(1);
        let on_time = self.under_way - self.pacing;
        (at_once.min(on_time.saturating_add(ahead)), until)
    }

    pub(super) fn enter(&mut self) {
        self.used_at = Instant::now();
        self.under_way += 1;
    }

    pub(super) fn leave(&mut self) {
        self.used_at = Instant::now();
        self.under_way -= 1;
    }

    /// Takes a place for a request, if there is one.
    pub(super) fn take_place(&mut self, at_once: NonZeroU16) -> bool {
        let is_free = self.sending < self.window.min(at_once.get());
        self.sending += u16::from(is_free);
        is_free
    }

    pub(super) const fn leave_place(&mut self) {
        self.sending -= 1;
    }

    /// Nothing is to be sent for now.
    pub(super) fn shut(&mut self) {
        let now = Instant::now();
        let since = self.shut.map_or(now, |shut| shut.since);
        self.shut = Some(Shut { since, until: now + SHUT });
    }

    /// It is not shut any more.
    pub(super) const fn open(&mut self) {
        self.shut = None;
    }

    /// Whether it is known that nothing would come of a request now.
    pub(super) fn is_held_back(&self) -> bool {
        self.rest_ends(Instant::now()).is_some()
    }

    /// Whether the receiver took what it was sent last.
    pub(super) const fn is_proven(&self) -> bool {
        self.is_proven
    }

    fn rest_ends(&self, now: Instant) -> Option<Instant> {
        self.rests_until.max(self.is_wished_until).filter(|until| *until > now)
    }

    /// Forgets what was learned: the receiver is another one, or somebody has mended it.
    pub(super) fn start_over(&mut self) {
        let Self { under_way, sending, pacing, next_slot, .. } = *self;
        *self = Self { under_way, sending, pacing, next_slot, ..Self::new() };
    }

    /// It is on record that it has been failing for so long, by whoever has sent to it.
    pub(super) fn hear_of_failures(&mut self, for_so_long: Duration) {
        if for_so_long >= DOWN_FOR {
            self.downs = DOWN_AFTER;
        }
    }

    /// Whether it may be forgotten.
    pub(super) fn is_idle(&self) -> bool {
        let unused = self.used_at.elapsed();
        match self.shut {
            Some(Shut { since, .. }) => since.elapsed() >= IDLE_MAX,
            None if self.under_way > 0 || self.is_held_back() => false,
            None if self.downs > 0 => unused >= IDLE_MAX,
            None => unused >= IDLE,
        }
    }

    /// Takes the next slot that the rate gives, evenly spaced but for its burst.
    pub(super) fn slot(&mut self, rate: Rate) -> Instant {
        let now = Instant::now();
        let spacing = Duration::from_secs(1) / rate.per_second.get();
        let ahead = spacing * (rate.burst.unwrap_or(NonZeroU32::MIN).get() - 1);
        let on_time = self.next_slot.map_or(now, |next| next.max(now));
        self.next_slot = Some(on_time + spacing);
        on_time.checked_sub(ahead).map_or(now, |slot| slot.max(now))
    }

    pub(super) const fn begin_pacing(&mut self) {
        self.pacing += 1;
    }

    pub(super) const fn end_pacing(&mut self) {
        self.pacing -= 1;
    }

    /// Learns from what came of a request that took so long.
    pub(super) fn see(&mut self, verdict: Verdict, took: Duration, at_once: NonZeroU16) -> Health {
        self.is_quick = took <= QUICK;
        self.is_proven = verdict == Verdict::Delivered;
        match verdict {
            Verdict::Delivered => {
                (self.failures, self.downs) = (0, 0);
                self.window = self.window.saturating_mul(2).min(at_once.get());
                (self.rests_until, self.cool_down) = (None, COOL_DOWN.0);
                return Health::Up;
            }
            Verdict::Failed(Remains::Again | Remains::Gone) => self.downs = 0,
            Verdict::Failed(Remains::AgainWhenUp { after, .. }) => {
                self.downs = self.downs.saturating_add(1);
                self.window = (self.window / 2).max(1);
                self.rest(after);
            }
            // Nothing was sent: that says nothing of the receiver.
            Verdict::Failed(Remains::Never) => return Health::Failing { times: self.failures },
        }
        self.failures = self.failures.saturating_add(1);
        match self.downs >= DOWN_AFTER {
            true => Health::Down,
            false => Health::Failing { times: self.failures },
        }
    }

    /// Has nothing be sent for a while, if it is down or says so.
    fn rest(&mut self, wish: Option<Duration>) {
        let now = Instant::now();
        let wished = wish.map(|wish| now + wish.min(WISH_MAX));
        self.is_wished_until = self.is_wished_until.max(wished);
        // Of many that fail at the same time, the first one counts.
        let is_news = self.rests_until.is_none_or(|until| until <= now);
        if self.downs >= DOWN_AFTER && is_news {
            self.rests_until = Some(now + jittered(self.cool_down));
            self.cool_down = (self.cool_down * 2).min(COOL_DOWN.1);
        }
    }
}

/// Half of it at least, so that nodes do not try a receiver all at once.
fn jittered(time: Duration) -> Duration {
    time.mul_f64(fastrand::f64().mul_add(0.5, 0.5))
}
