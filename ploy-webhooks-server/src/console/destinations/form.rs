//! What the form of a destination holds, and the call that it makes up.

use ploy_webhooks::verify::Preset;
use serde_json::{Map, Value, json};

use super::view::Destination;
use crate::console::fault::Fault;
use crate::console::form::{Fields, Members, number};
use crate::console::loaded::Loaded;
use crate::console::payload::laid_out;

/// A destination as a form holds it: texts, whatever they are.
#[derive(Debug, Default)]
pub(super) struct DestinationForm {
    pub(super) description: String,
    pub(super) url: String,
    pub(super) status: String,
    pub(super) method: String,
    pub(super) headers: String,
    pub(super) body: String,
    pub(super) missing: String,
    pub(super) scheme: String,
    pub(super) time_limit: String,
    /// `default`, `day`, or a policy in JSON.
    pub(super) retry: String,
    pub(super) per_second: String,
    pub(super) burst: String,
    pub(super) at_once: String,
    pub(super) max_submissions: String,
    pub(super) order_by: String,
    pub(super) disable_after: String,
    /// What the page was loaded with.
    pub(super) loaded: String,
}

impl DestinationForm {
    /// Of a new one.
    pub(super) fn empty() -> Self {
        let text = str::to_owned;
        Self {
            status: text("active"),
            method: text("POST"),
            scheme: text("standard-webhooks"),
            missing: text("fail"),
            retry: text("default"),
            time_limit: text("30"),
            at_once: text("16"),
            disable_after: text("432000"),
            ..Self::default()
        }
    }

    /// As the destination is.
    pub(super) fn of(destination: &Destination) -> Self {
        let written = |number: Option<u64>| number.map(|it| it.to_string()).unwrap_or_default();
        let json = |value: &Value| match value {
            Value::Object(members) if members.is_empty() => String::new(),
            value => whole(&value.to_string()),
        };
        let mut form = Self {
            description: destination.description.raw().to_owned(),
            url: destination.url.raw().to_owned(),
            status: destination.status.raw().to_owned(),
            method: destination.method.raw().to_owned(),
            headers: json(&destination.headers),
            body: match destination.body.get() {
                "null" => String::new(),
                body => whole(body),
            },
            missing: destination.missing.raw().to_owned(),
            scheme: destination.signing.scheme.raw().to_owned(),
            time_limit: destination.time_limit_seconds.to_string(),
            retry: match &destination.retry {
                Value::String(name) => name.clone(),
                policy => policy.to_string(),
            },
            per_second: written(destination.rate.as_ref().map(|rate| rate.per_second)),
            burst: written(destination.rate.as_ref().and_then(|rate| rate.burst)),
            at_once: destination.at_once.to_string(),
            max_submissions: written(destination.max_submissions),
            order_by: destination.order_by.clone().unwrap_or_default().raw().to_owned(),
            disable_after: written(destination.disable_after_seconds),
            loaded: String::new(),
        };
        let changes = form.changes();
        form.loaded = changes.map(|changes| Loaded::of(&changes).to_text()).unwrap_or_default();
        form
    }

    /// As it was filled in.
    pub(super) fn filled(fields: &Fields) -> Self {
        let text = |name: &str| fields.get(name).to_owned();
        Self {
            description: text("description"),
            url: text("url"),
            status: text("status"),
            method: text("method"),
            headers: text("headers"),
            body: text("body"),
            missing: text("missing"),
            scheme: text("signing.scheme"),
            time_limit: text("time_limit_seconds"),
            retry: text("retry"),
            per_second: text("rate.per_second"),
            burst: text("rate.burst"),
            at_once: text("at_once"),
            max_submissions: text("max_submissions"),
            order_by: text("order_by"),
            disable_after: text("disable_after_seconds"),
            loaded: text("loaded"),
        }
    }

    /// The members of a call that makes one.
    pub(super) fn members(&self, secret: &str) -> Result<Members, Fault> {
        let mut members = self.settings()?;
        members.set_some("status", &self.status);
        members.set("headers", self.headers()?);
        let signing = match secret {
            "" => json!({"scheme": self.scheme}),
            secret => json!({"scheme": self.scheme, "secret": secret}),
        };
        members.set("signing", signing);
        Ok(members)
    }

    /// The members of a call that changes it, of which those are to be sent that are others than
    /// they were loaded: the secret stays where the scheme does. Its status has buttons of its own.
    pub(super) fn changes(&self) -> Result<Members, Fault> {
        let mut members = self.settings()?;
        members.set("headers", self.headers()?);
        members.set("signing", json!({"scheme": self.scheme}));
        Ok(members)
    }

    fn settings(&self) -> Result<Members, Fault> {
        let mut members = Members::default();
        members.set("description", &self.description);
        members.set("url", self.url.trim());
        members.set_some("method", &self.method);
        members.set_json("body", &self.body)?;
        members.set_some("missing", &self.missing);
        match self.retry.trim() {
            "" => members.set("retry", "default"),
            policy if policy.starts_with('{') => members.set_json("retry", policy)?,
            name => members.set("retry", name),
        }
        let per_second = number("rate.per_second", &self.per_second)?;
        let burst = number("rate.burst", &self.burst)?;
        members.set(
            "rate",
            per_second.map(|per_second| match burst {
                Some(burst) => json!({"per_second": per_second, "burst": burst}),
                None => json!({"per_second": per_second, "burst": null}),
            }),
        );
        if let Some(seconds) = number("time_limit_seconds", &self.time_limit)? {
            members.set("time_limit_seconds", seconds);
        }
        if let Some(at_once) = number("at_once", &self.at_once)? {
            members.set("at_once", at_once);
        }
        members.set("max_submissions", number("max_submissions", &self.max_submissions)?);
        let order_by = Some(self.order_by.trim()).filter(|pointer| !pointer.is_empty());
        members.set("order_by", order_by);
        members.set("disable_after_seconds", number("disable_after_seconds", &self.disable_after)?);
        Ok(members)
    }

    fn headers(&self) -> Result<Map<String, Value>, Fault> {
        match self.headers.trim() {
            "" => Ok(Map::new()),
            text => serde_json::from_str(text).map_err(|error| {
                Fault::at_member("headers", &format!("it is not a JSON object: {error}"))
            }),
        }
    }
}

/// JSON laid out; where that is longer than a page shows, as it came: a form sends back what it has.
fn whole(text: &str) -> String {
    let part = laid_out(text);
    if part.is_whole { part.text.raw().to_owned() } else { text.to_owned() }
}

/// The ways to sign that are chosen from.
pub(super) fn schemes(current: &str) -> Vec<String> {
    let presets = Preset::all().map(|preset| preset.name());
    let known = ["none", "bearer"].into_iter().chain(presets).map(str::to_owned);
    let mut schemes: Vec<String> = known.collect();
    if schemes.iter().all(|scheme| scheme != current) {
        schemes.push(current.to_owned());
    }
    schemes
}
