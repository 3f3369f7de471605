//! The request that an event makes at a destination.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use ploy_webhooks::verify::Signed;
use ploy_webhooks::{Timestamp, ValueSource};
use reqwest::{Method, Url};

use super::record::RequestRecord;
use super::{Kind, Parcel, Prepared};
use crate::client::Request;
use crate::destination::{Body, Signing};
use crate::template::{Merge, MergeParts, Missing, RenderError};

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const PLOY_DELIVERY_ID: HeaderName = HeaderName::from_static("ploy-delivery-id");
const PLOY_EVENT_ID: HeaderName = HeaderName::from_static("ploy-event-id");
const PLOY_EVENT_TYPE: HeaderName = HeaderName::from_static("ploy-event-type");
const PLOY_ATTEMPT: HeaderName = HeaderName::from_static("ploy-attempt");
const PLOY_TEST: HeaderName = HeaderName::from_static("ploy-test");

/// How much is read of an answer: what goes on record, and a byte by which to see that there is
/// more. Where a token is waited for, it is looked for in that much.
pub(super) const ANSWER_BYTES_MAX: usize = 16 << 10;

/// A request, and what of it goes on record.
pub(super) struct Composed {
    pub(super) request: Request,
    pub(super) shown: RequestRecord,
}

/// What is sent, and whether a template has made it.
struct Content {
    bytes: Bytes,
    media_type: Option<&'static str>,
    is_made: bool,
}

pub(super) fn compose(
    to: &Prepared,
    parcel: Parcel<'_>,
    now: Timestamp,
) -> Result<Composed, RenderError> {
    let destination = &to.destination;
    let merge = Merge::new(MergeParts {
        event: parcel.event,
        fields: parcel.fields,
        delivery_id: parcel.id,
        attempt: parcel.attempt,
        missing: match parcel.kind {
            Kind::Confirmation | Kind::Example => Missing::Empty,
            Kind::Event | Kind::Test => destination.missing,
        },
    });
    let url = destination.url.render(&merge)?;
    let method = match parcel.kind {
        Kind::Confirmation => Method::POST,
        Kind::Event | Kind::Test | Kind::Example => destination.method.into(),
    };
    let content = content(to, parcel, &merge)?;
    let mut headers = own_headers(parcel);
    name_by_scheme(to, parcel, &mut headers);
    if let Some(media_type) = content.media_type {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
    for (name, header) in &to.headers {
        headers.insert(name, header.render(&merge)?);
    }
    sign(to, parcel.id, now, &method, &url, &content.bytes, &mut headers);

    let made = content.is_made.then_some(&content.bytes);
    let shown = RequestRecord::of(&method, &url, &headers, content.bytes.len(), made);
    let request = Request {
        method,
        url,
        headers,
        body: content.bytes,
        time_limit: destination.time_limit,
        answer_bytes_max: ANSWER_BYTES_MAX,
        refusal_bytes_max: ANSWER_BYTES_MAX,
    };
    Ok(Composed { request, shown })
}

fn content(to: &Prepared, parcel: Parcel<'_>, merge: &Merge) -> Result<Content, RenderError> {
    let payload = || Content {
        bytes: parcel.event.payload.clone(),
        media_type: Some("application/json"),
        is_made: false,
    };
    let destination = &to.destination;
    Ok(match &destination.body {
        _ if parcel.kind == Kind::Confirmation => payload(),
        Body::Payload => payload(),
        Body::ByMethod if destination.method.carries_the_payload() => payload(),
        Body::ByMethod | Body::None => {
            Content { bytes: Bytes::new(), media_type: None, is_made: false }
        }
        Body::Template(template) => {
            let (bytes, media_type) = template.render(merge)?;
            Content { bytes, media_type: Some(media_type), is_made: true }
        }
    })
}

/// What a receiver knows a delivery and its repeats by.
fn own_headers(parcel: Parcel<'_>) -> HeaderMap {
    let ascii = |text: &str| HeaderValue::from_str(text).expect("an id is visible ASCII");
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(PLOY_DELIVERY_ID, ascii(parcel.id));
    headers.insert(WEBHOOK_ID, ascii(parcel.id));
    headers.insert(PLOY_EVENT_ID, ascii(&parcel.event.id.to_string()));
    headers.insert(PLOY_ATTEMPT, parcel.attempt.get().into());
    // A type may be written in any characters; a header is not.
    let event_type = parcel.event.event_type.as_ref().map(|name| name.as_str());
    if let Some(value) = event_type.and_then(|name| HeaderValue::from_str(name).ok()) {
        headers.insert(PLOY_EVENT_TYPE, value);
    }
    if matches!(parcel.kind, Kind::Test | Kind::Example) {
        headers.insert(PLOY_TEST, HeaderValue::from_static("true"));
    }
    headers
}

/// Says what the delivery and the event are called where the scheme has headers for that, so that a
/// receiver knows a repeat by it.
fn name_by_scheme(to: &Prepared, parcel: Parcel<'_>, headers: &mut HeaderMap) {
    let Signing::Signature { by, .. } = &to.destination.signing else { return };
    let event_type = parcel.event.event_type.as_ref().map(|name| name.as_str());
    let names =
        [(&by.description().delivery, Some(parcel.id)), (&by.description().event_type, event_type)];
    for (source, name) in names {
        if let (Some(ValueSource::Header(header)), Some(name)) = (source, name)
            && let Ok(value) = HeaderValue::from_str(name)
        {
            headers.insert(header, value);
        }
    }
}

fn sign(
    to: &Prepared,
    id: &str,
    now: Timestamp,
    method: &Method,
    url: &Url,
    body: &[u8],
    headers: &mut HeaderMap,
) {
    let Some(signer) = &to.signer else { return };
    let signed = Signed { method: method.as_str(), url: url.as_str(), body };
    let proof = signer.sign(id, now, &signed);
    for (name, value) in
        proof.expect("ids are visible ASCII, and secrets are checked when they are set")
    {
        headers.insert(name, value);
    }
}
