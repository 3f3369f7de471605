//! `events tail`: what happens, a line each, as it happens.

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Failure;
use super::client::{Client, parse};
use super::feed::{Feed, Runs, Told};
use super::output::{harmless, print_on};

#[derive(Debug, Args)]
pub(super) struct TailArgs {
    /// Only what this endpoint takes.
    #[arg(long, value_name = "ID")]
    endpoint: Option<String>,
    /// Only events of this type.
    #[arg(long = "type", value_name = "TYPE", conflicts_with = "runs")]
    event_type: Option<String>,
    /// Also what becomes of runs.
    #[arg(long)]
    runs: bool,
}

/// What is shown of an event.
#[derive(Debug, Deserialize)]
struct Accepted {
    id: String,
    received_at: String,
    endpoint_id: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    size: u64,
}

/// What is shown of what has become of a run.
#[derive(Debug, Deserialize)]
struct RunChange {
    id: String,
    event_id: String,
    state: String,
    attempt: u32,
}

/// Prints until it is stopped, or nobody reads any more.
pub(super) async fn run(client: &Client, json: bool, args: TailArgs) -> Result<(), Failure> {
    let TailArgs { endpoint, event_type, runs } = args;
    let runs = if runs { Runs::Told } else { Runs::LeftOut };
    let mut feed = Feed::new(client, endpoint, event_type, runs);
    loop {
        let told = feed.next().await?;
        if told.name == "gap" {
            say_gap();
        }
        let line = if json { Some(in_json(&told)?) } else { line(&told)? };
        if let Some(line) = line
            && !print_on(&line)?
        {
            return Ok(());
        }
    }
}

/// Tells that something is missing.
pub(super) fn say_gap() {
    eprintln!(
        "some of what happened meanwhile is not kept any more in the order in which it happened: \
         see `events list` and `runs list` for the rest"
    );
}

/// For programs: what is told, as it is.
fn in_json(told: &Told) -> Result<String, Failure> {
    #[derive(Serialize)]
    struct Line<'a> {
        event: &'a str,
        data: &'a RawValue,
    }
    let line = Line { event: &told.name, data: parse(told.data.as_bytes())? };
    Ok(serde_json::to_string(&line).expect("a name and JSON have a JSON form"))
}

/// For people; `None` for what this version does not know.
fn line(told: &Told) -> Result<Option<String>, Failure> {
    Ok(match told.name.as_str() {
        "accepted" => {
            let Accepted { id, received_at, endpoint_id, event_type, size } =
                parse(told.data.as_bytes())?;
            let (event_type, endpoint) =
                (event_type.unwrap_or_default(), endpoint_id.unwrap_or_default());
            let line = format!("{received_at}  {id}  {event_type}  {size} bytes  {endpoint}");
            Some(harmless(line.trim_end()))
        }
        "run" => {
            let RunChange { id, event_id, state, attempt } = parse(told.data.as_bytes())?;
            Some(harmless(&format!("{event_id}  {id}  {state}  attempt {attempt}")))
        }
        _ => None,
    })
}
