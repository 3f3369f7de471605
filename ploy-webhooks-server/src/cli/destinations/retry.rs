//! `destinations retry`: failed deliveries are tried again, call after call.

use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use crate::cli::Failure;
use crate::cli::client::{Call, Client, parse};
use crate::cli::output::print;

#[derive(Debug, Args)]
pub(in crate::cli) struct RetryArgs {
    id: String,
    /// Only deliveries that were made then or later, as in 2026-01-31T09:00:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Retried {
    retried: u64,
    next_cursor: Option<String>,
}

/// Longer than five hundred runs take that are put in line.
const PATIENCE: Duration = Duration::from_secs(90);

pub(super) async fn run(client: &Client, json: bool, args: &RetryArgs) -> Result<(), Failure> {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(100));
    let mut retried = 0;
    let all = go_through(client, args, |more| {
        retried += more;
        bar.set_message(format!("retried {retried}"));
    })
    .await;
    bar.finish_and_clear();
    print(&match json {
        true => json!({"retried": retried}).to_string(),
        false => format!("retried {retried}"),
    })?;
    all
}

/// Follows the cursor to its end, and says of each call how many it has tried again.
async fn go_through(
    client: &Client,
    args: &RetryArgs,
    mut count: impl FnMut(u64),
) -> Result<(), Failure> {
    let mut cursor = None;
    loop {
        let answer = client.call(args.to_call(cursor)).await?;
        let Retried { retried, next_cursor } = parse(&answer)?;
        count(retried);
        if next_cursor.is_none() {
            return Ok(());
        }
        cursor = next_cursor;
    }
}

impl RetryArgs {
    fn to_call(&self, cursor: Option<String>) -> Call<'_> {
        // A cursor carries the time.
        let form = match cursor {
            Some(cursor) => json!({"cursor": cursor}),
            None => json!({"since": self.since}),
        };
        Call::new(Method::POST, ["destinations", &self.id, "retry"]).body(form).within(PATIENCE)
    }
}
