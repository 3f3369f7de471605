//! `endpoints`: made, shown and changed from the shell.

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
    /// Make a new key, shown this once. The old one dies now, or after the overlap.
    Rotate {
        id: String,
        /// For how long the old key still opens.
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        overlap_seconds: u64,
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
    /// The largest body.
    #[arg(long, value_name = "BYTES")]
    body_bytes: Option<u64>,
    /// An address range that may send, such as 203.0.113.0/24. Give several times for several.
    #[arg(long, value_name = "RANGE")]
    allow: Vec<String>,
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
    api_key: Option<String>,
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
    let answer = client.call(command.to_call()).await?;
    match command {
        EndpointsCommand::Delete { .. } => Ok(()),
        _ if json => print(&String::from_utf8_lossy(&answer)),
        EndpointsCommand::List(_) => print_list(&answer, HEADER, Row::cells),
        _ => print_one(parse(&answer)?),
    }
}

impl EndpointsCommand {
    fn to_call(&self) -> Call<'_> {
        match self {
            Self::Create(args) => Call::new(Method::POST, ["endpoints"]).body(args.to_json()),
            Self::List(page) => Call::new(Method::GET, ["endpoints"]).query(page.query()),
            Self::Show { id } => Call::new(Method::GET, ["endpoints", id]),
            Self::Pause { id } => {
                Call::new(Method::PATCH, ["endpoints", id]).body(json!({"status": "paused"}))
            }
            Self::Resume { id } => {
                Call::new(Method::PATCH, ["endpoints", id]).body(json!({"status": "active"}))
            }
            Self::Rotate { id, overlap_seconds } => {
                Call::new(Method::POST, ["endpoints", id, "rotate"])
                    .body(json!({"overlap_seconds": overlap_seconds}))
            }
            Self::Delete { id } => Call::new(Method::DELETE, ["endpoints", id]),
        }
    }
}

impl CreateArgs {
    fn to_json(&self) -> Value {
        let mut limits = Map::new();
        if let Some(per_second) = self.rate {
            let rate = json!({"per_second": per_second, "burst": self.burst});
            limits.insert("rate".to_owned(), rate);
        }
        if let Some(bytes) = self.body_bytes {
            limits.insert("body_bytes".to_owned(), bytes.into());
        }
        json!({
            "description": self.description,
            "trigger": self.ploybook.as_ref().map(|name| json!({"ploybook": name})),
            "limits": limits,
            "allow": (!self.allow.is_empty()).then_some(&self.allow),
        })
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
        ("key (shown this once)", row.api_key),
    ];
    let lines = lines.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?]));
    print(&sheet(lines))
}
