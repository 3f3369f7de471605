//! What an answer means for a delivery.

use std::time::Duration;

use ploy_webhooks::Timestamp;
use reqwest::StatusCode;

use crate::client::{Answer, FailureClass, NoAnswer};
use crate::excerpt::harmless;
use crate::retry_after::retry_after;

/// How much of a refusal is quoted.
const QUOTED_BYTES_MAX: usize = 256;

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was taken.
    Delivered,
    /// It was not.
    Failed(Remains),
}

/// What remains to be done after a request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remains {
    /// To try again. The receiver is there, and does not take this one.
    Again,
    /// To try again. The receiver is down, or wants to be left alone, for so long if it says so.
    AgainWhenUp {
        after: Option<Duration>,
        /// Whether it may have taken the request all the same.
        may_be_taken: bool,
    },
    /// Nothing: the receiver is gone for good, and says so.
    Gone,
    /// Nothing: it cannot be sent.
    Never,
}

/// What an answer means, and in words what is wrong with it.
///
/// Any answer but a success (2xx) is a failure that is tried again, as receivers expect who are
/// misconfigured for a while; but for 410, which is meant for good (RFC 9110 §15.5.11).
pub(super) fn of(answer: &Answer, origin: &str, now: Timestamp) -> (Verdict, Option<String>) {
    let status = answer.status;
    if status.is_success() {
        return (Verdict::Delivered, None);
    }
    let mut message = format!("{origin} answered {status}");
    if status.is_redirection() {
        message.push_str(", and is not followed elsewhere");
    }
    let said = quoted(&answer.body);
    if !said.is_empty() {
        message.push_str(": ");
        message.push_str(&said);
    }
    let is_down = status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    // Who stands behind a gateway may have it.
    let is_of_gateway = matches!(status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT);
    let remains = match status {
        StatusCode::GONE => Remains::Gone,
        _ if is_down => Remains::AgainWhenUp {
            after: retry_after(&answer.headers, now),
            may_be_taken: is_of_gateway,
        },
        _ => Remains::Again,
    };
    (Verdict::Failed(remains), Some(message))
}

/// What it means that there is no answer.
pub(super) const fn of_silence(none: &NoAnswer) -> Verdict {
    if none.is_permanent() {
        return Verdict::Failed(Remains::Never);
    }
    let may_be_taken = matches!(none.class, FailureClass::Timeout | FailureClass::BrokenAnswer);
    Verdict::Failed(Remains::AgainWhenUp { after: None, may_be_taken })
}

/// How the text of a refusal begins, made harmless.
fn quoted(body: &[u8]) -> String {
    let shown = &body[..body.len().min(QUOTED_BYTES_MAX)];
    let mut text = harmless(String::from_utf8_lossy(shown).trim());
    if body.len() > shown.len() {
        text.push('…');
    }
    text
}
