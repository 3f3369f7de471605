//! `subscriptions`: set from the shell.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Failure;
use super::client::{Call, Client, parse};
use super::output::{print, sheet};
use super::page::{PageArgs, print_list};

#[derive(Debug, Subcommand)]
pub(super) enum SubscriptionsCommand {
    /// Have events run a Ploybook, or be delivered to a destination.
    Create(CreateArgs),
    /// List subscriptions, the oldest first.
    List(PageArgs),
    /// Show one subscription.
    Show { id: String },
    /// Change what is given of a subscription.
    Set {
        id: String,
        #[command(flatten)]
        changes: SetArgs,
    },
    /// Follow it again.
    Enable { id: String },
    /// Do not follow it any more.
    Disable { id: String },
    /// Delete a subscription.
    Delete { id: String },
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// What is run.
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "destination",
        conflicts_with = "destination"
    )]
    ploybook: Option<String>,
    /// Where events are delivered to.
    #[arg(long, value_name = "ID")]
    destination: Option<String>,
    /// Only put on record what would be done.
    #[arg(long)]
    draft: bool,
    /// Only where this holds, in CEL, as in 'payload.icp_score >= 80 && has(payload.email)'.
    #[arg(long, value_name = "CONDITION")]
    when: Option<String>,
    /// Of the subscriptions of one group, the first whose condition holds is followed.
    #[arg(long)]
    group: Option<String>,
    /// Its place in the group; where two are equal, the older one comes first.
    #[arg(long, requires = "group")]
    position: Option<u32>,
    /// Only events of this endpoint. Give several times for several.
    #[arg(long, value_name = "ID")]
    endpoint: Vec<String>,
    /// Only events of this type, as in invoice.paid or 'invoice.*'. Give several times for several.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// For people.
    #[arg(long)]
    description: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct SetArgs {
    /// What is run.
    #[arg(long, value_name = "NAME", conflicts_with = "destination")]
    ploybook: Option<String>,
    /// Where events are delivered to.
    #[arg(long, value_name = "ID")]
    destination: Option<String>,
    /// Only put on record what would be done.
    #[arg(long, conflicts_with = "no_draft")]
    draft: bool,
    /// Do it from now on.
    #[arg(long)]
    no_draft: bool,
    /// Only where this holds, in CEL.
    #[arg(long, value_name = "CONDITION", conflicts_with = "always")]
    when: Option<String>,
    /// Whatever an event is like: no condition.
    #[arg(long)]
    always: bool,
    /// Its place in its group.
    #[arg(long)]
    position: Option<u32>,
    /// For people.
    #[arg(long)]
    description: Option<String>,
}

const HEADER: [&str; 6] = ["ID", "ENABLED", "GROUP", "PLACE", "WHEN", "RUNS"];

/// What is shown of a subscription.
#[derive(Debug, Deserialize)]
struct Row {
    id: String,
    description: String,
    enabled: bool,
    endpoints: Vec<String>,
    types: Vec<String>,
    condition: Option<String>,
    ploybook: Option<String>,
    destination: Option<String>,
    draft: bool,
    group: Option<String>,
    position: u32,
}

pub(super) async fn run(
    client: &Client,
    json: bool,
    command: SubscriptionsCommand,
) -> Result<(), Failure> {
    let answer = client.call(command.to_call()).await?;
    match command {
        SubscriptionsCommand::Delete { .. } => Ok(()),
        _ if json => print(&String::from_utf8_lossy(&answer)),
        SubscriptionsCommand::List(_) => print_list(&answer, HEADER, Row::cells),
        _ => parse::<Row>(&answer)?.print(),
    }
}

impl SubscriptionsCommand {
    fn to_call(&self) -> Call<'_> {
        let patch = |id, body| Call::new(Method::PATCH, ["subscriptions", id]).body(body);
        match self {
            Self::Create(args) => Call::new(Method::POST, ["subscriptions"]).body(args.to_json()),
            Self::List(page) => Call::new(Method::GET, ["subscriptions"]).query(page.query()),
            Self::Show { id } => Call::new(Method::GET, ["subscriptions", id]),
            Self::Set { id, changes } => patch(id, changes.to_json()),
            Self::Enable { id } => patch(id, json!({"enabled": true})),
            Self::Disable { id } => patch(id, json!({"enabled": false})),
            Self::Delete { id } => Call::new(Method::DELETE, ["subscriptions", id]),
        }
    }
}

impl CreateArgs {
    fn to_json(&self) -> Value {
        json!({
            "ploybook": self.ploybook,
            "destination": self.destination,
            "draft": self.draft,
            "condition": self.when,
            "group": self.group,
            "position": self.position.unwrap_or_default(),
            "endpoints": self.endpoint,
            "types": self.types,
            "description": self.description.clone().unwrap_or_default(),
        })
    }
}

impl SetArgs {
    fn to_json(&self) -> Value {
        let condition = match &self.when {
            Some(condition) => Some(condition.as_str().into()),
            None => self.always.then_some(Value::Null),
        };
        // Of the two, one takes the place of the other.
        let (ploybook, destination) = match (&self.ploybook, &self.destination) {
            (None, None) => (None, None),
            (ploybook, destination) => (Some(json!(ploybook)), Some(json!(destination))),
        };
        let draft = (self.draft || self.no_draft).then_some(self.draft);
        let members = [
            ("ploybook", ploybook),
            ("destination", destination),
            ("draft", draft.map(Value::from)),
            ("condition", condition),
            ("position", self.position.map(Value::from)),
            ("description", self.description.as_deref().map(Value::from)),
        ];
        let given = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(given.collect())
    }
}

impl Row {
    fn cells(self) -> [String; 6] {
        let place = if self.group.is_some() { self.position.to_string() } else { String::new() };
        let (enabled, runs) = (self.enabled(), self.runs());
        [
            self.id,
            enabled.to_owned(),
            self.group.unwrap_or_default(),
            place,
            self.condition.unwrap_or_else(|| "always".to_owned()),
            runs,
        ]
    }

    const fn enabled(&self) -> &'static str {
        match (self.enabled, self.draft) {
            (true, false) => "yes",
            (true, true) => "draft",
            (false, _) => "no",
        }
    }

    /// What is run, or where is delivered to.
    fn runs(&self) -> String {
        self.ploybook.clone().or_else(|| self.destination.clone()).unwrap_or_default()
    }

    fn print(self) -> Result<(), Failure> {
        let or_all = |names: Vec<String>| match names.is_empty() {
            true => "all".to_owned(),
            false => names.join(", "),
        };
        let runs = self.runs();
        let group = self.group.map_or(String::new(), |name| format!("{name}, {}", self.position));
        let lines = [
            ("id", self.id),
            ("enabled", self.enabled.to_string()),
            ("draft", self.draft.to_string()),
            ("description", self.description),
            ("endpoints", or_all(self.endpoints)),
            ("types", or_all(self.types)),
            ("when", self.condition.unwrap_or_else(|| "always".to_owned())),
            ("group, place", group),
            ("runs", runs),
        ];
        print(&sheet(lines.map(|(name, value)| [name.to_owned(), value])))
    }
}
