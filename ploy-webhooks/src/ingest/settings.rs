//! Every bound of the pipeline, with its default and its reason.

use std::time::Duration;

use http::HeaderName;
use thiserror::Error;

use crate::event::holds_a_secret;

/// The bounds of the pipeline. All are per process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The largest body in bytes, inclusive. Default: 1 MiB (1,048,576), what senders are told.
    pub body_bytes_max: u64,
    /// How long a body may take to arrive; a trickle does not extend it. Default: 10 s.
    pub body_timeout: Duration,
    /// How many bytes of bodies are held at once, of all requests together. Past it, senders are
    /// answered 503. Its last quarter is kept for bodies of up to 64 KiB, so that a few large
    /// ones that stall do not shut out the rest. Default: 256 MiB.
    pub in_flight_bytes_max: u64,
    /// How long the store may take over one event before the sender is answered 503.
    /// Default: 10 s.
    pub append_timeout: Duration,
    /// How many endpoints are cached; 0 looks each up in the store. Default: 10,000.
    pub cached_endpoints_max: usize,
    /// After how long a sender that was answered 503 may try again. In whole seconds, at least 1.
    /// Default: 1 s.
    pub retry_after: Duration,
    /// The URL that senders know this intake by, up to the slug, with the `/` before it: what
    /// schemes sign that sign a URL. Default: not known, and who signs one is answered 503.
    pub public_url: Option<String>,
    /// The headers that are kept with an event. None that carries a secret may be among them.
    /// Default: `user-agent`, `x-request-id`, `traceparent`, `idempotency-key`, `webhook-id`.
    pub kept_headers: Vec<HeaderName>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            body_bytes_max: 1 << 20,
            body_timeout: Duration::from_secs(10),
            in_flight_bytes_max: 256 << 20,
            append_timeout: Duration::from_secs(10),
            cached_endpoints_max: 10_000,
            retry_after: Duration::from_secs(1),
            public_url: None,
            kept_headers: vec![
                http::header::USER_AGENT,
                HeaderName::from_static("x-request-id"),
                HeaderName::from_static("traceparent"),
                HeaderName::from_static("idempotency-key"),
                HeaderName::from_static("webhook-id"),
            ],
        }
    }
}

/// Settings that contradict themselves or a promise.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingsError {
    /// A bound that must be above zero is zero.
    #[error("`{0}` is zero: nothing would be accepted")]
    Zero(&'static str),
    /// One body may be larger than all bodies together.
    #[error(
        "`body_bytes_max` is above three quarters of `in_flight_bytes_max`: such a body would never be read"
    )]
    BodyAboveBudget,
    /// What senders sign could never be what is signed here.
    #[error(
        "`public_url` is an absolute URL up to the slug, the last `/` included, without a query"
    )]
    PublicUrl,
    /// A header that carries a secret would be kept.
    #[error("`kept_headers` names `{0}`, which carries a secret")]
    SecretHeader(HeaderName),
}

impl Settings {
    /// Checks that the settings can be kept.
    ///
    /// # Errors
    ///
    /// The first contradiction.
    pub fn check(&self) -> Result<(), SettingsError> {
        let zero = [
            ("body_bytes_max", self.body_bytes_max == 0),
            ("body_timeout", self.body_timeout.is_zero()),
            ("append_timeout", self.append_timeout.is_zero()),
        ];
        if let Some((name, _)) = zero.into_iter().find(|(_, is_zero)| *is_zero) {
            return Err(SettingsError::Zero(name));
        }
        if self.body_bytes_max > self.in_flight_bytes_max / 4 * 3 {
            return Err(SettingsError::BodyAboveBudget);
        }
        if self.public_url.as_ref().is_some_and(|url| !ends_before_a_slug(url)) {
            return Err(SettingsError::PublicUrl);
        }
        match self.kept_headers.iter().find(|name| holds_a_secret(name)) {
            Some(name) => Err(SettingsError::SecretHeader(name.clone())),
            None => Ok(()),
        }
    }
}

fn ends_before_a_slug(url: &str) -> bool {
    let after_scheme = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    after_scheme.is_some_and(|rest| {
        rest.ends_with('/') && rest.len() > 1 && !rest.contains(['?', '#', ' '])
    })
}
