//! `events publish`: an event of one's own, from a file or from standard input.

use std::path::{Path, PathBuf};

use clap::Args;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::io::AsyncReadExt;

use super::Failure;
use super::client::{Call, Client, parse};
use super::output::{print, sheet};

#[derive(Debug, Args)]
pub(super) struct PublishArgs {
    /// The type of the event, as in invoice.paid.
    #[arg(value_name = "TYPE")]
    event_type: String,
    /// The payload, a JSON object, which is kept byte for byte; `-` is standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// The same for each repeat: within a day the event is stored once.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

#[derive(Debug, Serialize)]
struct Form<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    payload: &'a RawValue,
}

#[derive(Debug, Deserialize)]
struct Accepted {
    id: String,
    #[serde(default)]
    duplicate: bool,
}

pub(super) async fn run(client: &Client, json: bool, args: &PublishArgs) -> Result<(), Failure> {
    let cannot = |verb: &str, why: &dyn std::fmt::Display| {
        Failure::Failed(format!("cannot {verb} {}: {why}", args.file.display()))
    };
    let payload = read(&args.file).await.map_err(|error| cannot("read", &error))?;
    let payload = serde_json::from_slice(&payload).map_err(|error| cannot("use", &error))?;
    let form = Form { event_type: &args.event_type, payload };
    let body = serde_json::to_string(&form).expect("a text and JSON have a JSON form");
    let mut call = Call::new(Method::POST, ["events"]).text(body);
    if let Some(key) = &args.idempotency_key {
        call = call.header("idempotency-key", key.clone());
    }
    let answer = client.call(call).await?;
    if json {
        return print(&String::from_utf8_lossy(&answer));
    }
    let Accepted { id, duplicate } = parse(&answer)?;
    let status = if duplicate { "accepted before" } else { "accepted" };
    print(&sheet([["id".to_owned(), id], ["status".to_owned(), status.to_owned()]]))
}

async fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    if file != Path::new("-") {
        return tokio::fs::read(file).await;
    }
    let mut payload = Vec::new();
    tokio::io::stdin().read_to_end(&mut payload).await?;
    Ok(payload)
}
