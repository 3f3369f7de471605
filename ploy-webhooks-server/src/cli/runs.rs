//! `runs`: shown, tried again and called off from the shell.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::Failure;
use super::client::{Call, Client, parse};
use super::output::{harmless_lines, print, sheet};
use super::page::{PageArgs, print_list};
use super::record::Record;

#[derive(Debug, Subcommand)]
pub(super) enum RunsCommand {
    /// List runs, the newest first.
    List(ListArgs),
    /// Show one run with its attempts.
    Show { id: String },
    /// Try a run once more, now: one that failed, was cancelled or waits for its next attempt.
    Retry { id: String },
    /// Call a run off that is not finished.
    Cancel { id: String },
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only those of this event.
    #[arg(long, value_name = "ID")]
    event: Option<String>,
    /// Only those that deliver to this destination.
    #[arg(long, value_name = "ID")]
    destination: Option<String>,
    /// Only those in this state: queued, running, retrying, succeeded, failed or cancelled.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

const HEADER: [&str; 6] = ["ID", "STATE", "RUNS", "ATTEMPTS", "EVENT", "LAST ERROR"];

/// What is shown of a run.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    id: String,
    event_id: String,
    state: String,
    trigger: Value,
    created_at: String,
    attempts: Vec<Attempt>,
}

#[derive(Debug, Deserialize)]
struct Attempt {
    number: u32,
    started_at: String,
    worker: String,
    ended_at: Option<String>,
    outcome: Option<String>,
    output: Option<String>,
    error: Option<String>,
    delivery: Option<Record>,
}

pub(super) async fn run(client: &Client, json: bool, command: RunsCommand) -> Result<(), Failure> {
    let answer = client.call(command.to_call()).await?;
    match command {
        _ if json => print(&String::from_utf8_lossy(&answer)),
        RunsCommand::List(_) => print_list(&answer, HEADER, Row::cells),
        _ => parse::<Row>(&answer)?.print(),
    }
}

impl RunsCommand {
    fn to_call(&self) -> Call<'_> {
        match self {
            Self::List(ListArgs { event, destination, state, page }) => {
                Call::new(Method::GET, ["runs"])
                    .query([("event", event.clone()), ("destination", destination.clone())])
                    .query([("state", state.clone())])
                    .query(page.query())
            }
            Self::Show { id } => Call::new(Method::GET, ["runs", id]),
            Self::Retry { id } => Call::new(Method::POST, ["runs", id, "retry"]),
            Self::Cancel { id } => Call::new(Method::POST, ["runs", id, "cancel"]),
        }
    }
}

impl Row {
    fn cells(self) -> [String; 6] {
        const ERROR_CHARS: usize = 60;
        let error = self.attempts.iter().rev().find_map(|attempt| attempt.error.as_deref());
        let excerpt: String = error.unwrap_or_default().chars().take(ERROR_CHARS).collect();
        let (runs, attempts) = (self.runs(), self.attempts.len().to_string());
        [self.id, self.state, runs, attempts, self.event_id, excerpt]
    }

    /// What it runs, in a few words.
    fn runs(&self) -> String {
        let Value::Object(trigger) = &self.trigger else { return String::new() };
        let named = |name| trigger.get(name).and_then(Value::as_str);
        match (named("ploybook").or(named("destination")), named("group")) {
            (Some(name), _) if trigger.contains_key("draft") => format!("{name} (draft)"),
            (Some(name), _) => name.to_owned(),
            (_, Some(group)) => format!("(first of {group})"),
            _ => "(a condition)".to_owned(),
        }
    }

    /// Prints the run with its attempts, one below the other.
    pub(super) fn print(&self) -> Result<(), Failure> {
        let lines = [
            ("run", &self.id),
            ("state", &self.state),
            ("runs", &self.runs()),
            ("event", &self.event_id),
            ("created", &self.created_at),
        ];
        print(&sheet(lines.map(|(name, value)| [name.to_owned(), value.clone()])))?;
        let is_under_way = |attempt: &Attempt| {
            let last = self.attempts.last().map(|last| last.number);
            self.state == "running" && last == Some(attempt.number)
        };
        self.attempts.iter().try_for_each(|attempt| attempt.print(is_under_way(attempt)))
    }
}

impl Attempt {
    fn print(&self, is_under_way: bool) -> Result<(), Failure> {
        let ended = match (&self.outcome, &self.ended_at) {
            (Some(outcome), Some(ended_at)) => format!("{outcome} at {ended_at}"),
            _ if is_under_way => "under way".to_owned(),
            _ => "ended without a word".to_owned(),
        };
        let (number, started) = (self.number, &self.started_at);
        let line = [format!("attempt {number}"), format!("{started} on {}: {ended}", self.worker)];
        print(&sheet([line]))?;
        for [name, value] in self.delivery.iter().flat_map(Record::lines) {
            print(&format!("  {name}: {}", harmless_lines(&value)))?;
        }
        let error = self.error.as_ref().filter(|_| self.delivery.is_none());
        let said = [("error", error), ("output", self.output.as_ref())];
        for (name, said) in said {
            if let Some(said) = said.filter(|said| !said.is_empty()) {
                print(&format!("  {name}: {}", harmless_lines(said)))?;
            }
        }
        Ok(())
    }
}
