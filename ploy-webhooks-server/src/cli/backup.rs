//! `backup`: a copy of the store of a server that goes on, made from the shell.

use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;

use super::Failure;
use super::client::{Call, Client, parse};
use super::output::{harmless, print};

/// A large store takes long.
const TIMEOUT: Duration = Duration::from_secs(24 * 3_600);

#[derive(Debug, Deserialize)]
struct Made {
    file: String,
}

/// Has the server make a backup, and prints where it is.
pub(super) async fn run(client: &Client, json: bool) -> Result<(), Failure> {
    let answer = client.call(Call::new(Method::POST, ["backup"]).within(TIMEOUT)).await?;
    match json {
        true => print(&String::from_utf8_lossy(&answer)),
        false => print(&harmless(&parse::<Made>(&answer)?.file)),
    }
}
