//! What is set on an endpoint.

use std::num::{NonZeroU32, NonZeroU64};

use schemars::{JsonSchema, json_schema};
use serde_json::{Map, Value};

use super::text::{JsonPointer, PloybookName, Retention, schemas};

/// Whether an endpoint takes events.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "EndpointStatus")]
pub(in crate::api) enum Status {
    /// Events are accepted.
    Active,
    /// Every event is refused with 403; the history stays.
    Paused,
}

/// What an operator sets on an endpoint, as it is shown.
#[derive(JsonSchema)]
pub(in crate::api) struct EndpointConfig {
    /// For people.
    description: String,
    status: Status,
    /// What every accepted event runs; `null` stores only.
    trigger: Option<EndpointTrigger>,
    limits: Limits,
    /// How a repeated delivery is recognised; `null` keeps every one.
    dedup: Option<DedupRule>,
    /// `null` is everybody.
    allow: Option<AllowList>,
    /// Where the type of an event is read from.
    event_type: Option<ValueSource>,
    fields: Option<FieldMap>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<SuccessAnswer>,
}

/// What every event of an endpoint runs.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct EndpointTrigger {
    ploybook: PloybookName,
}

/// Bounds that an endpoint sets for itself; what is `null` is unbounded.
#[derive(Default, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct Limits {
    rate: Option<Rate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota: Option<Quota>,
    /// The largest body in bytes; the bound of the server holds all the same.
    body_bytes: Option<NonZeroU64>,
    /// For how many seconds its events are kept, where that is shorter than its workspace's.
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_seconds: Option<Retention>,
}

/// So many a second in the long run, so many at once.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Rate {
    /// Events a second in the long run.
    #[schemars(range(min = 1, max = 4_294_967_295_u64))]
    per_second: NonZeroU32,
    /// Events at once; `null` is as many as a second gives.
    #[serde(default)]
    #[schemars(range(min = 1, max = 4_294_967_295_u64))]
    burst: Option<NonZeroU32>,
}

/// So many events that are stored, in the life of an endpoint or in each period.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Quota {
    events: NonZeroU64,
    /// In how many seconds; `null` is the life of the endpoint. Periods follow each other since
    /// 1970-01-01T00:00:00Z, so that one of 86,400 is a day in UTC.
    #[serde(default)]
    #[schemars(range(min = 1, max = 4_294_967_295_u64))]
    period_seconds: Option<NonZeroU32>,
}

/// Where a value is read from: a header of the request, or a place in the payload.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(in crate::api) enum ValueSource {
    Header(HeaderName),
    Pointer(JsonPointer),
}

/// How a repeated delivery is recognised: by a header, by places in the payload, by the whole body; or
/// not at all.
#[derive(JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub(in crate::api) enum DedupRule {
    Header {
        header: HeaderName,
        #[serde(default = "a_day")]
        #[schemars(range(min = 1, max = 2_592_000))]
        window_seconds: u64,
        /// Whether a delivery without a key is refused.
        #[serde(default)]
        required: bool,
    },
    Pointers {
        #[schemars(length(min = 1, max = 8))]
        pointers: Vec<JsonPointer>,
        #[serde(default = "a_day")]
        #[schemars(range(min = 1, max = 2_592_000))]
        window_seconds: u64,
        /// Whether a delivery without a key is refused.
        #[serde(default)]
        required: bool,
    },
    Body {
        #[schemars(extend("const" = true))]
        body: bool,
        #[serde(default = "a_day")]
        #[schemars(range(min = 1, max = 2_592_000))]
        window_seconds: u64,
        #[serde(default)]
        required: bool,
    },
    Nothing {
        /// Every delivery is kept, also where the scheme of its signature knows what it is called.
        #[schemars(extend("const" = true))]
        off: bool,
        #[serde(default = "a_day")]
        #[schemars(range(min = 1, max = 2_592_000))]
        window_seconds: u64,
        #[serde(default)]
        required: bool,
    },
}

const fn a_day() -> u64 {
    86_400
}

/// What is answered to an event that is stored, in place of 202 and its id.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct SuccessAnswer {
    #[serde(default = "accepted")]
    #[schemars(extend("enum" = [200, 202]))]
    status: u16,
    /// At most 4096 bytes, kept as they are written; left out, it is the id of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<Map<String, Value>>,
}

const fn accepted() -> u16 {
    202
}

schemas! {
    AllowList = json_schema!({
        "type": "array", "items": {"type": "string"}, "maxItems": 256,
        "description": "The address ranges that may send, such as `203.0.113.0/24`; an empty list \
            lets nobody in.",
    });
    FieldMap = json_schema!({
        "type": "object",
        "maxProperties": 64,
        "propertyNames": {
            "maxLength": 128,
            "pattern": r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,7}$",
        },
        "additionalProperties": {
            "anyOf": [
                {"type": "string", "maxLength": 512},
                {
                    "type": "object",
                    "properties": {
                        "pointer": {"type": "string", "maxLength": 512},
                        "required": {"type": "boolean", "default": false},
                        "default": {"description": "What it is where the payload has nothing."},
                    },
                    "required": ["pointer"],
                    "additionalProperties": false,
                },
            ],
        },
        "description": "The fields that are named in payloads, by their names: where each is (a JSON \
            pointer), and what holds when it is not there.",
    });
    HeaderName = json_schema!({
        "type": "string", "minLength": 1, "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
        "description": "The name of a header that carries no secret.",
    });
}
