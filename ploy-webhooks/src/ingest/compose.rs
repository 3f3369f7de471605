//! What an accepted request becomes: the event, by what its repeats are known, what it owes.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};

use super::known::Known;
use super::pipeline::Sender;
use crate::clock::Timestamp;
use crate::endpoint::{DedupBy, DedupRule, Endpoint};
use crate::event::{Dedup, DedupKey, EventType, Fence, KeptHeaders, NewEvent};
use crate::id::EventId;
use crate::pointer;
use crate::verify::{Presented, Signed, Verifier};

/// The endpoint wants a deduplication key, and the request has none. The payload is handed back.
#[derive(Debug)]
pub(super) struct KeyMissing(pub(super) Bytes);

/// What was signed, for endpoints that take it once.
#[derive(Debug)]
pub(super) struct WhatIsSigned<'a> {
    pub(super) verifier: &'a Verifier,
    pub(super) presented: Presented<'a>,
    pub(super) url: String,
    /// For how long it is remembered.
    pub(super) window: Duration,
}

/// The event that a checked request is, by the endpoint state it was checked against. `signed` is
/// what was signed, where that is taken once.
pub(super) fn event(
    endpoint: &Known,
    sender: &Sender<'_>,
    signed: Option<WhatIsSigned<'_>>,
    kept_headers: &[HeaderName],
    payload: Bytes,
    now: Timestamp,
) -> Result<NewEvent, KeyMissing> {
    let source = endpoint.event_type();
    let event_type = source.and_then(|source| source.read(sender.headers, &payload));
    let event_type = event_type.and_then(|text| EventType::try_from(text).ok());
    let by_rule = endpoint.dedup.as_ref().and_then(|rule| {
        let key = key(rule, endpoint, sender.headers, &payload)?;
        Some((rule, key))
    });
    if by_rule.is_none() && endpoint.dedup.as_ref().is_some_and(|rule| rule.required) {
        return Err(KeyMissing(payload));
    }
    let dedup = dedup(endpoint, by_rule, signed, &payload);
    let owes = endpoint.wiring.owes(event_type.as_ref(), now);
    Ok(NewEvent {
        id: EventId::mint(now),
        workspace: endpoint.workspace,
        event_type,
        headers: headers(endpoint, sender.headers, kept_headers),
        source: sender.source,
        fence: Some(Fence { endpoint: endpoint.id, checked_at: endpoint.revision }),
        dedup,
        quota: endpoint.config.limits.quota,
        owes,
        payload,
    })
}

/// The headers that are kept: never the one that a signature is in.
fn headers(endpoint: &Known, sent: &HeaderMap, kept: &[HeaderName]) -> KeptHeaders {
    let signature = endpoint.scheme().map(|scheme| &scheme.header);
    match signature.filter(|name| kept.contains(name)) {
        None => KeptHeaders::select(sent, kept),
        Some(signature) => {
            let harmless: Vec<_> = kept.iter().filter(|name| *name != signature).cloned().collect();
            KeptHeaders::select(sent, &harmless)
        }
    }
}

/// By what its repeats are known. What is taken once is known by what was signed, unless the rule
/// goes by something that was signed too: a repeat of the one is then a repeat of the other.
fn dedup(
    endpoint: &Known,
    by_rule: Option<(&DedupRule, DedupKey)>,
    signed: Option<WhatIsSigned<'_>>,
    payload: &[u8],
) -> Option<Dedup> {
    match (by_rule, signed) {
        (Some((rule, key)), None) => Some(Dedup { key, window: rule.window }),
        (Some((rule, key)), Some(signed)) if is_signed(&rule.by, endpoint) => {
            Some(Dedup { key, window: rule.window.max(signed.window) })
        }
        (_, Some(signed)) => {
            Some(Dedup { key: signed.key(endpoint, payload), window: signed.window })
        }
        (None, None) => None,
    }
}

fn is_signed(by: &DedupBy, endpoint: &Known) -> bool {
    match by {
        DedupBy::Header(name) => endpoint.scheme().is_some_and(|scheme| scheme.signs_header(name)),
        DedupBy::Pointers(_) | DedupBy::Body | DedupBy::Nothing => true,
    }
}

fn key(
    rule: &DedupRule,
    endpoint: &Endpoint,
    headers: &HeaderMap,
    payload: &[u8],
) -> Option<DedupKey> {
    match &rule.by {
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
        DedupBy::Nothing => None,
    }
}

impl WhatIsSigned<'_> {
    /// Its key: the same however the signature is written and whichever secret it was made with,
    /// and no other key.
    fn key(&self, endpoint: &Endpoint, payload: &[u8]) -> DedupKey {
        let mut hash = Sha256::new();
        hash.update(endpoint.id.as_bytes());
        hash.update(b"signed");
        let signed = Signed { method: "POST", url: &self.url, body: payload };
        self.verifier.signed_content(&self.presented, &signed, |piece| hash.update(piece));
        DedupKey::from_bytes(hash.finalize().into())
    }
}

/// A payload that was found to be JSON.
pub(super) fn text(payload: &[u8]) -> &str {
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
