//! `mcp`: tools for agents over standard input and output, by the server's management API.

use super::client::http;
use super::{Failure, ServerArgs};
use crate::api_client::ApiClient;
use crate::log::chain;
use crate::mcp;
use crate::url::http_url;
use ploy_webhooks::Secret;
use std::time::Duration;

/// A call of a tool that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Serves tools until standard input ends.
pub(super) async fn mcp(server: &ServerArgs) -> Result<(), Failure> {
    if server.token.is_empty() {
        return Err(Failure::Usage("set PLOY_TOKEN to a token of the server".to_owned()));
    }
    let token = Secret::from(server.token.clone());
    let api = ApiClient::of_server(http(TIMEOUT)?, http_url(&server.url)?, token)
        .in_workspace(server.workspace().map(str::to_owned));
    mcp::serve_stdio(api).await.map_err(|error| Failure::Failed(chain(&error)))
}
