//! `trigger`: what the events of an endpoint run, from the shell.

use clap::Subcommand;
use reqwest::Method;
use serde_json::json;

use super::Failure;
use super::client::{Call, Client};
use super::{endpoints, suggest};

#[derive(Debug, Subcommand)]
pub(super) enum TriggerCommand {
    /// Have every further event of an endpoint run a Ploybook.
    Set {
        /// The endpoint.
        #[arg(value_name = "ENDPOINT_ID")]
        endpoint: String,
        /// The name of the Ploybook.
        ploybook: String,
    },
    /// Have further events of an endpoint stored, and nothing more.
    Clear {
        /// The endpoint.
        #[arg(value_name = "ENDPOINT_ID")]
        endpoint: String,
    },
}

pub(super) async fn run(
    client: &Client,
    json: bool,
    command: TriggerCommand,
) -> Result<(), Failure> {
    let (endpoint, trigger) = match &command {
        TriggerCommand::Set { endpoint, ploybook } => (endpoint, json!({"ploybook": ploybook})),
        TriggerCommand::Clear { endpoint } => (endpoint, json!(null)),
    };
    let call = Call::new(Method::PATCH, ["endpoints", endpoint.as_str()]);
    let answer = client.call(call.body(json!({"trigger": trigger}))).await?;
    endpoints::print_answer(&answer, json)?;
    // It may be defined later: until then, runs fail and say so.
    if let TriggerCommand::Set { ploybook, .. } = &command
        && let Some(hint) = suggest::about_ploybook(client, ploybook).await
    {
        eprintln!("note: {hint}");
    }
    Ok(())
}
