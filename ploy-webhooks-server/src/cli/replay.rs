//! `events replay`: what is wired to events is run again, for one or for many.

use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Failure;
use super::client::{Call, Client, parse};
use super::events::Filter;
use super::output::{harmless, print};
use super::pace::{Pace, Rate};

#[derive(Debug, Args)]
#[command(after_help = "\
Each event runs what is wired to it now, as runs of its own; the event itself is not copied.
Of many, the oldest comes first. Exits with 1 if any event was not replayed.")]
pub(super) struct ReplayArgs {
    /// The event.
    #[arg(required_unless_present_any = ["contains", "endpoint", "event_type", "from", "to"])]
    id: Option<String>,
    /// All events in whose payload this text stands, in any case.
    #[arg(long, value_name = "TEXT", conflicts_with = "id")]
    contains: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// At most so many events a second, as in 50 or 50/s.
    #[arg(long, value_name = "N/s", default_value = "50")]
    rate: Rate,
    /// At most so many events in all.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    max: u64,
}

#[derive(Debug, Deserialize)]
struct Page {
    data: Vec<Found>,
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Found {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Replayed {
    runs: Vec<Value>,
}

pub(super) async fn run(client: &Client, json: bool, args: &ReplayArgs) -> Result<(), Failure> {
    if let Some(id) = &args.id {
        if !args.filter.is_empty() {
            return Err(Failure::Usage("give an event, or conditions, not both".to_owned()));
        }
        let answer = client.call(call_for(id)).await?;
        return match json {
            true => print(&String::from_utf8_lossy(&answer)),
            false => print(&format!("runs added: {}", parse::<Replayed>(&answer)?.runs.len())),
        };
    }
    Replay::new(client, args).all(json).await
}

fn call_for(id: &str) -> Call<'_> {
    Call::new(Method::POST, ["events", id, "replay"])
}

/// A replay of many events on its way.
struct Replay<'a> {
    client: &'a Client,
    args: &'a ReplayArgs,
    bar: ProgressBar,
    replayed: u64,
    runs: usize,
    failed: u64,
}

impl<'a> Replay<'a> {
    fn new(client: &'a Client, args: &'a ReplayArgs) -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { client, args, bar, replayed: 0, runs: 0, failed: 0 }
    }

    async fn all(mut self, json: bool) -> Result<(), Failure> {
        let gone_through = self.go_through().await;
        self.bar.finish_and_clear();
        let Self { replayed, runs, failed, .. } = self;
        print(&match json {
            true => json!({"replayed": replayed, "runs_added": runs, "failed": failed}).to_string(),
            false => format!("replayed {replayed}, runs added {runs}, failed {failed}"),
        })?;
        let is_cut_off = gone_through?;
        if is_cut_off {
            eprintln!("there are more: --max {} was reached", self.args.max);
        }
        if failed > 0 { Err(Failure::Reported) } else { Ok(()) }
    }

    /// Goes through all that the conditions find, page after page. Says whether it ended before
    /// they did.
    async fn go_through(&mut self) -> Result<bool, Failure> {
        let mut pace = Pace::of(self.args.rate);
        let mut cursor = None;
        loop {
            let page = self.page(cursor).await?;
            for found in page.data {
                if self.replayed + self.failed == self.args.max {
                    return Ok(true);
                }
                pace.wait().await;
                self.one(&found.id).await;
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(false);
            }
        }
    }

    async fn page(&self, cursor: Option<String>) -> Result<Page, Failure> {
        // A cursor carries the conditions.
        let call = match cursor {
            Some(cursor) => Call::new(Method::GET, ["events"]).query([("cursor", Some(cursor))]),
            None => Call::new(Method::GET, ["events"]).query(self.args.filter.query()).query([
                ("contains", self.args.contains.clone()),
                ("order", Some("asc".to_owned())),
                ("limit", Some("200".to_owned())),
            ]),
        };
        parse(&self.client.call(call).await?)
    }

    async fn one(&mut self, id: &str) {
        let answer = self.client.call(call_for(id)).await;
        match answer.and_then(|answer| parse::<Replayed>(&answer)) {
            Ok(added) => {
                self.replayed += 1;
                self.runs += added.runs.len();
            }
            Err(failure) => {
                self.failed += 1;
                let line = format!("{}: {}", harmless(id), failure.message());
                self.bar.suspend(|| eprintln!("{line}"));
            }
        }
        let Self { replayed, failed, .. } = self;
        self.bar.set_message(format!("replayed {replayed}, failed {failed}"));
    }
}
