//! A signed POST, as Standard Webhooks has it.

use std::time::Duration;

use ploy_webhooks::Timestamp;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::{Answer, Client, NoAnswer, Request};
use crate::target::Target;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const PLOY_ATTEMPT: HeaderName = HeaderName::from_static("ploy-attempt");

/// What is sent.
#[derive(Debug)]
pub(crate) struct Message {
    /// The same however often it is sent. Visible ASCII.
    pub(crate) id: String,
    /// Counts how often it is sent, beginning with 1.
    pub(crate) attempt: u32,
    /// When it is sent.
    pub(crate) time: Timestamp,
    /// JSON.
    pub(crate) body: Vec<u8>,
    /// How long all of it may take, the answer included.
    pub(crate) time_limit: Duration,
    /// How much is read of an answer that is no success.
    pub(crate) refusal_bytes_max: usize,
}

impl Client {
    /// The answer, whatever it is.
    pub(crate) async fn post(&self, target: &Target, message: Message) -> Result<Answer, NoAnswer> {
        self.send(Request {
            method: Method::POST,
            url: target.url().clone(),
            headers: headers(target, &message),
            body: message.body.into(),
            time_limit: message.time_limit,
            answer_bytes_max: self.settings().answer_bytes_max,
            refusal_bytes_max: message.refusal_bytes_max,
        })
        .await
    }
}

fn headers(target: &Target, message: &Message) -> HeaderMap {
    let Message { id, attempt, time, body, .. } = message;
    let ascii = |text: &str| HeaderValue::from_str(text).expect("it is visible ASCII");
    let mut headers = HeaderMap::with_capacity(5);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(WEBHOOK_TIMESTAMP, (time.as_millis() / 1_000).into());
    headers.insert(PLOY_ATTEMPT, (*attempt).into());
    if let Some(signer) = target.signer() {
        headers.insert(WEBHOOK_SIGNATURE, ascii(&signer.sign(id, *time, body)));
    }
    headers.insert(WEBHOOK_ID, ascii(id));
    headers
}
