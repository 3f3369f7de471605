//! [`Lookup`]: how names become addresses, and the policy that stands behind it.

use std::fmt::Debug;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;
use tokio::net::lookup_host;
use tokio::time::Instant;

use super::{AddressPolicy, AddressRefused};
use crate::client::timings;

/// Looks names up. Whatever it finds is judged by the [`AddressPolicy`] before anything is
/// connected to.
#[async_trait]
pub trait Lookup: Debug + Send + Sync + 'static {
    /// The addresses of that host, those to be tried first in front. Their ports count for
    /// nothing: the port is the URL's.
    ///
    /// It is called once for each connection that is made, and its future may be dropped.
    ///
    /// # Errors
    ///
    /// When nothing can be learned about the name. That may be otherwise another time.
    async fn lookup(&self, host: &str) -> io::Result<Vec<SocketAddr>>;
}

/// As the machine does it: `getaddrinfo`, on a thread for what blocks.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, host: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(lookup_host((host, 0)).await?.collect())
    }
}

/// What a connector asks: a look-up with what is refused taken out.
#[derive(Clone, Debug)]
pub(crate) struct PolicyResolver {
    lookup: Arc<dyn Lookup>,
    policy: Arc<AddressPolicy>,
}

/// Nothing is left of what was found.
#[derive(Clone, Copy, Debug, Error)]
#[error("the address of its name {0}")]
pub(crate) struct Nowhere(AddressRefused);

impl PolicyResolver {
    pub(crate) fn new(lookup: Arc<dyn Lookup>, policy: AddressPolicy) -> Self {
        Self { lookup, policy: Arc::new(policy) }
    }
}

impl Resolve for PolicyResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { lookup, policy } = self.clone();
        Box::pin(async move {
            let begun = Instant::now();
            let found = lookup.lookup(name.as_str()).await;
            timings::looked_up(begun.elapsed());
            let left = policy.keep_allowed(found?)?;
            if left.is_empty() {
                return Err(io::Error::new(ErrorKind::NotFound, "the name has no address").into());
            }
            Ok(Box::new(left.into_iter()) as Addrs)
        })
    }
}

impl AddressPolicy {
    /// Those that may be connected to; the first refusal where that is none. An empty answer stays
    /// one: it was not the policy that emptied it.
    fn keep_allowed(&self, mut addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Nowhere> {
        let mut refused = None;
        addresses.retain_mut(|address| {
            // The connector would keep a port that it finds here.
            address.set_port(0);
            let judged = self.check_ip(address.ip());
            refused = refused.or(judged.err());
            judged.is_ok()
        });
        match refused {
            Some(refused) if addresses.is_empty() => Err(Nowhere(refused)),
            _ => Ok(addresses),
        }
    }
}
