//! Every bound of what is sent, with its default and its reason.

use std::time::Duration;

use thiserror::Error;

/// The bounds of an HTTP client.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct HttpSettings {
    /// How long it may take to look a name up, connect, and agree on TLS. Default: 10 seconds.
    pub connect_timeout: Duration,
    /// How many bytes of a successful answer are read. The rest is cut off, and that is said.
    /// Default: 1 MiB.
    pub answer_bytes_max: usize,
    /// Whether requests go through the proxy that `HTTP_PROXY` and its siblings name. Default:
    /// no. What is sent is meant for its receiver alone, which often stands on the same machine;
    /// a variable that was set for something else does not send it elsewhere.
    pub proxy_from_environment: bool,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            answer_bytes_max: 1 << 20,
            proxy_from_environment: false,
        }
    }
}

/// The HTTP client cannot be set up: there are no certificates to trust, for example.
#[derive(Debug, Error)]
#[error("cannot set up the HTTP client")]
pub struct ClientError(#[from] reqwest::Error);
