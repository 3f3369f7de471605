//! The HTTP client: one signed POST, and in words what became of it when there is no answer.

use std::time::Duration;

use ploy_webhooks::Timestamp;
use ploy_webhooks::trigger::RunError;
use reqwest::header::{CONTENT_TYPE, HeaderName};
use reqwest::redirect::Policy;
use reqwest::{Error, Response};

use crate::excerpt::causes;
use crate::settings::{ClientError, HttpSettings};
use crate::target::Target;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const PLOY_ATTEMPT: HeaderName = HeaderName::from_static("ploy-attempt");

/// For how long a connection is kept for the next request. Servers commonly close theirs after
/// five seconds, and a request that is sent at that moment is lost.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Sends requests to whatever target.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    settings: HttpSettings,
}

/// What is sent.
#[derive(Debug)]
pub(crate) struct Message {
    /// The same however often it is sent.
    pub(crate) id: String,
    /// Counts how often it is sent, beginning with 1.
    pub(crate) attempt: u32,
    /// When it is sent.
    pub(crate) time: Timestamp,
    /// JSON.
    pub(crate) body: Vec<u8>,
    /// How long all of it may take, the answer included.
    pub(crate) time_limit: Duration,
}

impl Client {
    pub(crate) fn new(settings: HttpSettings) -> Result<Self, ClientError> {
        let builder = reqwest::Client::builder()
            .user_agent(concat!("ploy-webhooks/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(IDLE_TIMEOUT)
            // What is signed for one receiver is not carried on to another.
            .redirect(Policy::none());
        let builder = if settings.proxy_from_environment { builder } else { builder.no_proxy() };
        Ok(Self { http: builder.build()?, settings })
    }

    pub(crate) const fn settings(&self) -> &HttpSettings {
        &self.settings
    }

    /// The head of the answer, whatever it is.
    pub(crate) async fn post(
        &self,
        target: &Target,
        message: Message,
    ) -> Result<Response, RunError> {
        let Message { id, attempt, time, body, time_limit } = message;
        let mut request = self
            .http
            .post(target.url().clone())
            .timeout(time_limit)
            .header(CONTENT_TYPE, "application/json")
            .header(WEBHOOK_TIMESTAMP, time.as_millis() / 1_000)
            .header(PLOY_ATTEMPT, attempt);
        if let Some(signer) = target.signer() {
            request = request.header(WEBHOOK_SIGNATURE, signer.sign(&id, time, &body));
        }
        let sent = request.header(WEBHOOK_ID, id).body(body).send().await;
        sent.map_err(|error| self.no_answer(target, time_limit, error))
    }

    /// What it means that there is no answer, or no end of it. No part of the URL is said but its
    /// origin.
    pub(crate) fn no_answer(
        &self,
        target: &Target,
        time_limit: Duration,
        error: Error,
    ) -> RunError {
        let error = error.without_url();
        let origin = target.origin();
        if error.is_builder() {
            RunError::permanent(format!("{origin} cannot be asked: {}", causes(&error)))
        } else if error.is_timeout() && error.is_connect() {
            let limit = self.settings.connect_timeout.min(time_limit);
            RunError::retry(format!("cannot connect to {origin} within {limit:?}"))
        } else if error.is_timeout() {
            RunError::retry(format!("{origin} has not answered within {time_limit:?}"))
        } else if error.is_connect() {
            RunError::retry(format!("cannot connect to {origin}: {}", causes(&error)))
        } else {
            let causes = causes(&error);
            RunError::retry(format!("{origin} has not answered to the end: {causes}"))
        }
    }
}
