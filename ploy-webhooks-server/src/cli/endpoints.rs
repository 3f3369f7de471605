//! `endpoints`: made, shown and changed from the shell.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ploy_webhooks::Secret;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Failure;
use super::client::{Call, Client, parse};
use super::output::{print, sheet};
use super::page::{PageArgs, print_list};

#[derive(Debug, Subcommand)]
pub(super) enum EndpointsCommand {
    /// Make an endpoint. Its key is shown this once.
    Create(CreateArgs),
    /// List endpoints, the oldest first.
    List(PageArgs),
    /// Show one endpoint.
    Show { id: String },
    /// Refuse events until it is resumed.
    Pause { id: String },
    /// Accept events again.
    Resume { id: String },
    /// Make a new key or secret, shown this once. The old one dies now, or after the overlap.
    Rotate {
        id: String,
        /// For how long the old one still opens.
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        overlap_seconds: u64,
        /// The new secret, where the sender has chosen it. Better set in the environment.
        #[arg(long, env = "PLOY_NEW_SECRET", hide_env_values = true)]
        secret: Option<Secret>,
    },
    /// Delete an endpoint with all its events.
    Delete { id: String },
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// For people.
    #[arg(long, default_value = "")]
    description: String,
    /// The Ploybook that each event runs.
    #[arg(long, value_name = "NAME")]
    ploybook: Option<String>,
    /// Events a second that are accepted in the long run.
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<NonZeroU32>,
    /// Events that are accepted at once.
    #[arg(long, value_name = "EVENTS", requires = "rate")]
    burst: Option<NonZeroU32>,
    /// Events that are accepted in all, or in each period.
    #[arg(long, value_name = "EVENTS")]
    quota: Option<NonZeroU64>,
    /// The period of the quota; 86400 is a day in UTC.
    #[arg(long, value_name = "SECONDS", requires = "quota")]
    quota_period_seconds: Option<NonZeroU32>,
    /// The largest body.
    #[arg(long, value_name = "BYTES")]
    body_bytes: Option<u64>,
    /// For how long its events are kept, where that is less than in its workspace; 2592000 is 30
    /// days.
    #[arg(long, value_name = "SECONDS")]
    retention_seconds: Option<u64>,
    /// An address range that may send, such as 203.0.113.0/24. Give several times for several.
    #[arg(long, value_name = "RANGE")]
    allow: Vec<String>,
    /// The scheme that senders sign by: a preset such as `stripe`, or `custom`.
    #[arg(long, value_name = "NAME")]
    scheme: Option<String>,
    /// The secret that senders sign with; minted if left out, where the scheme lets us. Better set
    /// in the environment, where others do not see it.
    #[arg(long, env = "PLOY_SECRET", hide_env_values = true)]
    secret: Option<Secret>,
    /// The description of the scheme `custom`.
    #[arg(long, value_name = "FILE.json", required_if_eq("scheme", "custom"))]
    scheme_file: Option<PathBuf>,
    /// Takes what was signed once: the same again within the tolerance is a repeat.
    #[arg(long, requires = "scheme")]
    once: bool,
    /// Answers 200 to events that are stored, in place of 202.
    #[arg(long)]
    answer_200: bool,
}

const HEADER: [&str; 4] = ["ID", "STATUS", "DESCRIPTION", "URL"];

/// What the tables show of an endpoint.
#[derive(Debug, Deserialize)]
struct Row {
    id: String,
    url: String,
    status: String,
    description: String,
    created_at: String,
    trigger: Option<Trigger>,
    auth: AuthRow,
    limits: LimitsRow,
    credentials: Vec<CredentialRow>,
    activity: Option<ActivityRow>,
    api_key: Option<String>,
    signing_secret: Option<String>,
}

#[derive(Debug, Deserialize)]
struct AuthRow {
    scheme: String,
}

#[derive(Debug, Deserialize)]
struct LimitsRow {
    retention_seconds: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct CredentialRow {
    id: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ActivityRow {
    quota: Option<QuotaRow>,
    refused: BTreeMap<String, RefusedRow>,
}

#[derive(Debug, Deserialize)]
struct QuotaRow {
    events: u64,
    used: u64,
    resets_at: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RefusedRow {
    count: u64,
    last_at: String,
}

#[derive(Debug, Deserialize)]
struct Trigger {
    ploybook: String,
}

pub(super) async fn run(
    client: &Client,
    json: bool,
    command: EndpointsCommand,
) -> Result<(), Failure> {
    let answer = client.call(command.to_call()?).await?;
    match command {
        EndpointsCommand::Delete { .. } => Ok(()),
        _ if json => print(&String::from_utf8_lossy(&answer)),
        EndpointsCommand::List(_) => print_list(&answer, HEADER, Row::cells),
        _ => print_one(parse(&answer)?),
    }
}

impl EndpointsCommand {
    fn to_call(&self) -> Result<Call<'_>, Failure> {
        Ok(match self {
            Self::Create(args) => Call::new(Method::POST, ["endpoints"]).body(args.to_json()?),
            Self::List(page) => Call::new(Method::GET, ["endpoints"]).query(page.query()),
            Self::Show { id } => Call::new(Method::GET, ["endpoints", id]),
            Self::Pause { id } => {
                Call::new(Method::PATCH, ["endpoints", id]).body(json!({"status": "paused"}))
            }
            Self::Resume { id } => {
                Call::new(Method::PATCH, ["endpoints", id]).body(json!({"status": "active"}))
            }
            Self::Rotate { id, overlap_seconds, secret } => {
                let mut rotation = json!({"overlap_seconds": overlap_seconds});
                if let Some(secret) = secret {
                    rotation["secret"] = secret.expose().into();
                }
                Call::new(Method::POST, ["endpoints", id, "rotate"]).body(rotation)
            }
            Self::Delete { id } => Call::new(Method::DELETE, ["endpoints", id]),
        })
    }
}

impl CreateArgs {
    fn to_json(&self) -> Result<Value, Failure> {
        let mut limits = Map::new();
        if let Some(per_second) = self.rate {
            let rate = json!({"per_second": per_second, "burst": self.burst});
            limits.insert("rate".to_owned(), rate);
        }
        if let Some(events) = self.quota {
            let quota = json!({"events": events, "period_seconds": self.quota_period_seconds});
            limits.insert("quota".to_owned(), quota);
        }
        if let Some(bytes) = self.body_bytes {
            limits.insert("body_bytes".to_owned(), bytes.into());
        }
        if let Some(seconds) = self.retention_seconds {
            limits.insert("retention_seconds".to_owned(), seconds.into());
        }
        let mut form = json!({
            "description": self.description,
            "trigger": self.ploybook.as_ref().map(|name| json!({"ploybook": name})),
            "limits": limits,
            "allow": (!self.allow.is_empty()).then_some(&self.allow),
        });
        if let Some(scheme) = &self.scheme {
            form["auth"] = self.auth(scheme)?.into();
        }
        if self.answer_200 {
            form["answer"] = json!({"status": 200});
        }
        Ok(form)
    }

    fn auth(&self, scheme: &str) -> Result<Map<String, Value>, Failure> {
        let mut auth = match &self.scheme_file {
            Some(path) => description(path)?,
            None => Map::new(),
        };
        auth.insert("scheme".to_owned(), scheme.into());
        if let Some(secret) = &self.secret {
            auth.insert("secret".to_owned(), secret.expose().into());
        }
        if self.once {
            auth.insert("once".to_owned(), true.into());
        }
        Ok(auth)
    }
}

/// The description of a scheme that is in that file.
pub(super) fn description(path: &Path) -> Result<Map<String, Value>, Failure> {
    let unusable = |why: &dyn std::fmt::Display| {
        Failure::Failed(format!("cannot use {}: {why}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| unusable(&error))?;
    serde_json::from_str(&text).map_err(|error| unusable(&error))
}

impl CredentialRow {
    fn text(&self) -> String {
        let mut text = self.id.clone();
        match &self.last_used_at {
            Some(time) => text.push_str(&format!(", last used {time}")),
            None => text.push_str(", not used yet"),
        }
        if let Some(time) = &self.expires_at {
            text.push_str(&format!(", until {time}"));
        }
        text
    }
}

impl QuotaRow {
    fn text(&self) -> String {
        let Self { events, used, resets_at } = self;
        let percent = u128::from(*used) * 100 / u128::from((*events).max(1));
        match resets_at {
            Some(time) => format!("{used} of {events} used ({percent} %), anew {time}"),
            None => format!("{used} of {events} used ({percent} %)"),
        }
    }
}

impl Row {
    fn cells(self) -> [String; 4] {
        [self.id, self.status, self.description, self.url]
    }
}

/// Prints the answer to a call that shows an endpoint.
pub(super) fn print_answer(answer: &[u8], json: bool) -> Result<(), Failure> {
    match json {
        true => print(&String::from_utf8_lossy(answer)),
        false => print_one(parse(answer)?),
    }
}

fn print_one(row: Row) -> Result<(), Failure> {
    let trigger = row.trigger.map(|trigger| trigger.ploybook);
    let lines = [
        ("id", Some(row.id)),
        ("url", Some(row.url)),
        ("status", Some(row.status)),
        ("description", Some(row.description)),
        ("created", Some(row.created_at)),
        ("ploybook", trigger),
        ("scheme", Some(row.auth.scheme)),
        ("events kept for", row.limits.retention_seconds.map(|seconds| format!("{seconds} s"))),
        ("key (shown this once)", row.api_key),
        ("secret (shown this once)", row.signing_secret),
    ];
    let lines = lines.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?]));
    let activity = row.activity.map(|activity| {
        let credentials = row.credentials.iter();
        let credentials = credentials.map(|one| ["credential".to_owned(), one.text()]);
        let quota = activity.quota.map(|quota| ["quota".to_owned(), quota.text()]);
        let refused = activity.refused.into_iter().map(|(code, RefusedRow { count, last_at })| {
            ["refused".to_owned(), format!("{count} × {code}, last {last_at}")]
        });
        credentials.chain(quota).chain(refused).collect::<Vec<_>>()
    });
    print(&sheet(lines.chain(activity.unwrap_or_default())))
}
