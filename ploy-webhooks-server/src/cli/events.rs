//! `events`: published, found, shown and replayed from the shell.

use std::collections::BTreeMap;

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Failure;
use super::client::{Call, Client, parse};
use super::export::{self, ExportArgs};
use super::output::{harmless_lines, print, print_bytes, sheet};
use super::page::{PageArgs, print_list};
use super::publish::{self, PublishArgs};
use super::replay::{self, ReplayArgs};
use super::runs;
use super::tail::{self, TailArgs};

#[derive(Debug, Subcommand)]
pub(super) enum EventsCommand {
    /// Publish an event of your own: subscriptions say what comes of it.
    Publish(PublishArgs),
    #[command(flatten)]
    Look(LookCommand),
    /// Print events as they come, until it is stopped.
    Tail(TailArgs),
    /// Write all events that the conditions find, with payloads, one a line.
    Export(ExportArgs),
    /// Run again what is wired to events: to one, or to all that the conditions find.
    Replay(ReplayArgs),
}

#[derive(Debug, Subcommand)]
pub(super) enum LookCommand {
    /// List events, the newest first.
    List(Conditions),
    /// List the events in whose payload a text stands, in any case.
    Search {
        text: String,
        #[command(flatten)]
        conditions: Conditions,
    },
    /// Show one event.
    Show {
        id: String,
        /// Print the payload alone, byte for byte.
        #[arg(long)]
        payload: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Conditions {
    #[command(flatten)]
    filter: Filter,
    /// Which end comes first.
    #[arg(long)]
    order: Option<Order>,
    #[command(flatten)]
    page: PageArgs,
}

/// Which events are meant.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Only what this endpoint took.
    #[arg(long, value_name = "ID")]
    endpoint: Option<String>,
    /// Only events of this type.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only what was received then or later, as in 2026-01-31T09:00:00Z.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only what was received before.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Order {
    Asc,
    Desc,
}

impl Order {
    pub(super) fn to_query(self) -> String {
        match self {
            Self::Asc => "asc".to_owned(),
            Self::Desc => "desc".to_owned(),
        }
    }
}

const HEADER: [&str; 5] = ["ID", "RECEIVED", "TYPE", "BYTES", "ENDPOINT"];

/// What the tables show of an event.
#[derive(Debug, Deserialize)]
struct Row {
    id: String,
    received_at: String,
    endpoint_id: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    size: u64,
    source: Option<String>,
}

/// What is shown of one event beside its row. Apart from it, since what is flattened into one is
/// held as a tree, and a tree cannot hold every payload that is accepted.
#[derive(Debug, Deserialize)]
struct Details<'a> {
    headers: BTreeMap<String, String>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    runs: Vec<runs::Row>,
}

pub(super) async fn run(
    client: &Client,
    json: bool,
    command: EventsCommand,
) -> Result<(), Failure> {
    match command {
        EventsCommand::Publish(args) => publish::run(client, json, &args).await,
        EventsCommand::Look(command) => look(client, json, command).await,
        EventsCommand::Tail(args) => tail::run(client, json, args).await,
        EventsCommand::Export(args) => export::run(client, &args).await,
        EventsCommand::Replay(args) => replay::run(client, json, &args).await,
    }
}

async fn look(client: &Client, json: bool, command: LookCommand) -> Result<(), Failure> {
    let answer = client.call(command.to_call()).await?;
    match command {
        LookCommand::Show { payload: true, .. } => print_bytes(&answer),
        _ if json => print(&String::from_utf8_lossy(&answer)),
        LookCommand::Show { .. } => print_one(&answer),
        LookCommand::List(_) | LookCommand::Search { .. } => {
            print_list(&answer, HEADER, Row::cells)
        }
    }
}

impl LookCommand {
    fn to_call(&self) -> Call<'_> {
        match self {
            Self::List(conditions) => conditions.to_call(None),
            Self::Search { text, conditions } => conditions.to_call(Some(text.clone())),
            Self::Show { id, payload: true } => Call::new(Method::GET, ["events", id, "payload"]),
            Self::Show { id, .. } => Call::new(Method::GET, ["events", id]),
        }
    }
}

impl Conditions {
    fn to_call(&self, contains: Option<String>) -> Call<'_> {
        let order = self.order.map(Order::to_query);
        Call::new(Method::GET, ["events"])
            .query(self.filter.query())
            .query([("contains", contains), ("order", order)])
            .query(self.page.query())
    }
}

impl Filter {
    pub(super) fn query(&self) -> [(&'static str, Option<String>); 4] {
        [
            ("endpoint", self.endpoint.clone()),
            ("type", self.event_type.clone()),
            ("from", self.from.clone()),
            ("to", self.to.clone()),
        ]
    }

    /// Whether every event is meant.
    pub(super) fn is_empty(&self) -> bool {
        self.query().iter().all(|(_, value)| value.is_none())
    }
}

impl Row {
    fn cells(self) -> [String; 5] {
        [
            self.id,
            self.received_at,
            self.event_type.unwrap_or_default(),
            self.size.to_string(),
            self.endpoint_id.unwrap_or_default(),
        ]
    }
}

fn print_one(answer: &[u8]) -> Result<(), Failure> {
    let (row, details): (Row, Details<'_>) = (parse(answer)?, parse(answer)?);
    let mut lines = vec![
        ["id".to_owned(), row.id],
        ["received".to_owned(), row.received_at],
        ["endpoint".to_owned(), row.endpoint_id.unwrap_or_default()],
        ["type".to_owned(), row.event_type.unwrap_or_default()],
        ["bytes".to_owned(), row.size.to_string()],
        ["source".to_owned(), row.source.unwrap_or_default()],
    ];
    lines.extend(details.headers.into_iter().map(|(name, value)| [name, value]));
    print(&sheet(lines))?;
    let payload = details.payload.map_or("", RawValue::get);
    print(&format!("\n{}", harmless_lines(payload)))?;
    for run in details.runs {
        print("")?;
        run.print()?;
    }
    Ok(())
}
