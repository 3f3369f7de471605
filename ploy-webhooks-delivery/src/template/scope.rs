//! [`Merge`]: what merge fields see of an event.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use jiff::Timestamp as Time;
use minijinja::Value;
use ploy_webhooks::{Event, Fields, Timestamp};
use serde::{Deserialize, Serialize};

use super::error::RenderError;
use super::path::{Path, Root};
use super::tree::{self, Members};
use super::work::Work;

/// What a field does that the payload does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "there is a text to fill in, or there is none")]
pub enum Missing {
    /// Nothing is sent, and the error names the field.
    #[default]
    Fail,
    /// It is an empty text, or `null` where it is all of a JSON string.
    Empty,
}

/// What a [`Merge`] is made of.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "whoever delivers names the parts")]
pub struct MergeParts<'a> {
    /// The event.
    pub event: &'a Event,
    /// What its endpoint names in it.
    pub fields: &'a Fields,
    /// The delivery that it is sent by.
    pub delivery_id: &'a str,
    /// Counts the attempts of the delivery, from 1.
    pub attempt: NonZeroU32,
    /// What a field does that is not there.
    pub missing: Missing,
}

/// What merge fields see: made once for each attempt, for all of its templates.
///
/// The payload is read when the first field asks for it, and then once.
#[derive(Clone, Debug)]
pub struct Merge {
    pub(super) scope: Arc<Scope>,
}

impl Merge {
    /// What merge fields see of that event.
    #[must_use]
    pub fn new(parts: MergeParts<'_>) -> Self {
        let MergeParts { event, fields, delivery_id, attempt, missing } = parts;
        let scope = Scope {
            event: Event { payload: Bytes::new(), ..event.clone() },
            delivery_id: delivery_id.into(),
            attempt,
            missing,
            fields_json: if fields.is_empty() { "{}".to_owned() } else { fields.to_json() },
            payload_json: event.payload.clone(),
            work: Arc::new(Work::new()),
            read: Read::default(),
        };
        Self { scope: Arc::new(scope) }
    }
}

/// What is behind a [`Merge`]: shared with the engine, whose values outlive every borrow.
pub(super) struct Scope {
    /// Without its payload.
    event: Event,
    delivery_id: Box<str>,
    attempt: NonZeroU32,
    pub(super) missing: Missing,
    fields_json: String,
    payload_json: Bytes,
    pub(super) work: Arc<Work>,
    read: Read,
}

/// What was asked for already.
#[derive(Default)]
struct Read {
    event: OnceLock<Value>,
    delivery: OnceLock<Value>,
    fields: OnceLock<Option<Value>>,
    payload: OnceLock<Option<Value>>,
}

/// Without the payload, and what is named in it.
impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("event", &self.event.id)
            .field("delivery", &self.delivery_id)
            .field("attempt", &self.attempt)
            .field("missing", &self.missing)
            .finish_non_exhaustive()
    }
}

impl Scope {
    /// What a path leads to.
    pub(super) fn find(&self, path: &Path) -> Result<Option<&Value>, RenderError> {
        Ok(path.follow(self.root(path.root)?))
    }

    /// What paths begin at.
    pub(super) fn root(&self, root: Root) -> Result<&Value, RenderError> {
        let read = |json: &[u8]| tree::read(json, &self.work).ok();
        match root {
            Root::Event => Ok(self.read.event.get_or_init(|| self.event())),
            Root::Delivery => Ok(self.read.delivery.get_or_init(|| self.delivery())),
            Root::Fields => {
                let fields = self.read.fields.get_or_init(|| read(self.fields_json.as_bytes()));
                fields.as_ref().ok_or(RenderError::NotJson { what: "fields" })
            }
            Root::Payload => {
                let payload = self.read.payload.get_or_init(|| read(&self.payload_json));
                payload.as_ref().ok_or(RenderError::NotJson { what: "payload" })
            }
        }
    }

    fn event(&self) -> Value {
        let Event { id, workspace, endpoint, event_type, .. } = &self.event;
        let endpoint = endpoint.map(|endpoint| endpoint.to_string());
        let values = [
            Value::from(id.to_string()),
            event_type.as_ref().map_or(Value::from(()), |name| Value::from(name.as_str())),
            Value::from(rfc3339(self.event.received_at())),
            endpoint.map_or(Value::from(()), Value::from),
            Value::from(workspace.to_string()),
        ];
        self.members(Members::EVENT.into_iter().zip(values))
    }

    fn delivery(&self) -> Value {
        let values = [Value::from(&*self.delivery_id), Value::from(self.attempt.get())];
        self.members(Members::DELIVERY.into_iter().zip(values))
    }

    fn members(&self, members: impl Iterator<Item = (&'static str, Value)>) -> Value {
        let entries = members.map(|(name, value)| (name.into(), value)).collect();
        Members::value(entries, &self.work)
    }
}

/// UTC, milliseconds, as everywhere in what is sent.
fn rfc3339(time: Timestamp) -> String {
    // Ids reach to the year 10889, RFC 3339 to 9999.
    let time = i64::try_from(time.as_millis())
        .ok()
        .and_then(|millis| Time::from_millisecond(millis).ok())
        .unwrap_or(Time::MAX);
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
