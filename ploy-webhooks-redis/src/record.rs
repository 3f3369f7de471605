//! The bytes that an event is kept as: an entry in an index, and its headers with its payload.
//!
//! An entry begins with the id, so that entries sort as ids do, and holds what a summary shows:
//! a list of events reads no payload.
//!
//! ```text
//! entry    id (16) · size (4) · length of source (1) · source (0, 4 or 16) · number of runs (2) ·
//!          their ids (16 each) · type
//! content  length of headers (4) · headers · payload
//! ```

use std::io::Write;
use std::net::IpAddr;

use bytes::Bytes;
use ploy_webhooks::store::StoreError;
use ploy_webhooks::{
    Event, EventId, EventSummary, EventType, KeptHeaders, NewEvent, RunId, WorkspaceId,
};
use redis::RedisWrite;

use crate::error::{corrupt, misuse};

use crate::owner::Owner;
use crate::script::ScriptCall;

/// The largest string that Redis holds is 512 MiB; headers and their length come on top.
const PAYLOAD_BYTES_MAX: usize = 500 << 20;

/// What an index says of an event.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: EventId,
    pub(crate) size: u32,
    pub(crate) source: Option<IpAddr>,
    /// The runs that it was stored with.
    pub(crate) owes: Vec<RunId>,
    pub(crate) event_type: Option<EventType>,
}

/// Whether the event can be kept at all.
pub(crate) fn check_size(event: &NewEvent) -> Result<(), StoreError> {
    if event.payload.len() + event.headers.as_lines().len() > PAYLOAD_BYTES_MAX {
        return Err(misuse("an event for Redis has at most 500 MiB"));
    }
    if u16::try_from(event.owes.len()).is_err() {
        return Err(misuse("an event for Redis is stored with at most 65,535 runs"));
    }
    Ok(())
}

/// Writes the entry of an event as an argument.
pub(crate) fn push_entry(call: &mut ScriptCall, event: &NewEvent) {
    let mut entry = Vec::with_capacity(64 + 16 * event.owes.len());
    entry.extend_from_slice(event.id.as_bytes());
    entry.extend_from_slice(&length(event.payload.len()));
    match event.source {
        None => entry.push(0),
        Some(IpAddr::V4(address)) => {
            entry.push(4);
            entry.extend_from_slice(&address.octets());
        }
        Some(IpAddr::V6(address)) => {
            entry.push(16);
            entry.extend_from_slice(&address.octets());
        }
    }
    entry.extend_from_slice(&run_count(event).to_be_bytes());
    for run in &event.owes {
        entry.extend_from_slice(run.id.as_bytes());
    }
    if let Some(event_type) = &event.event_type {
        entry.extend_from_slice(event_type.as_str().as_bytes());
    }
    call.push(entry);
}

/// Writes the headers and the payload of an event as an argument, without a copy on the way.
pub(crate) fn push_content(call: &mut ScriptCall, event: &NewEvent) {
    let headers = event.headers.as_lines();
    let mut argument = call.0.writer_for_next_arg();
    for part in [&length(headers.len()), headers, &event.payload[..]] {
        argument.write_all(part).expect("a command in memory takes everything");
    }
}

/// How many runs it is stored with.
pub(crate) fn run_count(event: &NewEvent) -> u16 {
    u16::try_from(event.owes.len()).expect("events with more are refused before")
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("larger events are refused before").to_be_bytes()
}

impl Entry {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::read(bytes).ok_or_else(|| corrupt("an entry of an index"))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk::<16>()?;
        let (size, rest) = rest.split_first_chunk::<4>()?;
        let (source_length, rest) = rest.split_first()?;
        let (source, rest) = rest.split_at_checked(usize::from(*source_length))?;
        let (run_count, rest) = rest.split_first_chunk::<2>()?;
        let (runs, event_type) =
            rest.split_at_checked(16 * usize::from(u16::from_be_bytes(*run_count)))?;
        let owes = runs.as_chunks().0.iter().copied().map(RunId::from_bytes).collect();
        let source = match source.len() {
            0 => None,
            4 => Some(<[u8; 4]>::try_from(source).ok()?.into()),
            16 => Some(<[u8; 16]>::try_from(source).ok()?.into()),
            _ => return None,
        };
        let event_type = match event_type {
            [] => None,
            text => Some(String::from_utf8(text.to_vec()).ok()?.try_into().ok()?),
        };
        let (id, size) = (EventId::from_bytes(*id), u32::from_be_bytes(*size));
        Some(Self { id, size, source, owes, event_type })
    }

    /// The event of this entry with that content.
    pub(crate) fn event(
        self,
        owner: Owner,
        workspace: WorkspaceId,
        content: Vec<u8>,
    ) -> Result<Event, StoreError> {
        let (headers, payload) = split(content)?;
        Ok(Event {
            id: self.id,
            workspace,
            endpoint: owner.endpoint(),
            event_type: self.event_type,
            headers,
            source: self.source,
            payload,
        })
    }

    pub(crate) fn summary(self, owner: Owner) -> EventSummary {
        EventSummary {
            id: self.id,
            endpoint: owner.endpoint(),
            event_type: self.event_type,
            source: self.source,
            size: self.size.into(),
        }
    }
}

/// The payload within a content.
pub(crate) fn payload(content: &[u8]) -> Result<&[u8], StoreError> {
    let payload = payload_at(content).and_then(|at| content.get(at..));
    payload.ok_or_else(|| corrupt("the content of an event"))
}

fn split(content: Vec<u8>) -> Result<(KeptHeaders, Bytes), StoreError> {
    let broken = || corrupt("the content of an event");
    let payload_at = payload_at(&content).filter(|at| *at <= content.len()).ok_or_else(broken)?;
    let headers = KeptHeaders::from_lines(&content[4..payload_at]).ok_or_else(broken)?;
    Ok((headers, Bytes::from(content).split_off(payload_at)))
}

fn payload_at(content: &[u8]) -> Option<usize> {
    let (headers, _) = content.split_first_chunk::<4>()?;
    usize::try_from(u32::from_be_bytes(*headers)).ok()?.checked_add(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arguments(event: &NewEvent) -> (Vec<u8>, Vec<u8>) {
        let mut call = ScriptCall(redis::Cmd::new());
        push_entry(&mut call, event);
        push_content(&mut call, event);
        let mut arguments = call.0.args_iter().map(|argument| match argument {
            redis::Arg::Simple(bytes) => bytes.to_vec(),
            other => panic!("{other:?}"),
        });
        (arguments.next().unwrap(), arguments.next().unwrap())
    }

    proptest! {
        #[test]
        fn an_event_comes_back_as_it_was(
            id: [u8; 16],
            payload: Vec<u8>,
            source: Option<IpAddr>,
            event_type in proptest::option::of("[^\\x00-\\x1f\\x7f-\\x9f]{1,64}"),
            headers in prop::collection::vec(("[a-z-]{1,8}", "[ -~]{0,12}"), 0..4),
        ) {
            let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let event = NewEvent {
                source,
                event_type: event_type.map(|text| text.try_into().unwrap()),
                headers: KeptHeaders::from_lines(lines.as_bytes()).unwrap(),
                ..NewEvent::published(EventId::from_bytes(id), WorkspaceId::DEFAULT, payload.into())
            };
            let (entry, content) = arguments(&event);
            prop_assert!(entry.starts_with(&id));
            prop_assert_eq!(super::payload(&content).unwrap(), &event.payload[..]);
            let entry = Entry::parse(&entry).unwrap();
            let owner = Owner::Workspace(WorkspaceId::DEFAULT);
            prop_assert_eq!(entry.event(owner, WorkspaceId::DEFAULT, content).unwrap(), Event::from(event));
        }

        #[test]
        fn no_bytes_make_the_parsers_panic(bytes: Vec<u8>) {
            let _ = Entry::parse(&bytes);
            let _ = payload(&bytes);
            let _ = split(bytes);
        }
    }
}
