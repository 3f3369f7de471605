//! Which events run what, or are delivered where.

use schemars::{JsonSchema, json_schema};

use super::text::{
    Description, DestinationId, EndpointId, PloybookName, Revision, SHOWN, SubscriptionId, schemas,
};

/// Events of these endpoints and types, that meet a condition, run a Ploybook or are delivered to a
/// destination.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    {
        "required": ["ploybook"],
        "properties": {"ploybook": {"type": "string"}, "destination": {"type": "null"}},
    },
    {
        "required": ["destination"],
        "properties": {"destination": {"type": "string"}, "ploybook": {"type": "null"}},
    },
]))]
pub(in crate::api) struct NewSubscription {
    #[serde(default)]
    #[schemars(with = "Description")]
    description: String,
    #[serde(default = "yes")]
    enabled: bool,
    /// The endpoints whose events are meant; none are all of the workspace.
    #[serde(default)]
    #[schemars(length(max = 100))]
    endpoints: Vec<EndpointId>,
    /// The types of events that are meant; none are all, and events without a type too.
    #[serde(default)]
    #[schemars(length(max = 100))]
    types: Vec<TypePattern>,
    /// In CEL; `null` always holds.
    #[serde(default)]
    #[schemars(length(min = 1, max = 2_048))]
    condition: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ploybook: Option<PloybookName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    destination: Option<DestinationId>,
    /// Whether what it would do is only put on record.
    #[serde(default)]
    draft: bool,
    /// Of the subscriptions of one group, the first whose condition holds is followed.
    #[serde(default)]
    #[schemars(length(min = 1, max = 100), regex(pattern = SHOWN))]
    group: Option<String>,
    /// Its place in the group; where two are equal, the older one comes first.
    #[serde(default)]
    #[schemars(range(max = 4_294_967_295_u64))]
    position: u32,
}

/// A subscription and its id.
#[derive(JsonSchema)]
#[schemars(rename = "Subscription")]
pub(in crate::api) struct SubscriptionView {
    id: SubscriptionId,
    revision: Revision,
    #[serde(flatten)]
    subscription: NewSubscription,
}

const fn yes() -> bool {
    true
}

schemas! {
    TypePattern = json_schema!({
        "type": "string", "minLength": 1, "maxLength": 256,
        "pattern": r"^(\*|[^*\u0000-\u001f\u007f-\u009f]+(\.\*)?)$",
        "description": "A type, all that begin with some words (`invoice.*`), or every one (`*`).",
    });
}
