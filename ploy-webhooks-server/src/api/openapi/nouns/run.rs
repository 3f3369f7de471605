//! What runs are, beside what the API says of them itself.

use schemars::JsonSchema;

use super::text::{DestinationId, PloybookName, SubscriptionId, may_be_left_out, one_of, schemas};

schemas! {
    RunState = one_of(ploy_webhooks::RunState::ALL.map(ploy_webhooks::RunState::as_str));
}

/// What a run carries out: one task, or the first of several rules that holds.
#[derive(JsonSchema)]
pub(in crate::api) struct Trigger {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PloybookName")]
    ploybook: Option<PloybookName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DestinationId")]
    destination: Option<DestinationId>,
    /// What had it run; left out where that was the trigger of an endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SubscriptionId")]
    subscription: Option<SubscriptionId>,
    /// Whether it is only put on record.
    #[serde(default, skip_serializing_if = "may_be_left_out")]
    draft: bool,
    /// The group that the rules make up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<Rule>")]
    rules: Option<Vec<Rule>>,
}

/// A condition, and what is done where it holds.
#[derive(JsonSchema)]
struct Rule {
    subscription: SubscriptionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    condition: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PloybookName")]
    ploybook: Option<PloybookName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DestinationId")]
    destination: Option<DestinationId>,
    #[serde(default, skip_serializing_if = "may_be_left_out")]
    draft: bool,
}
