//! A batch of events as one script call, and its answer taken apart.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use ploy_webhooks::store::{Appended, StoreError};
use ploy_webhooks::{EventId, NewEvent, Quota, Revision, WorkspaceId};
use redis::Value;

use crate::engine::{Answer, Call};
use crate::layout::Layout;
use crate::owner::Owner;
use crate::queue::Waiting;
use crate::record;
use crate::run_record;
use crate::script::{self, ScriptCall};
use crate::value;

/// What an event is checked against: events of which this is the same are checked at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Checked {
    pub(crate) owner: Owner,
    workspace: WorkspaceId,
    /// `None` where the app published the event.
    revision: Option<Revision>,
    /// `None` where it is one of any number.
    counted: Option<Counted>,
}

/// A quota as the script is given it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Counted {
    events: u64,
    /// 0 is the life of the endpoint.
    period_millis: u64,
}

impl Counted {
    /// More than this no endpoint stores, and the script's numbers are exact up to it.
    const EVENTS_MAX: u64 = 1 << 53;
}

impl From<Quota> for Counted {
    fn from(quota: Quota) -> Self {
        let period_seconds = quota.period_seconds.map_or(0, NonZeroU32::get);
        Self {
            events: quota.events.get().min(Self::EVENTS_MAX),
            period_millis: u64::from(period_seconds) * 1_000,
        }
    }
}

impl Checked {
    pub(crate) fn of(event: &NewEvent) -> Self {
        Self {
            owner: Owner::of(event),
            workspace: event.workspace,
            revision: event.fence.map(|fence| fence.checked_at),
            // What names no endpoint has nobody whose quota it could be.
            counted: event.fence.and(event.quota).map(Counted::from),
        }
    }
}

/// The part of a batch that one script writes.
#[derive(Debug)]
pub(crate) struct Part {
    slot: u16,
    groups: BTreeMap<Checked, Vec<Waiting>>,
}

/// What a script said to one event.
enum Verdict {
    Stored,
    Fenced,
    /// It owes a run of an id that is there already.
    RunKnown,
    Duplicate(EventId),
    OverQuota {
        resets_in: Option<Duration>,
    },
}

impl Part {
    pub(crate) const fn new(slot: u16) -> Self {
        Self { slot, groups: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, checked: Checked, waiting: Waiting) {
        self.groups.entry(checked).or_default().push(waiting);
    }

    /// The call that writes it. See `scripts/append.lua` for its arguments.
    pub(crate) fn call(&self, layout: &Layout, duplicates_wait: bool) -> Call {
        let mut tags: BTreeMap<u16, (usize, &str)> = BTreeMap::new();
        for checked in self.groups.keys() {
            let bucket = layout.bucket_of(checked.owner);
            let place = tags.len() + 1;
            tags.entry(bucket.number).or_insert((place, &bucket.tag));
        }
        let mut keys: Vec<_> = tags.values().copied().collect();
        keys.sort_unstable();

        let keys = keys.into_iter().map(|(_, tag)| tag);
        let mut call = ScriptCall::new(&script::APPEND, keys, self.size());
        call.push(layout.channel());
        call.push(if duplicates_wait { "1" } else { "0" });
        call.push_text(self.groups.len());
        for (checked, events) in &self.groups {
            let (place, _) = tags[&layout.bucket_of(checked.owner).number];
            call.push_text(place);
            call.push_text(checked.owner);
            call.push_text(checked.workspace);
            match checked.revision {
                Some(revision) => call.push_text(revision.get()),
                None => call.push(""),
            }
            match checked.counted {
                Some(Counted { events, period_millis }) => {
                    call.push_text(events);
                    call.push_text(period_millis);
                }
                None => {
                    call.push("");
                    call.push("");
                }
            }
            push_events(&mut call, events);
        }
        Call::of_script(self.slot, &script::APPEND, call)
    }

    /// How many arguments there are, about, and of how many bytes.
    fn size(&self) -> (usize, usize) {
        let events = self.groups.values().flatten();
        events.fold(
            (11 * self.groups.len(), 192 * self.groups.len()),
            |(arguments, bytes), waiting| {
                let event = &waiting.event;
                let held = event.payload.len() + event.headers.as_lines().len() + 80;
                (arguments + 6 + 3 * event.owes.len(), bytes + held + 256 * event.owes.len())
            },
        )
    }

    /// Answers everybody. Whether something was stored that owes runs.
    pub(crate) fn answer(self, answer: Answer) -> bool {
        let events = self.groups.into_values().flatten();
        let verdicts = match answer {
            Ok(Value::Int(1)) => None,
            Ok(verdicts) => match value::array(verdicts) {
                Some(verdicts) => Some(verdicts),
                None => {
                    events.for_each(|waiting| waiting.answer(Err(not_understood())));
                    return false;
                }
            },
            Err(failure) => {
                events.for_each(|waiting| {
                    waiting.answer(Err(failure.clone().of_append("cannot store the event")));
                });
                return false;
            }
        };
        let mut owes = false;
        let mut verdicts = verdicts.map(Vec::into_iter);
        for waiting in events {
            let verdict = match &mut verdicts {
                None => Some(Verdict::Stored),
                Some(verdicts) => verdicts.next().and_then(Verdict::parse),
            };
            owes |= matches!(verdict, Some(Verdict::Stored)) && !waiting.event.owes.is_empty();
            waiting.answer(verdict.ok_or_else(not_understood));
        }
        owes
    }
}

/// What of the events of a group the script is given: so that it can write them from where they
/// stand.
fn push_events(call: &mut ScriptCall, events: &[Waiting]) {
    let events = || events.iter().map(|waiting| &waiting.event);
    let runs: usize = events().map(|event| event.owes.len()).sum();
    let keys = events().filter(|event| event.dedup.is_some()).count();
    call.push_text(events().count());
    call.push_text(runs);
    call.push_text(keys);
    let mut more = Vec::new();
    if runs + keys > 0 {
        for event in events() {
            more.push(u8::from(event.dedup.is_some()));
            more.extend_from_slice(&record::run_count(event).to_be_bytes());
        }
    }
    call.push(more);
    let mut told = Vec::with_capacity(1 + 16 * events().count());
    told.push(b'e');
    events().for_each(|event| told.extend_from_slice(event.id.as_bytes()));
    call.push(told);
    for event in events() {
        call.push("0");
        record::push_entry(call, event);
    }
    for event in events() {
        call.push(event.id.as_bytes());
        record::push_content(call, event);
    }
    for event in events() {
        run_record::push_runs(call, &event.id, &event.owes);
    }
    for dedup in events().filter_map(|event| event.dedup.as_ref()) {
        call.push(dedup.key.as_bytes());
        // A window of nothing is one that has ended: the shortest there is comes nearest.
        call.push_text(run_record::millis(dedup.window).max(1));
    }
}

/// The answer of a script that has been carried out, and does not say what came of it.
fn not_understood() -> StoreError {
    let message = "what Redis says of an append is not understood";
    StoreError::new(ploy_webhooks::store::StoreErrorKind::Indeterminate, message)
}

impl Verdict {
    fn parse(verdict: Value) -> Option<Self> {
        match verdict {
            Value::Int(1) => Some(Self::Stored),
            Value::Int(0) => Some(Self::Fenced),
            Value::Int(-1) => Some(Self::RunKnown),
            Value::Array(resets) => match resets[..] {
                [] => Some(Self::OverQuota { resets_in: None }),
                [Value::Int(millis)] => {
                    let resets_in = Duration::from_millis(millis.try_into().ok()?);
                    Some(Self::OverQuota { resets_in: Some(resets_in) })
                }
                _ => None,
            },
            first => {
                let first = value::bytes(first)?.try_into().ok()?;
                Some(Self::Duplicate(EventId::from_bytes(first)))
            }
        }
    }
}

impl Waiting {
    fn answer(self, verdict: Result<Verdict, StoreError>) {
        let Self { event, answer } = self;
        let outcome = verdict.and_then(|verdict| match verdict {
            Verdict::Stored => Ok(Appended::Stored),
            Verdict::Duplicate(first) => Ok(Appended::Duplicate(first)),
            Verdict::OverQuota { resets_in } => Ok(Appended::OverQuota { resets_in }),
            Verdict::Fenced => Ok(Appended::Fenced(Box::new(event))),
            Verdict::RunKnown => Err(run_record::known_already()),
        });
        // A caller that has gone meanwhile is not missed: the event is what it is.
        let _ = answer.send(outcome);
    }
}
