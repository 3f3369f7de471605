//! What the forms of an endpoint hold, and the call that they make up.

use ploy_webhooks::verify::Preset;
use serde_json::{Value, json};

use super::view::{Dedup, Endpoint};
use crate::console::fault::Fault;
use crate::console::form::{Fields, Members, entries, lines, number};
use crate::console::loaded::Loaded;

/// The settings of an endpoint as a form holds them: texts, whatever they are.
#[derive(Debug, Default)]
pub(super) struct EndpointForm {
    pub(super) description: String,
    pub(super) trigger: String,
    pub(super) scheme: String,
    pub(super) per_second: String,
    pub(super) burst: String,
    pub(super) quota: String,
    pub(super) period: String,
    pub(super) body_bytes: String,
    pub(super) dedup_by: String,
    pub(super) dedup_key: String,
    pub(super) window: String,
    pub(super) required: bool,
    pub(super) allow: String,
    pub(super) event_type: String,
    pub(super) fields: String,
    /// What the page was loaded with.
    pub(super) loaded: String,
}

impl EndpointForm {
    /// As it was filled in.
    pub(super) fn filled(fields: &Fields) -> Self {
        let text = |name: &str| fields.get(name).to_owned();
        Self {
            description: text("description"),
            trigger: text("trigger"),
            scheme: text("auth.scheme"),
            per_second: text("limits.rate.per_second"),
            burst: text("limits.rate.burst"),
            quota: text("limits.quota.events"),
            period: text("limits.quota.period_seconds"),
            body_bytes: text("limits.body_bytes"),
            dedup_by: text("dedup.by"),
            dedup_key: text("dedup.key"),
            window: text("dedup.window_seconds"),
            required: fields.has("dedup.required"),
            allow: text("allow"),
            event_type: text("event_type"),
            fields: text("fields"),
            loaded: text("loaded"),
        }
    }

    /// As the endpoint is.
    pub(super) fn of(endpoint: &Endpoint) -> Self {
        let written = |number: Option<u64>| number.map(|it| it.to_string()).unwrap_or_default();
        let (rate, quota) = (endpoint.limits.rate.as_ref(), endpoint.limits.quota.as_ref());
        let (dedup_by, dedup_key) = endpoint.dedup.as_ref().map(rule).unwrap_or_default();
        let allow = endpoint.allow.iter().flatten().map(|range| range.raw());
        let trigger = endpoint.trigger.as_ref().map(|trigger| trigger.ploybook.raw());
        let json = |value: &Option<Box<serde_json::value::RawValue>>| {
            value.as_ref().map(|value| value.get().to_owned()).unwrap_or_default()
        };
        let mut form = Self {
            description: endpoint.description.raw().to_owned(),
            trigger: trigger.unwrap_or_default().to_owned(),
            scheme: endpoint.auth.scheme.raw().to_owned(),
            per_second: written(rate.map(|rate| rate.per_second)),
            burst: written(rate.and_then(|rate| rate.burst)),
            quota: written(quota.map(|quota| quota.events)),
            period: written(quota.and_then(|quota| quota.period_seconds)),
            body_bytes: written(endpoint.limits.body_bytes),
            dedup_by: dedup_by.to_owned(),
            dedup_key,
            window: written(endpoint.dedup.as_ref().map(|dedup| dedup.window_seconds)),
            required: endpoint.dedup.as_ref().is_some_and(|dedup| dedup.required),
            allow: allow.collect::<Vec<_>>().join("\n"),
            event_type: json(&endpoint.event_type),
            fields: json(&endpoint.fields),
            loaded: String::new(),
        };
        let settings = form.settings();
        form.loaded = settings.map(|settings| Loaded::of(&settings).to_text()).unwrap_or_default();
        form
    }

    /// The settings as members of a call; who may send is not among them.
    pub(super) fn settings(&self) -> Result<Members, Fault> {
        let mut members = Members::default();
        members.set("description", &self.description);
        let trigger = Some(&self.trigger).filter(|name| !name.is_empty());
        members.set("trigger", trigger.map(|name| json!({ "ploybook": name })));
        members.set("limits", self.limits()?);
        members.set("dedup", self.dedup()?);
        let allow = entries(&self.allow);
        members.set("allow", (!allow.is_empty()).then_some(allow));
        members.set_json("event_type", &self.event_type)?;
        members.set_json("fields", &self.fields)?;
        Ok(members)
    }

    fn limits(&self) -> Result<Value, Fault> {
        let per_second = number("limits.rate.per_second", &self.per_second)?;
        let burst = number("limits.rate.burst", &self.burst)?;
        let events = number("limits.quota.events", &self.quota)?;
        let period = number("limits.quota.period_seconds", &self.period)?;
        let body_bytes = number("limits.body_bytes", &self.body_bytes)?;
        if per_second.is_none() && burst.is_some() {
            return Err(Fault::at_member("limits.rate.per_second", "a burst is one of a rate"));
        }
        if events.is_none() && period.is_some() {
            return Err(Fault::at_member("limits.quota.events", "a period is one of a quota"));
        }
        Ok(json!({
            "rate": per_second.map(|rate| of_some(&[("per_second", Some(rate)), ("burst", burst)])),
            "quota": events.map(|of| of_some(&[("events", Some(of)), ("period_seconds", period)])),
            "body_bytes": body_bytes,
        }))
    }

    fn dedup(&self) -> Result<Option<Value>, Fault> {
        let mut rule = match self.dedup_by.as_str() {
            "header" => json!({"header": self.dedup_key.trim()}),
            "pointers" => json!({"pointers": lines(&self.dedup_key)}),
            "body" => json!({"body": true}),
            "off" => json!({"off": true}),
            _ => return Ok(None),
        };
        if let Some(window) = number("dedup.window_seconds", &self.window)? {
            rule["window_seconds"] = window.into();
        }
        rule["required"] = self.required.into();
        Ok(Some(rule))
    }
}

/// How a rule recognises a repeat, and by what.
fn rule(dedup: &Dedup) -> (&'static str, String) {
    let Dedup { header, pointers, body, off, .. } = dedup;
    match (header, pointers, body, off) {
        (Some(header), ..) => ("header", header.raw().to_owned()),
        (_, Some(pointers), ..) => {
            let pointers: Vec<_> = pointers.iter().map(|pointer| pointer.raw()).collect();
            ("pointers", pointers.join("\n"))
        }
        (.., Some(true), _) => ("body", String::new()),
        _ => ("off", String::new()),
    }
}

/// An object of what there is.
fn of_some(members: &[(&str, Option<u64>)]) -> Value {
    let there = members.iter().filter_map(|(name, value)| Some(((*name).to_owned(), (*value)?)));
    Value::Object(there.map(|(name, value)| (name, value.into())).collect())
}

/// The schemes that are chosen from.
pub(super) fn schemes() -> Vec<&'static str> {
    std::iter::once("api-key").chain(Preset::all().map(|preset| preset.name())).collect()
}
