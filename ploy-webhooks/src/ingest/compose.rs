//! What an accepted request becomes: the event, by what its repeats are known, what it owes.

use bytes::Bytes;
use http::HeaderMap;
use sha2::{Digest, Sha256};

use super::cache::Known;
use super::service::Sender;
use crate::clock::Timestamp;
use crate::endpoint::{DedupBy, DedupRule, Endpoint};
use crate::event::{Dedup, DedupKey, EventType, Fence, KeptHeaders, NewEvent};
use crate::id::EventId;
use crate::pointer;
use crate::value_source::ValueSource;

/// The endpoint wants a deduplication key, and the request has none. The payload is handed back.
#[derive(Debug)]
pub(super) struct KeyMissing(pub(super) Bytes);

/// The event that a checked request is, by the endpoint state it was checked against.
pub(super) fn event(
    endpoint: &Known,
    sender: &Sender<'_>,
    kept_headers: &[http::HeaderName],
    payload: Bytes,
    now: Timestamp,
) -> Result<NewEvent, KeyMissing> {
    let source = endpoint.config.event_type.as_ref();
    let event_type = source.and_then(|source| event_type(source, sender.headers, &payload));
    let rule = endpoint.config.dedup.as_ref();
    let dedup = rule.and_then(|rule| dedup(rule, endpoint, sender.headers, &payload));
    if dedup.is_none() && rule.is_some_and(|rule| rule.required) {
        return Err(KeyMissing(payload));
    }
    let owes = endpoint.wiring.owes(event_type.as_ref(), now);
    Ok(NewEvent {
        id: EventId::mint(now),
        workspace: endpoint.workspace,
        event_type,
        headers: KeptHeaders::select(sender.headers, kept_headers),
        source: sender.source,
        fence: Some(Fence { endpoint: endpoint.id, checked_at: endpoint.revision }),
        dedup,
        quota: endpoint.config.limits.quota,
        owes,
        payload,
    })
}

fn event_type(from: &ValueSource, headers: &HeaderMap, payload: &[u8]) -> Option<EventType> {
    let text = match from {
        ValueSource::Header(name) => headers.get(name)?.to_str().ok()?.to_owned(),
        ValueSource::Pointer(path) => pointer::string(path.follow(text(payload))?)?,
    };
    EventType::try_from(text).ok()
}

fn dedup(
    rule: &DedupRule,
    endpoint: &Endpoint,
    headers: &HeaderMap,
    payload: &[u8],
) -> Option<Dedup> {
    let key = match &rule.by {
        // An empty value tells no delivery from another.
        DedupBy::Header(name) => headers
            .get(name)
            .filter(|value| !value.is_empty())
            .map(|value| hash([value.as_bytes()], endpoint)),
        DedupBy::Pointers(paths) => {
            let payload = text(payload);
            let values: Option<Vec<_>> = paths.iter().map(|path| value(path, payload)).collect();
            values.map(|values| hash(values.iter().map(String::as_bytes), endpoint))
        }
        DedupBy::Body => Some(hash([payload], endpoint)),
    };
    key.map(|key| Dedup { key, window: rule.window })
}

fn text(payload: &[u8]) -> &str {
    std::str::from_utf8(payload).expect("the JSON check has found text")
}

/// A value as a part of a key: a string by what it says, however it is escaped; anything else
/// as it is written, led by a character that no string's part begins with.
fn value(path: &pointer::JsonPointer, payload: &str) -> Option<String> {
    let written = path.follow(payload)?;
    Some(match pointer::string(written) {
        Some(text) => format!("\"{text}"),
        None => format!("={written}"),
    })
}

fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>, endpoint: &Endpoint) -> DedupKey {
    let mut hash = Sha256::new();
    hash.update(endpoint.id.as_bytes());
    for part in parts {
        // The length keeps `ab` + `c` apart from `a` + `bc`.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    DedupKey::from_bytes(hash.finalize().into())
}
