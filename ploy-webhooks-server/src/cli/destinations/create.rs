//! `destinations create`: all that a destination may be told from the shell.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ploy_webhooks::Secret;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::cli::Failure;
use crate::cli::endpoints::description;

#[derive(Debug, Args)]
pub(in crate::cli) struct CreateArgs {
    /// Where to. Path and query may have merge fields, as in https://x.io/in?c={{ customer }}.
    // Not `url`: that is the server's.
    #[arg(value_name = "URL")]
    to: String,
    /// For people.
    #[arg(long, default_value = "")]
    description: String,
    /// GET, POST, PUT, PATCH or DELETE.
    #[arg(long, value_name = "METHOD", default_value = "POST")]
    method: String,
    /// A header, as in 'X-Customer: {{ customer }}'. Give several times for several.
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// A header whose value is kept secret. Better given by `--secret-header-env`.
    #[arg(long, value_name = "NAME: VALUE")]
    secret_header: Vec<String>,
    /// The same, by the variable of the environment that has the value, where others do not see it.
    #[arg(long, value_name = "NAME: VARIABLE")]
    secret_header_env: Vec<String>,
    /// What is sent in place of the payload: JSON with merge fields in its strings, or @FILE.
    #[arg(long, value_name = "JSON", conflicts_with = "form")]
    body_json: Option<String>,
    /// An input of a form that is sent in place of the payload, as in 'email={{ email }}'. Give
    /// several times for several.
    #[arg(long, value_name = "NAME=TEMPLATE")]
    form: Vec<String>,
    /// How it is signed: a preset such as `standard-webhooks`, `bearer`, `none`, or `custom`.
    #[arg(long, value_name = "NAME", default_value = "standard-webhooks")]
    scheme: String,
    /// The secret that signs; minted if left out. Better set in the environment.
    #[arg(long, env = "PLOY_SECRET", hide_env_values = true)]
    secret: Option<Secret>,
    /// The description of the scheme `custom`.
    #[arg(long, value_name = "FILE.json", required_if_eq("scheme", "custom"))]
    scheme_file: Option<PathBuf>,
    /// Requests a second in the long run.
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<NonZeroU32>,
    /// Requests at a time, where they have waited.
    #[arg(long, value_name = "REQUESTS", requires = "rate")]
    burst: Option<NonZeroU32>,
    /// Requests that are under way at once, from one node.
    #[arg(long, value_name = "REQUESTS")]
    at_once: Option<NonZeroU16>,
    /// Requests that it takes in all.
    #[arg(long, value_name = "REQUESTS")]
    max_submissions: Option<NonZeroU64>,
    /// How often a delivery is tried: four times within a minute, or nine times within a day.
    #[arg(long, default_value = "default")]
    retry: Retry,
    /// How long a request may take.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// What events share that are delivered in order, as in /customer/id.
    #[arg(long, value_name = "POINTER")]
    order_by: Option<String>,
    /// Send nothing, and put on record what would have been sent.
    #[arg(long, conflicts_with = "unverified")]
    draft: bool,
    /// Send nothing until whoever receives there has confirmed it: see `verify`.
    #[arg(long)]
    unverified: bool,
}

#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Retry {
    Default,
    Day,
}

/// A destination as the API takes it.
#[derive(Serialize)]
struct Form<'a> {
    url: &'a str,
    description: &'a str,
    method: &'a str,
    status: &'static str,
    headers: BTreeMap<&'a str, Value>,
    body: Option<Body<'a>>,
    signing: Map<String, Value>,
    rate: Option<Value>,
    retry: Retry,
    max_submissions: Option<NonZeroU64>,
    order_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_once: Option<NonZeroU16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_limit_seconds: Option<u64>,
}

/// What is sent, its members in the order in which they are given.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Body<'a> {
    Json(Box<RawValue>),
    #[serde(serialize_with = "in_order")]
    Form(Vec<(&'a str, &'a str)>),
}

fn in_order<S: Serializer>(inputs: &[(&str, &str)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(inputs.iter().copied())
}

/// An example as the API takes it.
#[derive(Serialize)]
pub(super) struct Sample<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) event_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) payload: Option<Box<RawValue>>,
}

/// JSON that is given as it is, or in a file.
pub(super) fn json_of(given: &str) -> Result<Box<RawValue>, Failure> {
    let unusable = |why: &dyn std::fmt::Display| Failure::Failed(format!("cannot use {why}"));
    match given.strip_prefix('@') {
        None => serde_json::from_str(given)
            .map_err(|error| Failure::Usage(format!("what is given is not JSON: {error}"))),
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| unusable(&format!("{path}: {error}")))
            .and_then(|text| {
                serde_json::from_str(&text).map_err(|error| unusable(&format!("{path}: {error}")))
            }),
    }
}

impl CreateArgs {
    pub(super) fn to_json(&self) -> Result<String, Failure> {
        let status = match (self.draft, self.unverified) {
            (true, _) => "draft",
            (_, true) => "unverified",
            _ => "active",
        };
        let rate = |per_second| json!({"per_second": per_second, "burst": self.burst});
        let form = Form {
            url: &self.to,
            description: &self.description,
            method: &self.method,
            status,
            headers: self.headers()?,
            body: self.body()?,
            signing: self.signing()?,
            rate: self.rate.map(rate),
            retry: self.retry,
            max_submissions: self.max_submissions,
            order_by: self.order_by.as_deref(),
            at_once: self.at_once,
            time_limit_seconds: self.timeout,
        };
        Ok(serde_json::to_string(&form).expect("a form has string keys only"))
    }

    fn headers(&self) -> Result<BTreeMap<&str, Value>, Failure> {
        let mut headers = BTreeMap::new();
        for header in &self.header {
            let (name, value) = name_and_value("--header", header)?;
            headers.insert(name, value.into());
        }
        for header in &self.secret_header {
            let (name, value) = name_and_value("--secret-header", header)?;
            headers.insert(name, json!({"secret": value}));
        }
        for header in &self.secret_header_env {
            let (name, variable) = name_and_value("--secret-header-env", header)?;
            let value = std::env::var(variable).map_err(|_| {
                Failure::Usage(format!("--secret-header-env: the variable `{variable}` is not set"))
            })?;
            headers.insert(name, json!({"secret": value}));
        }
        Ok(headers)
    }

    fn body(&self) -> Result<Option<Body<'_>>, Failure> {
        if let Some(given) = &self.body_json {
            return Ok(Some(Body::Json(json_of(given)?)));
        }
        let inputs = self.form.iter().map(|input| {
            input.split_once('=').ok_or_else(|| {
                Failure::Usage("--form is NAME=TEMPLATE, as in 'email={{ email }}'".to_owned())
            })
        });
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        Ok((!inputs.is_empty()).then_some(Body::Form(inputs)))
    }

    fn signing(&self) -> Result<Map<String, Value>, Failure> {
        let mut signing = match &self.scheme_file {
            Some(path) => description(path)?,
            None => Map::new(),
        };
        signing.insert("scheme".to_owned(), self.scheme.as_str().into());
        // A variable that is set for other commands is no secret of what signs nothing.
        if let Some(secret) = self.secret.as_ref().filter(|_| self.scheme != "none") {
            signing.insert("secret".to_owned(), secret.expose().into());
        }
        Ok(signing)
    }
}

/// The two sides of a header. What is given is not repeated: it may be a secret.
fn name_and_value<'a>(flag: &str, given: &'a str) -> Result<(&'a str, &'a str), Failure> {
    let (name, value) = given.split_once(':').ok_or_else(|| {
        Failure::Usage(format!("{flag} has a name and a colon, as in 'X-Name: something'"))
    })?;
    Ok((name.trim(), value.trim()))
}
