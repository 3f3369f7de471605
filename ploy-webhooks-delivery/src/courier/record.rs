//! [`Record`]: what is kept of an attempt to deliver, for people. Nothing secret is in it, and it is
//! bounded.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use ploy_webhooks::Secret;
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};

use super::without;
use crate::client::timings::Timings;
use crate::client::{Answer, FailureClass, NoAnswer};
use crate::excerpt::harmless;
use crate::template::RenderError;

/// How long a record is at most, in bytes of JSON: less than a dispatcher keeps of an error.
const BYTES_MAX: usize = 7 << 10;
/// How much is kept of a body.
const BODY_BYTES_MAX: usize = 1 << 10;
/// How much is kept of the value of a header, and how many there are.
const VALUE_BYTES_MAX: usize = 256;
const HEADERS_MAX: usize = 24;
/// How much is kept of a URL.
const URL_BYTES_MAX: usize = 2 << 10;

/// The headers of an answer that say something of a delivery.
const TELLING: [&str; 12] = [
    "content-type",
    "content-length",
    "date",
    "location",
    "retry-after",
    "server",
    "www-authenticate",
    "x-request-id",
    "request-id",
    "x-amzn-requestid",
    "x-amzn-trace-id",
    "cf-ray",
];

/// What is kept of an attempt to deliver. In JSON, it is the output or the error of the attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Record {
    /// What went wrong, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What went wrong, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<FailureClass>,
    /// Whether nothing was tried, since it could not be at that time.
    #[serde(skip_serializing_if = "is_not")]
    pub held: bool,
    /// Whether the attempt counts among those that its policy allows: not, while the receiver is
    /// known to be down.
    #[serde(skip_serializing_if = "is_not")]
    pub uncounted: bool,
    /// Whether nothing was sent, since it is a draft.
    #[serde(skip_serializing_if = "is_not")]
    pub draft: bool,
    /// What was sent, or would have been.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestRecord>,
    /// What was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<ResponseRecord>,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timings: Option<TimingsRecord>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "that is how serde asks")]
const fn is_not(flag: &bool) -> bool {
    !*flag
}

/// What is kept of a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RequestRecord {
    /// Its method.
    pub method: String,
    /// Where it was sent.
    pub url: String,
    /// Its headers; what is secret is `…`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How many bytes its body had.
    pub body_bytes: u64,
    /// How its body began, where a template has made it; otherwise it was the payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// What is kept of an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ResponseRecord {
    /// Its status.
    pub status: u16,
    /// The headers that say something of a delivery.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How its body began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Whether there was more of it.
    #[serde(skip_serializing_if = "is_not")]
    pub body_is_cut: bool,
    /// The address that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}

/// How long a request took, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TimingsRecord {
    /// To look the name up; not there where the host was an address, or a connection was used again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_ms: Option<f64>,
    /// To connect, TLS included; not there where a connection was used again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<f64>,
    /// From the beginning to the head of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<f64>,
    /// All of it.
    pub total_ms: f64,
}

impl Record {
    /// The record that the output or the error of an attempt is; `None` where it is none, as where
    /// the runner was stopped.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The record as text, cut to what is kept: bodies first, then headers.
    #[must_use]
    pub fn to_text(&self) -> String {
        let shorten: [fn(&mut Self); 4] = [
            |record| record.response.iter_mut().for_each(|response| response.body = None),
            |record| record.request.iter_mut().for_each(|request| request.body = None),
            |record| {
                record.request.iter_mut().for_each(|request| request.headers.clear());
                record.response.iter_mut().for_each(|response| response.headers.clear());
            },
            |record| record.request = None,
        ];
        let mut record = self.clone();
        let mut text = record.written();
        for shorten in shorten {
            if text.len() <= BYTES_MAX {
                break;
            }
            shorten(&mut record);
            text = record.written();
        }
        text
    }

    fn written(&self) -> String {
        serde_json::to_string(self).expect("a record has string keys only")
    }

    /// Nothing was tried, for this reason.
    pub(crate) fn held(reason: impl Into<String>) -> Self {
        Self { error: Some(reason.into()), held: true, uncounted: true, ..Self::default() }
    }

    /// Nothing was sent, and will not be, for this reason.
    pub(crate) fn refused(class: FailureClass, reason: impl Into<String>) -> Self {
        Self { error: Some(reason.into()), class: Some(class), ..Self::default() }
    }

    pub(super) fn of_template(error: &RenderError) -> Self {
        Self::refused(FailureClass::Template, error.to_string())
    }

    pub(super) fn of_draft(request: RequestRecord) -> Self {
        Self { draft: true, request: Some(request), ..Self::default() }
    }

    pub(super) fn of_answer(
        request: RequestRecord,
        answer: &Answer,
        error: Option<String>,
        secrets: &[Secret],
    ) -> Self {
        Self {
            class: error.is_some().then_some(FailureClass::Status),
            error,
            request: Some(request),
            response: Some(ResponseRecord::of(answer, secrets)),
            timings: Some(answer.timings.into()),
            ..Self::default()
        }
    }

    pub(super) fn of_silence(request: RequestRecord, none: NoAnswer) -> Self {
        Self {
            error: Some(none.message),
            class: Some(none.class),
            request: Some(request),
            timings: Some(none.timings.into()),
            ..Self::default()
        }
    }

    /// What came of it, without anything that was said on either side.
    pub(super) fn in_outline(self) -> Self {
        let response = self.response.map(|response| ResponseRecord {
            status: response.status,
            peer: response.peer,
            ..ResponseRecord::default()
        });
        let error = match (&response, self.error) {
            (Some(response), Some(_)) => Some(format!("the receiver answered {}", response.status)),
            (_, error) => error,
        };
        Self { error, response, request: None, ..self }
    }
}

impl RequestRecord {
    pub(super) fn of(
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        body_bytes: usize,
        body: Option<&Bytes>,
    ) -> Self {
        Self {
            method: method.to_string(),
            url: beginning(url.as_str().as_bytes(), URL_BYTES_MAX),
            headers: shown(headers, &[], |_| true),
            body_bytes: body_bytes as u64,
            body: body.map(|body| beginning(body, BODY_BYTES_MAX)),
        }
    }
}

impl ResponseRecord {
    fn of(answer: &Answer, secrets: &[Secret]) -> Self {
        let is_empty = answer.body.is_empty();
        Self {
            status: answer.status.as_u16(),
            headers: shown(&answer.headers, secrets, |name| TELLING.contains(&name)),
            body: (!is_empty).then(|| beginning(&answer.body, BODY_BYTES_MAX)),
            body_is_cut: answer.is_cut || answer.body.len() > BODY_BYTES_MAX,
            peer: answer.peer.map(|peer| peer.to_string()),
        }
    }
}

impl From<Timings> for TimingsRecord {
    fn from(timings: Timings) -> Self {
        let millis = |time: Duration| time.as_micros() as f64 / 1_000.0;
        Self {
            dns_ms: timings.dns.map(millis),
            connect_ms: timings.connect.map(millis),
            first_byte_ms: timings.first_byte.map(millis),
            total_ms: millis(timings.total),
        }
    }
}

fn shown(
    headers: &HeaderMap,
    secrets: &[Secret],
    is_shown: impl Fn(&str) -> bool,
) -> BTreeMap<String, String> {
    let shown = headers.iter().filter(|(name, _)| is_shown(name.as_str())).take(HEADERS_MAX);
    shown
        .map(|(name, value)| {
            let value = match value.is_sensitive() {
                true => "…".to_owned(),
                false => beginning(&without(value.as_bytes(), secrets), VALUE_BYTES_MAX),
            };
            (name.as_str().to_owned(), value)
        })
        .collect()
}

/// How a text begins, made harmless.
fn beginning(bytes: &[u8], bytes_max: usize) -> String {
    let kept = &bytes[..bytes.len().min(bytes_max)];
    let mut text = harmless(&String::from_utf8_lossy(kept));
    if kept.len() < bytes.len() {
        text.push('…');
    }
    text
}
