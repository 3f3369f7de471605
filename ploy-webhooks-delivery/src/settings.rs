//! Every bound of what is sent, with its default and its reason.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::address::{AddressPolicy, Lookup, SystemLookup};

/// The bounds of an HTTP client.
#[derive(Clone, Debug)]
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
    ///
    /// It is the proxy then that connects to the receiver, so no [policy](Self::addresses) but
    /// [`AddressPolicy::anywhere`] could be kept, and a client with another is not set up.
    pub proxy_from_environment: bool,
    /// Where may be connected to. Default: [`AddressPolicy::anywhere`], since the URLs of
    /// Ploybooks are set by operators. Where others set them: [`AddressPolicy::public`].
    pub addresses: AddressPolicy,
    /// How names are looked up. Default: as the machine does it.
    pub lookup: Arc<dyn Lookup>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            answer_bytes_max: 1 << 20,
            proxy_from_environment: false,
            addresses: AddressPolicy::anywhere(),
            lookup: Arc::new(SystemLookup),
        }
    }
}

/// Why an HTTP client cannot be set up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// There are no certificates to trust, for example.
    #[error("cannot set up the HTTP client")]
    Setup(#[from] reqwest::Error),
    /// Some addresses are refused, and a proxy would connect to them all the same.
    #[error(
        "a proxy connects to addresses that the policy of the HTTP client refuses: leave \
         `proxy_from_environment` off, or let `addresses` be anywhere"
    )]
    ProxyBesidePolicy,
}
