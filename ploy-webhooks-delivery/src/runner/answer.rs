//! What an engine's answer means for a run.

use std::time::Duration;

use ploy_webhooks::Timestamp;
use ploy_webhooks::trigger::{Output, RunError};
use reqwest::{Response, StatusCode};
use tokio::time::timeout;

use crate::excerpt::harmless;
use crate::retry_after::retry_after;
use crate::target::Target;

/// How much of a refusal is shown.
const REFUSAL_BYTES_MAX: usize = 1 << 10;
/// How long its text is waited for: what it means is known without.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

/// The answer to what was done. One that is longer is cut off, and says so; the connection is not
/// used again.
pub(super) async fn output(
    mut response: Response,
    bytes_max: usize,
) -> Result<Output, reqwest::Error> {
    let mut output = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = bytes_max - output.len();
        if chunk.len() > room {
            output.extend_from_slice(&chunk[..room]);
            output.extend_from_slice("\n… (the rest of the answer is not kept)".as_bytes());
            break;
        }
        output.extend_from_slice(&chunk);
    }
    Ok(output.into())
}

/// What an answer means by which the run is not done.
pub(super) async fn refusal(response: Response, target: &Target, now: Timestamp) -> RunError {
    let status = response.status();
    let gap = retry_after(response.headers(), now);
    let mut message = format!("{} answered {status}", target.origin());
    if status.is_redirection() {
        message.push_str(
            " and is not followed elsewhere: if it has moved, set the URL to where it is now",
        );
        return RunError::permanent(message);
    }
    let said = beginning(response).await;
    if !said.is_empty() {
        message.push_str(": ");
        message.push_str(&said);
    }
    match (may_be_tried_again(status), gap) {
        (false, _) => RunError::permanent(message),
        (true, Some(gap)) => RunError::retry_after(message, gap),
        (true, None) => RunError::retry(message),
    }
}

/// Whether the engine may answer otherwise another time.
fn may_be_tried_again(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        )
}

/// How the text of a refusal begins, made harmless; what can be had of it.
async fn beginning(mut response: Response) -> String {
    let mut bytes = Vec::new();
    let read = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            bytes.extend_from_slice(&chunk[..chunk.len().min(REFUSAL_BYTES_MAX + 1)]);
            if bytes.len() > REFUSAL_BYTES_MAX {
                break;
            }
        }
    };
    // What was said until then is said.
    let _ = timeout(REFUSAL_TIMEOUT, read).await;
    let is_cut = bytes.len() > REFUSAL_BYTES_MAX;
    bytes.truncate(REFUSAL_BYTES_MAX);
    let mut text = harmless(String::from_utf8_lossy(&bytes).trim());
    if is_cut {
        text.push('…');
    }
    text
}
