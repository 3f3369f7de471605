//! What callers send about an endpoint, and the bounds of it.

use ploy_webhooks::{
    AllowList, DedupRule, EndpointConfig, EndpointTrigger, FieldMap, Limits, Quota, Rate,
    Retention, Status, SuccessAnswer, ValueSource,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::auth::AuthForm;
use crate::api::json::{nullable, present};
use crate::api::openapi::nouns;
use crate::api::problem::Problem;

const DESCRIPTION_CHARS_MAX: usize = 500;
const ALLOW_RANGES_MAX: usize = 256;

/// The description of an endpoint, for people.
struct EndpointDescription;

impl JsonSchema for EndpointDescription {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EndpointDescription".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "maxLength": DESCRIPTION_CHARS_MAX,
            "pattern": nouns::SHOWN,
            "description": "For people.",
        })
    }
}

/// The body of `POST /endpoints`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewEndpoint {
    #[schemars(with = "EndpointDescription")]
    description: String,
    #[serde(default)]
    #[schemars(with = "Option<nouns::EndpointTrigger>")]
    trigger: Option<EndpointTrigger>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "nouns::AuthForm")]
    auth: Option<AuthForm>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "nouns::Limits")]
    limits: Option<Limits>,
    #[serde(default)]
    #[schemars(with = "Option<nouns::DedupRule>")]
    dedup: Option<DedupRule>,
    #[serde(default)]
    #[schemars(with = "Option<nouns::AllowList>")]
    allow: Option<AllowList>,
    #[serde(default)]
    #[schemars(with = "Option<nouns::ValueSource>")]
    event_type: Option<ValueSource>,
    #[serde(default)]
    #[schemars(with = "Option<nouns::FieldMap>")]
    fields: Option<FieldMap>,
    #[serde(default)]
    #[schemars(with = "Option<nouns::SuccessAnswer>")]
    answer: Option<SuccessAnswer>,
}

/// The body of `PATCH /endpoints/{id}`: what is absent stays, what is `null` is cleared.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EndpointChanges")]
pub(super) struct Changes {
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "EndpointDescription")]
    description: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "nouns::Status")]
    status: Option<Status>,
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(with = "Option<nouns::EndpointTrigger>")]
    trigger: Option<Option<EndpointTrigger>>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "nouns::AuthForm")]
    auth: Option<AuthForm>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "LimitChanges")]
    limits: Option<LimitChanges>,
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(with = "Option<nouns::DedupRule>")]
    dedup: Option<Option<DedupRule>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(with = "Option<nouns::AllowList>")]
    allow: Option<Option<AllowList>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(with = "Option<nouns::ValueSource>")]
    event_type: Option<Option<ValueSource>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(with = "Option<nouns::FieldMap>")]
    fields: Option<Option<FieldMap>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(with = "Option<nouns::SuccessAnswer>")]
    answer: Option<Option<SuccessAnswer>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LimitChanges {
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(with = "Option<nouns::Rate>")]
    rate: Option<Option<Rate>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(with = "Option<nouns::Quota>")]
    quota: Option<Option<Quota>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(with = "Option<std::num::NonZeroU64>")]
    body_bytes: Option<Option<u64>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(with = "Option<nouns::Retention>")]
    retention_seconds: Option<Option<Retention>>,
}

impl NewEndpoint {
    /// The credentials that are asked for, and everything else.
    pub(super) fn into_parts(self) -> Result<(Option<AuthForm>, EndpointConfig), Problem> {
        let config = EndpointConfig {
            description: self.description,
            status: Status::Active,
            trigger: self.trigger,
            limits: self.limits.unwrap_or_default(),
            dedup: self.dedup,
            allow: self.allow,
            event_type: self.event_type,
            fields: self.fields,
            answer: self.answer,
        };
        check(&config)?;
        Ok((self.auth, config))
    }
}

impl Changes {
    /// Refuses what no endpoint could have.
    pub(super) fn check(&self) -> Result<(), Problem> {
        check(&self.apply_to(&EndpointConfig::default()))
    }

    /// The credentials that are asked for, if any are.
    pub(super) fn take_auth(&mut self) -> Option<AuthForm> {
        self.auth.take()
    }

    /// The retention that is asked for, if one is.
    pub(super) fn retention(&self) -> Option<Retention> {
        self.limits.as_ref()?.retention_seconds.flatten()
    }

    pub(super) fn apply_to(&self, config: &EndpointConfig) -> EndpointConfig {
        let mut config = config.clone();
        set(&mut config.description, &self.description);
        set(&mut config.status, &self.status);
        set(&mut config.trigger, &self.trigger);
        set(&mut config.dedup, &self.dedup);
        set(&mut config.allow, &self.allow);
        set(&mut config.event_type, &self.event_type);
        set(&mut config.fields, &self.fields);
        set(&mut config.answer, &self.answer);
        if let Some(limits) = &self.limits {
            set(&mut config.limits.rate, &limits.rate);
            set(&mut config.limits.quota, &limits.quota);
            set(&mut config.limits.body_bytes, &limits.body_bytes);
            set(&mut config.limits.retention, &limits.retention_seconds);
        }
        config
    }
}

fn set<T: Clone>(field: &mut T, change: &Option<T>) {
    if let Some(value) = change {
        field.clone_from(value);
    }
}

fn check(config: &EndpointConfig) -> Result<(), Problem> {
    let description = &config.description;
    if description.chars().count() > DESCRIPTION_CHARS_MAX || has_control_characters(description) {
        return Err(invalid("`description` has at most 500 characters and no control characters"));
    }
    if config.limits.body_bytes == Some(0) {
        return Err(invalid("`limits.body_bytes` is at least 1"));
    }
    if config.allow.as_ref().is_some_and(|allow| allow.len() > ALLOW_RANGES_MAX) {
        return Err(invalid("`allow` has at most 256 ranges"));
    }
    Ok(())
}

fn has_control_characters(text: &str) -> bool {
    text.contains(char::is_control)
}

fn invalid(detail: &str) -> Problem {
    Problem::ValidationFailed(detail.to_owned())
}
