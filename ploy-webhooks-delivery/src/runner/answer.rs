//! What an engine's answer means for a run.

use ploy_webhooks::Timestamp;
use ploy_webhooks::trigger::{Output, RunError};
use reqwest::StatusCode;

use crate::client::{Answer, NoAnswer};
use crate::excerpt::harmless;
use crate::retry_after::retry_after;
use crate::target::Target;

/// How much of a refusal is read: what is shown, and a byte by which to see that there is more.
pub(super) const REFUSAL_BYTES_MAX: usize = REFUSAL_BYTES_SHOWN + 1;
const REFUSAL_BYTES_SHOWN: usize = 1 << 10;

/// What an answer means for the run that it is of.
pub(super) fn outcome(answer: Answer, target: &Target, now: Timestamp) -> Result<Output, RunError> {
    if answer.status.is_success() { Ok(output(answer)) } else { Err(refusal(&answer, target, now)) }
}

/// The answer to what was done. One that is longer is cut off, and says so.
fn output(answer: Answer) -> Output {
    if !answer.is_cut {
        return answer.body.into();
    }
    let mut output = Vec::from(answer.body);
    output.extend_from_slice("\n… (the rest of the answer is not kept)".as_bytes());
    output.into()
}

/// What an answer means by which the run is not done.
fn refusal(answer: &Answer, target: &Target, now: Timestamp) -> RunError {
    let status = answer.status;
    let gap = retry_after(&answer.headers, now);
    let mut message = format!("{} answered {status}", target.origin());
    if status.is_redirection() {
        message.push_str(
            " and is not followed elsewhere: if it has moved, set the URL to where it is now",
        );
        return RunError::permanent(message);
    }
    let said = beginning(&answer.body);
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

impl From<NoAnswer> for RunError {
    fn from(none: NoAnswer) -> Self {
        if none.is_permanent() { Self::permanent(none.message) } else { Self::retry(none.message) }
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
fn beginning(body: &[u8]) -> String {
    let shown = &body[..body.len().min(REFUSAL_BYTES_SHOWN)];
    let mut text = harmless(String::from_utf8_lossy(shown).trim());
    if body.len() > shown.len() {
        text.push('…');
    }
    text
}
