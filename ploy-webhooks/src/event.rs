//! An event: one accepted request, which never changes.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::endpoint::Revision;
use crate::id::{EndpointId, EventId, WorkspaceId};
use crate::limits::Quota;
use crate::run::{Lane, NewRun};

/// An event on its way into a store.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "whoever publishes an event builds it from its parts"
)]
pub struct NewEvent {
    /// Its name; its time is when it was received.
    pub id: EventId,
    /// The tenant.
    pub workspace: WorkspaceId,
    /// The body, byte for byte.
    pub payload: Bytes,
    /// Its type, where one is configured.
    pub event_type: Option<EventType>,
    /// The headers that are kept.
    pub headers: KeptHeaders,
    /// Who sent it, where that is known.
    pub source: Option<IpAddr>,
    /// The endpoint that took it and the state in which it was checked; `None` for an event
    /// that the app publishes itself.
    pub fence: Option<Fence>,
    /// By what its repeats are recognised.
    pub dedup: Option<Dedup>,
    /// Of how many events of its endpoint it may be one.
    pub quota: Option<Quota>,
    /// The runs that it owes, stored with it or not at all.
    pub owes: Vec<NewRun>,
}

impl NewEvent {
    /// An event that the app publishes itself: no endpoint, no deduplication, no runs.
    #[must_use]
    pub fn published(id: EventId, workspace: WorkspaceId, payload: Bytes) -> Self {
        Self {
            id,
            workspace,
            payload,
            event_type: None,
            headers: KeptHeaders::default(),
            source: None,
            fence: None,
            dedup: None,
            quota: None,
            owes: Vec::new(),
        }
    }

    /// The lane in which its runs are carried out, but for deliveries.
    #[must_use]
    pub fn lane(&self) -> Lane {
        match self.fence {
            Some(fence) => Lane::Endpoint(fence.endpoint),
            None => Lane::Workspace(self.workspace),
        }
    }
}

/// The endpoint state that an event was checked against. A store refuses the event when the
/// endpoint is no longer in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "whoever appends an event builds it from its parts")]
pub struct Fence {
    /// The endpoint that took the event.
    pub endpoint: EndpointId,
    /// Its revision when the event was checked.
    pub checked_at: Revision,
}

/// By what the repeats of an event are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "whoever appends an event builds it from its parts")]
pub struct Dedup {
    /// The same for every repeat, and for nothing else.
    pub key: DedupKey,
    /// How long after the first one a repeat is still one, by the store's clock.
    pub window: Duration,
}

/// A deduplication key: 32 bytes of a hash over the endpoint and whatever identifies a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DedupKey([u8; 32]);

impl DedupKey {
    /// The key with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "every store builds it from its parts")]
pub struct Event {
    /// Its name; its time is when it was received.
    pub id: EventId,
    /// The tenant.
    pub workspace: WorkspaceId,
    /// The endpoint that took it; `None` when the app published it.
    pub endpoint: Option<EndpointId>,
    /// Its type, where one was configured.
    pub event_type: Option<EventType>,
    /// The headers that were kept.
    pub headers: KeptHeaders,
    /// Who sent it, where that was known.
    pub source: Option<IpAddr>,
    /// The body, byte for byte.
    pub payload: Bytes,
}

impl Event {
    /// The lane in which its runs are carried out, but for deliveries.
    #[must_use]
    pub fn lane(&self) -> Lane {
        self.endpoint.map_or(Lane::Workspace(self.workspace), Lane::Endpoint)
    }

    /// When the event was received.
    #[must_use]
    pub fn received_at(&self) -> Timestamp {
        self.id.timestamp()
    }
}

/// An event without what makes it large.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "every store builds it from its parts")]
pub struct EventSummary {
    /// Its name; its time is when it was received.
    pub id: EventId,
    /// The endpoint that took it; `None` when the app published it.
    pub endpoint: Option<EndpointId>,
    /// Its type, where one was configured.
    pub event_type: Option<EventType>,
    /// Who sent it, where that was known.
    pub source: Option<IpAddr>,
    /// The size of the payload in bytes.
    pub size: u64,
}

impl EventSummary {
    /// When the event was received.
    #[must_use]
    pub fn received_at(&self) -> Timestamp {
        self.id.timestamp()
    }
}

impl From<NewEvent> for Event {
    fn from(event: NewEvent) -> Self {
        Self {
            id: event.id,
            workspace: event.workspace,
            endpoint: event.fence.map(|fence| fence.endpoint),
            event_type: event.event_type,
            headers: event.headers,
            source: event.source,
            payload: event.payload,
        }
    }
}

impl From<&Event> for EventSummary {
    fn from(event: &Event) -> Self {
        Self {
            id: event.id,
            endpoint: event.endpoint,
            event_type: event.event_type.clone(),
            source: event.source,
            size: event.payload.len() as u64,
        }
    }
}

impl From<&NewEvent> for EventSummary {
    fn from(event: &NewEvent) -> Self {
        Self {
            id: event.id,
            endpoint: event.fence.map(|fence| fence.endpoint),
            event_type: event.event_type.clone(),
            source: event.source,
            size: event.payload.len() as u64,
        }
    }
}

/// The type of an event, such as `invoice.paid`: 1 to 256 bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventType(Box<str>);

/// A text that is not an event type.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not an event type: expected 1 to 256 bytes without control characters")]
pub struct ParseEventTypeError;

impl EventType {
    /// The type as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for EventType {
    type Error = ParseEventTypeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.is_empty() || text.len() > 256 || text.contains(char::is_control) {
            return Err(ParseEventTypeError);
        }
        Ok(Self(text.into()))
    }
}

impl From<EventType> for String {
    fn from(event_type: EventType) -> Self {
        event_type.0.into()
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The headers of a request that are kept with its event: those on a list, never a secret.
///
/// Held as HTTP/1.1 writes them (RFC 9112 §5), a line each: one small allocation, which keeps
/// nothing else of the request alive, and what a store writes down as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptHeaders(Box<[u8]>);

impl KeptHeaders {
    /// The headers of a request whose names are on the list.
    pub(crate) fn select(headers: &HeaderMap, kept: &[HeaderName]) -> Self {
        let mut lines = Vec::new();
        for (name, value) in headers {
            if kept.contains(name) {
                lines.reserve(name.as_str().len() + value.len() + b": \r\n".len());
                lines.extend_from_slice(name.as_str().as_bytes());
                lines.extend_from_slice(b": ");
                lines.extend_from_slice(value.as_bytes());
                lines.extend_from_slice(b"\r\n");
            }
        }
        Self(lines.into())
    }

    /// The headers, each name with its value, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.split_inclusive(|&byte| byte == b'\n').filter_map(header_line)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lines, for a store to keep.
    #[must_use]
    pub const fn as_lines(&self) -> &[u8] {
        &self.0
    }

    /// The headers that a store has kept; `None` where the bytes are not such lines.
    #[must_use]
    pub fn from_lines(lines: &[u8]) -> Option<Self> {
        let are_lines =
            lines.split_inclusive(|&byte| byte == b'\n').all(|line| header_line(line).is_some());
        are_lines.then(|| Self(lines.into()))
    }
}

/// The name and the value of one line with its end.
fn header_line(line: &[u8]) -> Option<(&str, &[u8])> {
    let line = line.strip_suffix(b"\r\n")?;
    let colon = line.iter().position(|&byte| byte == b':')?;
    let name = std::str::from_utf8(&line[..colon]).ok()?;
    Some((name, line[colon..].strip_prefix(b": ")?))
}

/// Whether the header is one that carries a secret: never kept, shown or keyed by.
pub(crate) fn holds_a_secret(name: &HeaderName) -> bool {
    use http::header;
    [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE, header::SET_COOKIE]
        .contains(name)
        || ["signature", "secret", "token", "api-key", "apikey", "password"]
            .iter()
            .any(|word| name.as_str().contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    #[test]
    fn only_listed_headers_are_kept_every_value_of_them() {
        let mut headers = HeaderMap::new();
        headers.append("user-agent", HeaderValue::from_static("one"));
        headers.append("user-agent", HeaderValue::from_static("two"));
        headers.append("x-other", HeaderValue::from_static("three"));
        let kept = KeptHeaders::select(&headers, &[http::header::USER_AGENT]);
        let kept: Vec<_> = kept.iter().collect();
        assert_eq!(kept, [("user-agent", &b"one"[..]), ("user-agent", b"two")]);
    }

    #[test]
    fn names_that_carry_secrets_are_known() {
        for name in ["authorization", "cookie", "x-hub-signature-256", "x-gitlab-token"] {
            assert!(holds_a_secret(&HeaderName::from_static(name)), "{name}");
        }
        assert!(!holds_a_secret(&HeaderName::from_static("user-agent")));
    }

    proptest! {
        #[test]
        fn lines_keep_every_header(
            headers in prop::collection::vec(("[a-z-]{1,8}", "[ -~\u{80}-\u{ff}]{0,12}"), 0..4),
        ) {
            let mut sent = HeaderMap::new();
            for (name, value) in &headers {
                sent.append(name.parse::<HeaderName>().unwrap(), value.trim().parse().unwrap());
            }
            let names: Vec<_> = sent.keys().cloned().collect();
            let kept = KeptHeaders::select(&sent, &names);
            let back = sent.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
            prop_assert!(kept.iter().eq(back));
            prop_assert_eq!(KeptHeaders::from_lines(kept.as_lines()), Some(kept));
        }

        #[test]
        fn no_bytes_make_the_parser_panic(lines: Vec<u8>) {
            let _ = KeptHeaders::from_lines(&lines);
        }
    }
}
