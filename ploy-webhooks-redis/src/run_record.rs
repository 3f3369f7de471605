//! The bytes that a run is kept as.
//!
//! ```text
//! record    when it was made (6) · event (16) · what it runs, in JSON
//! standing  letter of its state · how often it was tried · `:` · how many bytes its attempts said
//! attempt   when it was claimed · ` ` · worker
//! … ended   the same · ` ` · when · ` ` · letter of the state that followed · ` ` · after how many
//!           milliseconds it is tried again · ` ` · what it said
//! hold      when the lease ends, or ended, under which it was last called off
//! ```
//!
//! The record never changes. A run without a standing was never claimed: so it costs an event that
//! owes it nothing. Whether a run is delivered, and to which destination, is told by how its JSON
//! begins (`scripts/delivery.lua`).

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use ploy_webhooks::store::StoreError;
use ploy_webhooks::{
    Attempt, AttemptEnd, EventId, Lease, LeasedRun, NewRun, Outcome, Run, RunId, RunState,
    Timestamp, Trigger,
};
use redis::Value;

use crate::error::{corrupt, misuse};
use crate::layout::Bucket;
use crate::owner::Owner;
use crate::record::Entry;
use crate::script::ScriptCall;
use crate::value;

/// Whether the runs can be told apart.
pub(crate) fn check_runs(runs: &[NewRun]) -> Result<(), StoreError> {
    let mut ids: Vec<_> = runs.iter().map(|run| run.id).collect();
    ids.sort_unstable();
    match ids.windows(2).all(|pair| pair[0] != pair[1]) {
        true => Ok(()),
        false => Err(misuse("two runs of one event have the same id")),
    }
}

/// A run has the id of one that is stored.
pub(crate) fn known_already() -> StoreError {
    misuse("a run with that id is stored already")
}

/// Writes the runs of an event as arguments: the id, the record without the time, which the server
/// tells, and the delay of each.
pub(crate) fn push_runs(call: &mut ScriptCall, event: &EventId, runs: &[NewRun]) {
    for run in runs {
        call.push(run.id.as_bytes());
        let mut record = Vec::with_capacity(128);
        record.extend_from_slice(event.as_bytes());
        serde_json::to_writer(&mut record, &run.trigger).expect("a trigger has a form in JSON");
        call.push(record);
        call.push_text(millis(run.delay));
    }
}

/// Whole milliseconds, no further ahead than a score tells exactly.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).min(1 << 48)
}

/// What a state is called in a run's standing, and in the scripts. `None` for one that this
/// version does not know, in which no run is.
pub(crate) const fn letter_of(state: RunState) -> Option<&'static str> {
    Some(match state {
        RunState::Queued => "q",
        RunState::Running => "r",
        RunState::Retrying => "w",
        RunState::Succeeded => "s",
        RunState::Failed => "f",
        RunState::Cancelled => "c",
        _ => return None,
    })
}

/// The state that is called so.
pub(crate) fn state_of(letter: u8) -> Option<RunState> {
    RunState::ALL
        .into_iter()
        .find(|state| letter_of(*state).is_some_and(|known| known.as_bytes() == [letter]))
}

/// A run as `scripts/reading.lua` tells it.
pub(crate) fn parse_run(run: Value) -> Result<Run, StoreError> {
    read_run(run).ok_or_else(|| corrupt("a run"))
}

fn read_run(run: Value) -> Option<Run> {
    let [id, record, standing, attempts] = value::parts(run)?;
    let (event, created_at, trigger) = parse_record(&value::bytes(record)?)?;
    let mut run = Run::queued(run_id(id)?, event, trigger, created_at);
    run.state = state_of(*value::bytes(standing)?.first()?)?;
    let attempts = value::array(attempts)?.into_iter().zip(1..);
    let attempts = attempts
        .map(|(attempt, number)| parse_attempt(&value::bytes(attempt)?, NonZeroU32::new(number)?));
    run.attempts = attempts.collect::<Option<_>>()?;
    Some(run)
}

/// A run as `scripts/claim.lua` tells it.
pub(crate) fn parse_leased(run: Value, buckets: &[&Bucket]) -> Result<LeasedRun, StoreError> {
    read_leased(run, buckets).ok_or_else(|| corrupt("a run that is due"))
}

fn read_leased(run: Value, buckets: &[&Bucket]) -> Option<LeasedRun> {
    let [place, owner, workspace, id, attempt, before, record, entry, content] = value::parts(run)?;
    let place = usize::try_from(value::int(&place)?.checked_sub(1)?).ok()?;
    let bucket = buckets.get(place)?.number;
    let owner = Owner::named(&value::bytes(owner)?)?;
    let (_, _, trigger) = parse_record(&value::bytes(record)?)?;
    let attempt = value::text(attempt)?.parse().ok()?;
    let before = state_of(*value::bytes(before)?.first()?)?;
    let entry = Entry::parse(&value::bytes(entry)?).ok()?;
    let workspace = value::text(workspace)?.parse().ok()?;
    Some(LeasedRun {
        lease: Lease { run: run_id(id)?, attempt, place: bucket.into() },
        is_after_loss: before == RunState::Running,
        trigger,
        event: entry.event(owner, workspace, value::bytes(content)?).ok()?,
    })
}

fn parse_record(bytes: &[u8]) -> Option<(EventId, Timestamp, Trigger)> {
    let (made_at, rest) = bytes.split_first_chunk::<6>()?;
    let (event, trigger) = rest.split_first_chunk::<16>()?;
    let made_at = made_at.iter().fold(0, |millis, byte| millis << 8 | u64::from(*byte));
    let trigger = serde_json::from_slice(trigger).ok()?;
    Some((EventId::from_bytes(*event), Timestamp::from_millis(made_at), trigger))
}

fn parse_attempt(bytes: &[u8], number: NonZeroU32) -> Option<Attempt> {
    let mut parts = bytes.splitn(6, |&byte| byte == b' ');
    let started_at = timestamp(parts.next()?)?;
    let worker = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let Some(ended_at) = parts.next() else {
        return Some(Attempt { number, started_at, worker, end: None });
    };
    let (state, after, said) = (parts.next()?, parts.next()?, parts.next()?);
    let text = || String::from_utf8(said.to_vec()).ok();
    let outcome = match state_of(*state.first()?)? {
        RunState::Succeeded => Outcome::Succeed { output: Bytes::copy_from_slice(said) },
        RunState::Retrying => {
            let after = std::str::from_utf8(after).ok()?.parse().ok()?;
            Outcome::Retry { error: text()?, after: Duration::from_millis(after) }
        }
        RunState::Failed => Outcome::Fail { error: text()? },
        _ => return None,
    };
    let end = Some(AttemptEnd { at: timestamp(ended_at)?, outcome });
    Some(Attempt { number, started_at, worker, end })
}

pub(crate) fn run_id(value: Value) -> Option<RunId> {
    value::bytes(value)?.try_into().ok().map(RunId::from_bytes)
}

fn timestamp(digits: &[u8]) -> Option<Timestamp> {
    std::str::from_utf8(digits).ok()?.parse().ok().map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ploy_webhooks::{Action, DestinationId, Route, Rule, SubscriptionId, Task};
    use proptest::prelude::*;

    #[test]
    fn a_state_has_one_letter() {
        for state in RunState::ALL {
            let letter = letter_of(state).expect("this version knows every state");
            assert_eq!(state_of(letter.as_bytes()[0]), Some(state));
        }
        assert_eq!(state_of(b'x'), None);
    }

    /// The scripts know them by nothing else, of those that are stored too.
    #[test]
    fn what_is_delivered_begins_with_where_it_goes() {
        let destination = DestinationId::from_bytes([7; 16]);
        let subscription = SubscriptionId::from_bytes([8; 16]);
        let task = |action| Task { action, subscription: Some(subscription), draft: true };
        let rule = Rule {
            subscription,
            condition: None,
            action: Action::Destination(destination),
            draft: false,
        };
        let delivered = Trigger::Task(task(Action::Destination(destination)));
        let named = "{\"destination\":\"".parse().unwrap();
        for other in [
            Trigger::Task(task(Action::Ploybook(named))),
            Trigger::FirstOf(Route { group: None, rules: [rule].into() }),
        ] {
            assert!(!json_of(&other).starts_with("{\"destination\":"), "{}", json_of(&other));
        }
        let begin = format!("{{\"destination\":\"{destination}\"");
        assert!(json_of(&delivered).starts_with(&begin), "{}", json_of(&delivered));
    }

    fn json_of(trigger: &Trigger) -> String {
        serde_json::to_string(trigger).unwrap()
    }

    #[test]
    fn an_attempt_says_what_it_said() {
        let number = NonZeroU32::MIN;
        let attempt = parse_attempt(b"17 node-1:4711 18 s  a b\0 c", number).unwrap();
        assert_eq!(attempt.worker.as_str(), "node-1:4711");
        let output = Bytes::from_static(b"a b\0 c");
        let end =
            AttemptEnd { at: Timestamp::from_millis(18), outcome: Outcome::Succeed { output } };
        assert_eq!(attempt.end, Some(end));
        assert_eq!(parse_attempt(b"17 w", number).unwrap().end, None);
        assert_eq!(parse_attempt(b"17", number), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(bytes: Vec<u8>) {
            let _ = parse_attempt(&bytes, NonZeroU32::MIN);
            let _ = parse_record(&bytes);
        }
    }
}
