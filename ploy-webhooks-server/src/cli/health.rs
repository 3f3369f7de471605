//! `health`: whether a server takes events, for whatever watches over it and has no other client.

use std::time::Duration;

use clap::Args;

use super::Failure;
use super::client::{detail, http};
use crate::log::chain;
use crate::url::http_url;

const TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// The URL of the server.
    #[arg(long, env = "PLOY_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
}

/// Succeeds where the server is ready.
pub(super) async fn health(args: HealthArgs) -> Result<(), Failure> {
    let mut url = http_url(&args.url)?;
    url.path_segments_mut()
        .map_err(|()| Failure::Usage("the URL of the server has no path".to_owned()))?
        .pop_if_empty()
        .extend(["health", "ready"]);
    let failed = |error: reqwest::Error| Failure::Failed(chain(&error));
    let response = http(TIMEOUT)?.get(url).send().await.map_err(failed)?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let body = response.bytes().await.map_err(failed)?;
    Err(Failure::Failed(format!("{status}: {}", detail(&body))))
}
