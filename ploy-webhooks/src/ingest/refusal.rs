//! Why a request was refused: one variant a row of the contract.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;
use thiserror::Error;

use super::response::ResponseBody;
use crate::auth::SignatureAuthError;
use crate::store::{StoreError, StoreErrorKind};
use crate::verify::SignatureFault;

/// Why a request was refused. Nothing of it was stored, but for the one case that
/// [`Outage::is_indeterminate`] tells.
///
/// `Display` is the `detail` of the answer: what is wrong and what to do, without a byte of what
/// was sent.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// 405
    #[error("only POST is accepted here")]
    MethodNotAllowed,
    /// 415
    #[error("{0}; send `Content-Type: application/json`")]
    UnsupportedMediaType(MediaTypeFault),
    /// 415
    #[error("the body is encoded; send it without Content-Encoding")]
    UnsupportedEncoding,
    /// 413
    #[error("the body is larger than {limit} bytes; send less, or one event a request")]
    PayloadTooLarge {
        /// The largest body that is accepted, in bytes.
        limit: u64,
    },
    /// 404
    #[error("there is no endpoint at this address; compare it with the one the endpoint shows")]
    EndpointNotFound,
    /// 403
    #[error("the endpoint does not take events from this address")]
    AddressNotAllowed,
    /// 401
    #[error("{0}; send `Authorization: Bearer <key>` with the key of this endpoint")]
    Unauthorized(CredentialFault),
    /// 401
    #[error("{fault}; sign what is sent as the endpoint's scheme says, in `{header}`")]
    InvalidSignature {
        /// What is wrong with it.
        fault: SignatureFault,
        /// The header that it is looked for in.
        header: HeaderName,
    },
    /// 401
    #[error(
        "the timestamp of the signature is more than {} s from the present; set the clock, and \
         sign anew whenever something is sent again",
        tolerance.as_secs()
    )]
    StaleTimestamp {
        /// How far it may be.
        tolerance: Duration,
    },
    /// 403
    #[error("the endpoint is paused; send again when it is resumed")]
    EndpointPaused,
    /// 429
    #[error("more events than the endpoint takes; send again after the time in Retry-After")]
    RateLimited {
        /// When one more would be taken.
        retry_after: Duration,
    },
    /// 429
    #[error("the endpoint has taken as many events as its quota allows; {}", quota_advice(*.resets_in))]
    QuotaExceeded {
        /// When it begins anew; `None` is never.
        resets_in: Option<Duration>,
    },
    /// 408
    #[error("the body did not arrive within {} ms; send it again, faster", allowed.as_millis())]
    RequestTimeout {
        /// How long the body was waited for.
        allowed: Duration,
    },
    /// 400
    #[error("the body ended before it was complete; send it again")]
    BodyInterrupted,
    /// 400
    #[error("the body is not {expected}: see line {line}, column {column}")]
    InvalidJson {
        /// What it should have been.
        expected: Expected,
        /// The line of the fault, from 1.
        line: usize,
        /// The column of the fault in bytes, from 1.
        column: usize,
    },
    /// 400
    #[error(
        "the body is JSON but not an object: see line {line}, column {column}; wrap it in {{…}}"
    )]
    NotAnObject {
        /// The line where the value begins, from 1.
        line: usize,
        /// The column where the value begins in bytes, from 1.
        column: usize,
    },
    /// 400
    #[error("the endpoint takes only events with a deduplication key, and this one has none")]
    DedupKeyMissing,
    /// 503
    #[error("{outage}; send again after the time in Retry-After")]
    Unavailable {
        /// What is down.
        outage: Outage,
        /// When to try again.
        retry_after: Duration,
    },
}

/// What is wrong with a `Content-Type`.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the ways to be wrong are all here")]
pub enum MediaTypeFault {
    /// There is none.
    #[error("Content-Type is missing")]
    Missing,
    /// There are several.
    #[error("Content-Type is given more than once")]
    Repeated,
    /// It is not a media type (RFC 9110 §8.3.1).
    #[error("Content-Type is malformed")]
    Malformed,
    /// It is another media type.
    #[error("Content-Type is another than application/json")]
    Other,
    /// Its charset is not utf-8.
    #[error("the charset is another than utf-8")]
    Charset,
}

/// What is wrong with an `Authorization`.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the ways to be wrong are all here")]
pub enum CredentialFault {
    /// There is none.
    #[error("Authorization is missing")]
    Missing,
    /// There are several.
    #[error("Authorization is given more than once")]
    Repeated,
    /// The scheme is not `Bearer`.
    #[error("Authorization has another scheme than Bearer")]
    Scheme,
    /// Not one space between scheme and key, or white space in or after the key.
    #[error("Authorization must have a single space between Bearer and the key, and no other")]
    Spacing,
    /// The key stands in quotes.
    #[error("the key must not stand in quotes")]
    Quoted,
    /// There is no key.
    #[error("the key is empty")]
    Empty,
    /// The key opens nothing here: wrong, expired, or another endpoint's.
    #[error("the key is not valid here")]
    Wrong,
}

/// What a body should have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "text and JSON are the two checks")]
pub enum Expected {
    /// UTF-8, RFC 8259 §8.1.
    Utf8,
    /// JSON, RFC 8259.
    Json,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Utf8 => "UTF-8",
            Self::Json => "well-formed JSON",
        })
    }
}

/// What is down.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Outage {
    /// The budget for bodies is used up.
    #[error("too many bodies are on their way in")]
    BodiesInFlight,
    /// The store failed. The error is for the operator's log, not for the sender.
    #[error("the event could not be stored")]
    Store(#[source] Arc<StoreError>),
    /// The store did not answer in time.
    #[error("the store took too long")]
    StoreTooSlow,
    /// The endpoint's senders sign, and nobody gave this process what opens their secrets.
    #[error("signatures cannot be verified here")]
    NoKeyring,
    /// The endpoint's senders sign the URL, and nobody told this process which one they know.
    #[error("signatures over a URL cannot be verified here")]
    NoPublicUrl,
    /// The endpoint's secrets cannot be used. The error is for the operator's log, not for the
    /// sender.
    #[error("signatures cannot be verified here")]
    Secrets(#[source] SignatureAuthError),
    /// The endpoint changed again and again while the event was being stored.
    #[error("the endpoint is being changed")]
    EndpointChanging,
}

impl Outage {
    /// Whether the event may have been stored all the same: the one case that no protocol can
    /// decide, and that a deduplication key makes harmless.
    #[must_use]
    pub fn is_indeterminate(&self) -> bool {
        match self {
            Self::Store(error) => error.kind() == StoreErrorKind::Indeterminate,
            Self::StoreTooSlow => true,
            Self::BodiesInFlight
            | Self::EndpointChanging
            | Self::NoKeyring
            | Self::NoPublicUrl
            | Self::Secrets(_) => false,
        }
    }
}

impl Refusal {
    /// Every [code](Self::code) that there is, in the order of the alphabet: for figures, which
    /// want to know all that can come.
    pub const CODES: [&str; 16] = [
        "address_not_allowed",
        "deduplication_key_missing",
        "endpoint_not_found",
        "endpoint_paused",
        "invalid_json",
        "invalid_signature",
        "method_not_allowed",
        "not_an_object",
        "payload_too_large",
        "quota_exceeded",
        "rate_limited",
        "request_timeout",
        "stale_timestamp",
        "unauthorized",
        "unavailable",
        "unsupported_media_type",
    ];

    /// The codes of what is counted for an endpoint: what its senders do wrong, not what fails
    /// here.
    pub(super) const COUNTED: [&str; 12] = [
        "address_not_allowed",
        "deduplication_key_missing",
        "endpoint_paused",
        "invalid_json",
        "invalid_signature",
        "not_an_object",
        "payload_too_large",
        "quota_exceeded",
        "rate_limited",
        "request_timeout",
        "stale_timestamp",
        "unauthorized",
    ];

    /// The status of the answer.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::BodyInterrupted
            | Self::InvalidJson { .. }
            | Self::NotAnObject { .. }
            | Self::DedupKeyMissing => StatusCode::BAD_REQUEST,
            Self::Unauthorized(_) | Self::InvalidSignature { .. } | Self::StaleTimestamp { .. } => {
                StatusCode::UNAUTHORIZED
            }
            Self::AddressNotAllowed | Self::EndpointPaused => StatusCode::FORBIDDEN,
            Self::EndpointNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::PayloadTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType(_) | Self::UnsupportedEncoding => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            Self::RateLimited { .. } | Self::QuotaExceeded { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The stable name of the refusal, for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::MethodNotAllowed => "method_not_allowed",
            Self::UnsupportedMediaType(_) | Self::UnsupportedEncoding => "unsupported_media_type",
            Self::PayloadTooLarge { .. } => "payload_too_large",
            Self::EndpointNotFound => "endpoint_not_found",
            Self::AddressNotAllowed => "address_not_allowed",
            Self::Unauthorized(_) => "unauthorized",
            Self::InvalidSignature { .. } => "invalid_signature",
            Self::StaleTimestamp { .. } => "stale_timestamp",
            Self::EndpointPaused => "endpoint_paused",
            Self::RateLimited { .. } => "rate_limited",
            Self::QuotaExceeded { .. } => "quota_exceeded",
            Self::RequestTimeout { .. } => "request_timeout",
            Self::BodyInterrupted | Self::InvalidJson { .. } => "invalid_json",
            Self::NotAnObject { .. } => "not_an_object",
            Self::DedupKeyMissing => "deduplication_key_missing",
            Self::Unavailable { .. } => "unavailable",
        }
    }

    /// The header that belongs to this refusal alone.
    fn own_header(&self) -> Option<(HeaderName, HeaderValue)> {
        Some(match self {
            Self::MethodNotAllowed => (ALLOW, HeaderValue::from_static("POST")),
            Self::UnsupportedEncoding => (ACCEPT_ENCODING, HeaderValue::from_static("identity")),
            Self::Unauthorized(fault) => (WWW_AUTHENTICATE, challenge(*fault)),
            Self::InvalidSignature { .. } | Self::StaleTimestamp { .. } => {
                (WWW_AUTHENTICATE, HeaderValue::from_static(r#"Signature realm="webhook""#))
            }
            Self::RateLimited { retry_after }
            | Self::QuotaExceeded { resets_in: Some(retry_after) }
            | Self::Unavailable { retry_after, .. } => (RETRY_AFTER, whole_seconds(*retry_after)),
            _ => return None,
        })
    }

    /// Whether the rest of the request is not worth waiting for.
    const fn ends_the_connection(&self) -> bool {
        matches!(self, Self::RequestTimeout { .. } | Self::PayloadTooLarge { .. })
    }

    /// The answer: `application/problem+json` (RFC 9457). The refusal itself is among its
    /// extensions, for a layer that logs it or words it anew.
    pub(super) fn into_response(self, version: http::Version) -> Response<ResponseBody> {
        let status = self.status();
        let problem = Problem {
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: self.to_string(),
            code: self.code(),
        };
        let body = serde_json::to_vec(&problem).expect("four plain fields have a JSON form");
        let mut response = Response::new(ResponseBody::from(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(self.own_header());
        // RFC 9113 §8.2.2: HTTP/2 knows no such header.
        if self.ends_the_connection() && version <= http::Version::HTTP_11 {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

const fn quota_advice(resets_in: Option<Duration>) -> &'static str {
    match resets_in {
        Some(_) => "send again after the time in Retry-After",
        None => "it takes no more until the quota is raised",
    }
}

/// The members of every error answer.
#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    status: u16,
    detail: String,
    code: &'a str,
}

/// RFC 6750 §3: no error attribute where no credential was sent.
const fn challenge(fault: CredentialFault) -> HeaderValue {
    HeaderValue::from_static(match fault {
        CredentialFault::Missing => r#"Bearer realm="webhook""#,
        _ => r#"Bearer realm="webhook", error="invalid_token""#,
    })
}

/// RFC 9110 §10.2.3, rounded up: whoever waits so long has waited long enough.
fn whole_seconds(duration: Duration) -> HeaderValue {
    let round_up = u64::from(duration.subsec_nanos() > 0);
    HeaderValue::from(duration.as_secs().saturating_add(round_up).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_rounded_up_to_a_whole_second() {
        for (millis, seconds) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (59_999, "60")] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
    }
}
