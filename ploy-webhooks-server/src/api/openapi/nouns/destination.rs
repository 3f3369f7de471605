//! Where events are delivered to.

use std::collections::BTreeMap;

use ploy_webhooks::verify::Preset;
use schemars::{JsonSchema, json_schema};

use super::endpoint::Rate;
use super::ploybook::RetryPolicy;
use super::signature::SignatureScheme;
use super::text::{Any, Description, HTTP_URL, JsonPointer, Texts, one_of, schemas};

/// Where events are delivered to, what is sent there, and how it is proved who sends.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewDestination")]
pub(in crate::api) struct Destination {
    #[serde(flatten)]
    settings: Settings<DestinationStatus, HeaderForm, SigningForm>,
}

/// How a destination is set, as it is shown.
#[derive(JsonSchema)]
pub(in crate::api) struct DestinationView {
    #[serde(flatten)]
    settings: Settings<ShownStatus, ShownHeader, ShownSigning>,
}

#[derive(JsonSchema)]
struct Settings<Status: Default, Header, Signing: Default> {
    #[serde(default)]
    #[schemars(with = "Description")]
    description: String,
    /// An http or https URL. Path and query may have merge fields.
    #[schemars(length(max = 2_048), regex(pattern = HTTP_URL))]
    url: String,
    #[serde(default)]
    status: Status,
    #[serde(default)]
    method: DeliveryMethod,
    /// Headers of its own, by their names; a value may have merge fields.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 50))]
    headers: BTreeMap<String, Header>,
    #[serde(default)]
    body: Option<Body>,
    #[serde(default)]
    missing: Missing,
    #[serde(default)]
    signing: Signing,
    /// How long one request may take, its answer included.
    #[serde(default = "half_a_minute")]
    #[schemars(range(min = 1, max = 3_600))]
    time_limit_seconds: u64,
    #[serde(default)]
    retry: Retry,
    /// How many requests a second; `null` is as many as there are.
    #[serde(default)]
    rate: Option<Rate>,
    /// How many requests are under way at once, from one node.
    #[serde(default = "sixteen")]
    #[schemars(range(min = 1, max = 64))]
    at_once: u16,
    /// How many requests the receiver takes in all; `null` is no end of them.
    #[serde(default)]
    #[schemars(range(min = 1))]
    max_submissions: Option<u64>,
    /// What events share in their payloads that are to be delivered in order.
    #[serde(default)]
    order_by: Option<JsonPointer>,
    /// After how long without one success it is disabled; `null` is never.
    #[serde(default = "five_days")]
    #[schemars(range(min = 60, max = 2_592_000))]
    disable_after_seconds: Option<u64>,
}

const fn half_a_minute() -> u64 {
    30
}

const fn sixteen() -> u16 {
    16
}

#[expect(clippy::unnecessary_wraps, reason = "it stands for what may be `null`")]
const fn five_days() -> Option<u64> {
    Some(432_000)
}

/// `payload`, byte for byte; `none`; or what a template makes of the event. `null` leaves it to the
/// method.
#[derive(JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
#[schemars(rename = "DestinationBody")]
enum Body {
    Named(NamedBody),
    Json {
        /// Any JSON; its texts may have merge fields.
        json: Any,
    },
    Form {
        form: Texts,
    },
}

/// Four attempts (`default`), nine in a day (`day`), or as it says.
#[derive(JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
#[schemars(rename = "DeliveryRetry")]
enum Retry {
    Named(NamedRetry),
    Own(RetryPolicy),
}

/// A text, or one that is never shown: `{"secret": true}` leaves it what it is.
#[derive(JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
#[schemars(rename = "DestinationHeader")]
enum HeaderForm {
    Open(HeaderText),
    Secret { secret: SecretOrAsBefore },
}

/// A text, or that there is one which is not shown.
#[derive(JsonSchema)]
#[serde(untagged)]
enum ShownHeader {
    Open(HeaderText),
    Secret { secret: bool },
}

/// How it is proved who sends: by a signature, a token in `Authorization` (`bearer`), or not.
#[derive(JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
enum SigningForm {
    Named {
        scheme: SigningScheme,
        /// Minted where it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "String")]
        secret: Option<String>,
    },
    Custom(CustomSigning),
}

/// By a scheme that is described here.
#[derive(JsonSchema)]
struct CustomSigning {
    #[schemars(extend("const" = "custom"))]
    scheme: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    secret: Option<String>,
    #[serde(flatten)]
    described: SignatureScheme,
}

/// How it is proved who sends.
#[derive(JsonSchema)]
#[serde(untagged)]
enum ShownSigning {
    Named { scheme: SigningScheme },
    Custom(ShownCustomSigning),
}

#[derive(JsonSchema)]
struct ShownCustomSigning {
    #[schemars(extend("const" = "custom"))]
    scheme: String,
    #[serde(flatten)]
    described: SignatureScheme,
}

impl Default for Retry {
    fn default() -> Self {
        Self::Named(NamedRetry)
    }
}

impl Default for SigningForm {
    fn default() -> Self {
        Self::Named { scheme: SigningScheme, secret: None }
    }
}

impl Default for ShownSigning {
    fn default() -> Self {
        Self::Named { scheme: SigningScheme }
    }
}

schemas! {
    DestinationStatus = json_schema!({
        "type": "string", "enum": ["active", "paused", "unverified", "draft"], "default": "active",
        "description": "Events are delivered; wait; wait until who receives has confirmed; or are only \
            put on record.",
    });
    ShownStatus = json_schema!({
        "type": "string", "enum": ["active", "paused", "unverified", "draft", "disabled"],
        "description": "`disabled` is what has failed for too long: to set a status enables it.",
    });
    DeliveryMethod = json_schema!({
        "type": "string", "pattern": "^([Pp][Oo][Ss][Tt]|[Gg][Ee][Tt]|[Pp][Uu][Tt]|[Pp][Aa][Tt][Cc][Hh]|[Dd][Ee][Ll][Ee][Tt][Ee])$",
        "default": "POST",
    });
    Missing = json_schema!({
        "type": "string", "enum": ["fail", "empty"], "default": "fail",
        "description": "What becomes of merge fields that an event lacks.",
    });
    NamedBody = one_of(["payload", "none"]);
    NamedRetry = one_of(["default", "day"]);
    HeaderText = json_schema!({"type": "string", "maxLength": 8_192});
    SecretOrAsBefore = json_schema!({
        "anyOf": [{"type": "string", "maxLength": 4_096}, {"const": true}],
    });
    SigningScheme = one_of(
        ["none", "bearer"].into_iter().chain(Preset::all().map(|preset| preset.name())),
    );
}
