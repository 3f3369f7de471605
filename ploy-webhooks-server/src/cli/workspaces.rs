//! `workspaces`: tenants, made and bounded from the shell.

use std::num::NonZeroU32;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Failure;
use super::client::{Call, Client, parse};
use super::output::{print, sheet};
use super::page::{PageArgs, print_list};

#[derive(Debug, Subcommand)]
pub(super) enum WorkspacesCommand {
    /// Make a workspace.
    Create {
        /// For people.
        name: String,
        #[command(flatten)]
        bounds: Bounds,
    },
    /// List workspaces, the oldest first.
    List(PageArgs),
    /// Show one workspace.
    Show { id: String },
    /// Change what is given of a workspace.
    Set {
        id: String,
        /// For people.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        bounds: Bounds,
        /// Take the bound on its rate away.
        #[arg(long, conflicts_with = "rate")]
        no_rate: bool,
        /// Keep events for ever.
        #[arg(long, conflicts_with = "retention_seconds")]
        no_retention: bool,
    },
    /// Delete a workspace that has no endpoints, with its tokens, Ploybooks and subscriptions.
    Delete { id: String },
}

#[derive(Debug, Args)]
pub(super) struct Bounds {
    /// Events a second that all its endpoints together accept in the long run.
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<NonZeroU32>,
    /// Events that they accept at once.
    #[arg(long, value_name = "EVENTS", requires = "rate")]
    burst: Option<NonZeroU32>,
    /// For how long events are kept; 2592000 is 30 days. Without it, for ever.
    #[arg(long, value_name = "SECONDS")]
    retention_seconds: Option<u64>,
}

const HEADER: [&str; 4] = ["ID", "NAME", "RATE", "CREATED"];

/// What is shown of a workspace.
#[derive(Debug, Deserialize)]
struct Row {
    id: String,
    name: String,
    created_at: Option<String>,
    limits: Limits,
}

#[derive(Debug, Deserialize)]
struct Limits {
    rate: Option<Rate>,
    retention_seconds: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Rate {
    per_second: u32,
    burst: Option<u32>,
}

pub(super) async fn run(
    client: &Client,
    json: bool,
    command: WorkspacesCommand,
) -> Result<(), Failure> {
    let answer = client.call(command.to_call()).await?;
    match command {
        WorkspacesCommand::Delete { .. } => Ok(()),
        _ if json => print(&String::from_utf8_lossy(&answer)),
        WorkspacesCommand::List(_) => print_list(&answer, HEADER, Row::cells),
        _ => parse::<Row>(&answer)?.print(),
    }
}

impl WorkspacesCommand {
    fn to_call(&self) -> Call<'_> {
        match self {
            Self::Create { name, bounds } => {
                let mut body = Map::from_iter([("name".to_owned(), name.as_str().into())]);
                body.insert("limits".to_owned(), bounds.given().into());
                Call::new(Method::POST, ["workspaces"]).body(body.into())
            }
            Self::List(page) => Call::new(Method::GET, ["workspaces"]).query(page.query()),
            Self::Show { id } => Call::new(Method::GET, ["workspaces", id]),
            Self::Set { id, name, bounds, no_rate, no_retention } => {
                let lifted = [("rate", *no_rate), ("retention_seconds", *no_retention)];
                let lifted = lifted.into_iter().filter(|(_, is_lifted)| *is_lifted);
                let mut limits = bounds.given();
                limits.extend(lifted.map(|(name, _)| (name.to_owned(), Value::Null)));
                let members = [
                    ("name", name.as_deref().map(Value::from)),
                    ("limits", (!limits.is_empty()).then(|| limits.into())),
                ];
                let given =
                    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
                Call::new(Method::PATCH, ["workspaces", id]).body(Value::Object(given.collect()))
            }
            Self::Delete { id } => Call::new(Method::DELETE, ["workspaces", id]),
        }
    }
}

impl Bounds {
    fn given(&self) -> Map<String, Value> {
        let rate =
            self.rate.map(|per_second| json!({"per_second": per_second, "burst": self.burst}));
        let given =
            [("rate", rate), ("retention_seconds", self.retention_seconds.map(Value::from))];
        given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

impl Row {
    fn cells(self) -> [String; 4] {
        let rate = self.rate();
        [self.id, self.name, rate, self.created_at.unwrap_or_default()]
    }

    fn rate(&self) -> String {
        match &self.limits.rate {
            None => "unbounded".to_owned(),
            Some(Rate { per_second, burst: None }) => format!("{per_second}/s"),
            Some(Rate { per_second, burst: Some(burst) }) => {
                format!("{per_second}/s, {burst} at once")
            }
        }
    }

    fn print(self) -> Result<(), Failure> {
        let rate = self.rate();
        let retention = self.limits.retention_seconds.map(|seconds| format!("{seconds} s"));
        let lines = [
            ("id", Some(self.id)),
            ("name", Some(self.name)),
            ("rate", Some(rate)),
            ("events kept for", retention),
            ("created", self.created_at),
        ];
        let lines = lines.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?]));
        print(&sheet(lines))
    }
}
