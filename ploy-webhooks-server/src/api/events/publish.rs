//! `POST /events`: events that the app emits itself.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, StatusCode};
use ploy_webhooks::{EventId, EventType, Publication, Published};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::api::caller::TenantApi;
use crate::api::json::{Json, parse, read_json};
use crate::api::openapi::{Operation, call, nouns};
use crate::api::problem::Problem;
use crate::api::query::NoParameters;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What there may be around a payload: the longest type, with every character escaped, and blanks.
const ENVELOPE_BYTES_MAX: usize = 4 << 10;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Publication")]
struct PublicationForm<'body> {
    #[serde(rename = "type")]
    #[schemars(with = "nouns::EventType")]
    event_type: EventType,
    /// Byte for byte.
    #[serde(borrow)]
    #[schemars(with = "nouns::Payload")]
    payload: &'body RawValue,
}

/// As the intake answers.
#[derive(Debug, Serialize, JsonSchema)]
struct Accepted {
    #[schemars(with = "nouns::EventId")]
    id: EventId,
    #[schemars(extend("const" = "accepted"))]
    status: &'static str,
    /// Whether it is a repeat: the id is that of the first one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

pub(super) fn operation() -> Operation {
    call("publish_event", "Publish an event of the app's own.")
        .accepts::<Accepted>()
        .details("It fans out like any other.")
        .header::<IdempotencyKey>(
            "Idempotency-Key",
            "What is published again under the same key within a day is not stored again.",
        )
        .takes::<PublicationForm>()
}

struct IdempotencyKey;

impl JsonSchema for IdempotencyKey {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "IdempotencyKey".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]*$",
        })
    }
}

pub(super) async fn publish(
    api: TenantApi,
    _: NoParameters,
    request: Request,
) -> Result<Response, Problem> {
    let bytes_max = api.payload_bytes_max();
    let idempotency_key = idempotency_key(request.headers())?;
    let body = read_json(request, bytes_max.saturating_add(ENVELOPE_BYTES_MAX)).await?;
    let PublicationForm { event_type, payload } = parse(&body)?;
    let payload = payload.get().as_bytes();
    if payload.len() > bytes_max {
        return Err(Problem::PayloadTooLarge(bytes_max));
    }
    if !payload.starts_with(b"{") {
        return Err(Problem::invalid("`payload` is a JSON object, as that of every event"));
    }
    let payload = body.slice_ref(payload);
    let mut publication = Publication::new(*api.workspace(), event_type, payload);
    publication.idempotency_key = idempotency_key;
    let (id, duplicate) = match ploy_webhooks::publish(api.store(), publication).await? {
        Published::Stored { event, .. } => (event, false),
        Published::Duplicate(first) => (first, true),
    };
    let accepted = Json(Accepted { id, status: "accepted", duplicate });
    Ok((StatusCode::ACCEPTED, accepted).into_response())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let is_key = |key: &&str| {
        (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match (value.to_str().ok().filter(is_key), values.next()) {
        (Some(key), None) => Ok(Some(key.to_owned())),
        _ => Err(Problem::invalid(
            "`Idempotency-Key` is given once, as 1 to 255 visible ASCII characters",
        )),
    }
}
