//! Names, texts and numbers.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, json_schema};
use serde_json::{Value, json};

use super::endpoint::Rate;

macro_rules! schemas {
    ($($(#[$attribute:meta])* $name:ident = $schema:expr;)*) => {$(
        $(#[$attribute])*
        #[derive(Default)]
        pub(in crate::api) struct $name;

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $schema
            }
        }
    )*};
}

pub(super) use schemas;

/// The schema of an id: [`ploy_webhooks::ParseIdError`] says the same in words.
fn id(prefix: &str) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": format!("^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$"),
        "examples": [format!("{prefix}_01jd3m8p6tfhr9k2zq7wxv4bce")],
    })
}

schemas! {
    CredentialId = id(ploy_webhooks::CredentialId::PREFIX);
    DestinationId = id(ploy_webhooks::DestinationId::PREFIX);
    EndpointId = id(ploy_webhooks::EndpointId::PREFIX);
    EventId = id(ploy_webhooks::EventId::PREFIX);
    RunId = id(ploy_webhooks::RunId::PREFIX);
    SubscriptionId = id(ploy_webhooks::SubscriptionId::PREFIX);
    TokenId = id(ploy_webhooks::TokenId::PREFIX);
    WorkspaceId = id(ploy_webhooks::WorkspaceId::PREFIX);

    Slug = json_schema!({
        "type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[a-z0-9-]+$",
        "description": "The last segment of an ingest address.",
    });
    PloybookName = json_schema!({
        "type": "string", "minLength": 1, "maxLength": 200, "pattern": SHOWN,
        "description": "The name of a Ploybook: no blanks at its ends, and neither `.` nor `..`.",
        "not": {"enum": [".", ".."]},
    });
    EventType = json_schema!({
        "type": "string", "minLength": 1, "maxLength": 256, "pattern": SHOWN,
        "description": "The type of an event, such as `invoice.paid`: at most 256 bytes.",
    });
    JsonPointer = json_schema!({
        "type": "string", "maxLength": 512, "pattern": "^(/([^~/]|~[01])*){1,16}$",
        "description": "A JSON pointer (RFC 6901) of at most 16 names and 512 bytes.",
    });
    Description = json_schema!({
        "type": "string", "maxLength": 500, "default": "", "description": "For people.",
    });
    WorkspaceName = json_schema!({
        "type": "string", "minLength": 1, "maxLength": 100, "pattern": SHOWN,
    });
    Revision = json_schema!({
        "type": "integer", "minimum": 1, "description": "Counts the changes.",
    });
    Time = json_schema!({
        "type": "string", "format": "date-time",
        "description": "A time as RFC 3339 writes it: in answers in UTC with milliseconds.",
        "examples": ["2026-01-31T09:00:00.000Z"],
    });
    Limit = json_schema!({
        "type": "integer", "minimum": 1, "maximum": ploy_webhooks::store::PageSize::MAX.get(),
        "default": ploy_webhooks::store::PageSize::DEFAULT.get(),
    });
    Order = json_schema!({"type": "string", "enum": ["asc", "desc"]});
    Needle = json_schema!({
        "type": "string", "minLength": 1, "maxLength": ploy_webhooks::store::Needle::BYTES_MAX,
    });
    Payload = json_schema!({
        "type": "object", "description": "A JSON object, kept byte for byte.",
    });
    SentPayload = json_schema!({"type": "object"});
    Stored = json_schema!({
        "anyOf": [
            {
                "type": "object",
                "properties": {
                    "id": {"type": "string", "pattern": "^evt_"},
                    "status": {"const": "accepted"},
                    "duplicate": {
                        "const": true,
                        "description": "Whether it is a repeat: the id is that of the first one.",
                    },
                },
                "required": ["id", "status"],
                "additionalProperties": false,
            },
            {"type": "object", "description": "What the endpoint answers in place of that."},
        ],
    });
}

/// What an http or https URL begins with.
pub(super) const HTTP_URL: &str = "^[Hh][Tt][Tt][Pp][Ss]?:";

/// Without control characters.
pub(in crate::api) const SHOWN: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";

/// Bounds of all that a workspace holds together; what is `null` is unbounded.
#[derive(Default, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct WorkspaceLimits {
    /// How often its endpoints may be sent to, all together.
    rate: Option<Rate>,
    /// For how many seconds events are kept; an endpoint may keep its own for less. Absent is for
    /// ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_seconds: Option<Retention>,
}

/// For how long events are kept, in whole seconds: an hour to a hundred years.
#[derive(JsonSchema)]
pub(in crate::api) struct Retention(#[schemars(range(min = 3_600, max = 3_153_600_000_u64))] u64);

/// For what answers may lack, although it is no option.
pub(super) const fn may_be_left_out<T>(_: &T) -> bool {
    false
}

/// Any JSON.
pub(super) type Any = Value;

/// Texts by their names.
pub(super) type Texts = BTreeMap<String, String>;

/// A schema of one of these texts.
pub(super) fn one_of(names: impl IntoIterator<Item = &'static str>) -> Schema {
    let names: Vec<_> = names.into_iter().collect();
    json_schema!({"type": "string", "enum": json!(names)})
}
