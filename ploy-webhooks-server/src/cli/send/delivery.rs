//! One event to the ingest URL, again and again if need be.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};

use super::proof::Proof;
use crate::cli::Failure;
use crate::cli::client::{detail, http};
use crate::log::chain;
use crate::url::http_url;

const TIMEOUT: Duration = Duration::from_secs(60);
const FIRST_GAP: Duration = Duration::from_millis(200);
const GAP_MAX: Duration = Duration::from_secs(30);
/// No server makes us wait longer.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// What is read of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Sends to one ingest URL.
#[derive(Debug)]
pub(super) struct Sender {
    http: reqwest::Client,
    url: Url,
    proof: Proof,
    retries: u32,
}

/// An attempt that did not succeed.
struct Fault {
    why: String,
    /// Whether another attempt may succeed, and how long to wait for it at least.
    retry: Option<Duration>,
}

impl Sender {
    pub(super) fn new(url: &str, proof: Proof, retries: u32) -> Result<Self, Failure> {
        Ok(Self { http: http(TIMEOUT)?, url: http_url(url)?, proof, retries })
    }

    /// Sends an event until it is accepted, refused for good, or out of retries; then says why.
    pub(super) async fn deliver(&self, event: Bytes) -> Result<(), String> {
        let delivery = Proof::mint_delivery();
        let mut retries_done = 0;
        loop {
            let fault = match self.attempt(&delivery, event.clone()).await {
                Ok(()) => return Ok(()),
                Err(fault) => fault,
            };
            let Some(at_least) = fault.retry.filter(|_| retries_done < self.retries) else {
                return Err(fault.why);
            };
            tokio::time::sleep(at_least + jitter(retries_done)).await;
            retries_done += 1;
        }
    }

    async fn attempt(&self, delivery: &str, event: Bytes) -> Result<(), Fault> {
        let request = self
            .http
            .post(self.url.clone())
            .headers(self.proof.headers(delivery, self.url.as_str(), &event))
            .header(CONTENT_TYPE, "application/json")
            .body(event);
        let response = request.send().await.map_err(|error| Fault {
            why: chain(&error.without_url()),
            retry: Some(Duration::ZERO),
        })?;
        let status = response.status();
        let retry_after = retry_after(&response);
        // Read to its end, so that the connection can be used again.
        let answer = read(response).await;
        if status.is_success() {
            return Ok(());
        }
        let is_passing = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
        Err(Fault {
            why: format!("{status} {}", detail(&answer)).trim_end().to_owned(),
            retry: is_passing.then_some(retry_after),
        })
    }
}

/// RFC 9110 §10.2.3, in seconds; the form with a date is not used by whom we send to.
fn retry_after(response: &Response) -> Duration {
    response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map_or(Duration::ZERO, Duration::from_secs)
        .min(RETRY_AFTER_MAX)
}

/// A random part of a gap that doubles with each retry, so that senders do not come back all at
/// once.
fn jitter(retries_done: u32) -> Duration {
    let gap = FIRST_GAP.saturating_mul(2_u32.saturating_pow(retries_done));
    gap.min(GAP_MAX).mul_f64(fastrand::f64())
}

/// What came of an answer, up to the bound.
async fn read(mut response: Response) -> Vec<u8> {
    let mut answer = Vec::new();
    while answer.len() < ANSWER_BYTES_MAX
        && let Ok(Some(chunk)) = response.chunk().await
    {
        answer.extend_from_slice(&chunk);
    }
    answer
}
