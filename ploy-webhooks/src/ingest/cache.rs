//! The endpoints that the pipeline has seen, so that a request costs no look-up in the store.
//!
//! What is cached may be old, and that does no harm: an event that was checked against an old
//! state is refused by the store's fence, and no key, address, pause or declared length is refused
//! on the word of the cache alone. Readers take no lock. Absence is not cached: an endpoint exists
//! from the moment it is made.

use std::sync::Arc;

use papaya::HashMap;

use crate::endpoint::{Endpoint, Slug};
use crate::store::{KeyStore, StoreError};

#[derive(Debug)]
pub(super) struct EndpointCache<K> {
    keys: K,
    endpoints_max: usize,
    endpoints: HashMap<Slug, Arc<Endpoint>>,
}

impl<K: KeyStore> EndpointCache<K> {
    pub(super) fn new(keys: K, endpoints_max: usize) -> Self {
        Self { keys, endpoints_max, endpoints: HashMap::new() }
    }

    /// The endpoint as it was seen last, if it was.
    pub(super) fn seen(&self, slug: &str) -> Option<Arc<Endpoint>> {
        self.endpoints.pin().get(slug).cloned()
    }

    /// The endpoint as it is now.
    pub(super) async fn fresh(&self, slug: &str) -> Result<Option<Arc<Endpoint>>, StoreError> {
        let Ok(slug) = slug.parse::<Slug>() else {
            return Ok(None);
        };
        let endpoint = self.keys.endpoint(&slug).await?;
        match &endpoint {
            Some(endpoint) => self.remember(slug, endpoint),
            None => self.forget(slug.as_str()),
        }
        Ok(endpoint)
    }

    pub(super) fn forget(&self, slug: &str) {
        self.endpoints.pin().remove(slug);
    }

    pub(super) fn forget_all(&self) {
        self.endpoints.pin().clear();
    }

    fn remember(&self, slug: Slug, endpoint: &Arc<Endpoint>) {
        if self.endpoints_max == 0 {
            return;
        }
        let endpoints = self.endpoints.pin();
        // To take away one at a time would always be at the same end of the table, and leave the
        // other to endpoints that nobody sends to.
        if endpoints.len() >= self.endpoints_max && !endpoints.contains_key(&slug) {
            endpoints.clear();
        }
        // Of two look-ups that race, the later state stays.
        let is_newer =
            |known: &Arc<Endpoint>| known.id == endpoint.id && known.revision >= endpoint.revision;
        endpoints.update_or_insert(
            slug,
            |known| {
                if is_newer(known) { known.clone() } else { endpoint.clone() }
            },
            endpoint.clone(),
        );
    }
}
