//! The endpoints that the pipeline has seen, so that a request costs no look-up in the store.
//!
//! What is cached may be old, and that does no harm: an event that was checked against an old
//! state is refused by the store's fence, and no key, address, pause or declared length is refused
//! on the word of the cache alone. Readers take no lock. Absence is not cached: an endpoint exists
//! from the moment it is made.

use std::sync::Arc;

use papaya::HashMap;

use super::counts::AllCounts;
use super::known::{Known, Secrets};
use crate::endpoint::{Endpoint, Slug};
use crate::limits::Rate;
use crate::store::{DefinitionStore, KeyStore, StoreError};
use crate::subscription::{self, Wiring};
use crate::workspace::Workspace;

#[derive(Debug)]
pub(super) struct EndpointCache<K> {
    keys: K,
    /// Where subscriptions are, if there are any.
    definitions: Option<Arc<dyn DefinitionStore>>,
    secrets: Secrets,
    endpoints_max: usize,
    endpoints: HashMap<Slug, Arc<Known>>,
    pub(super) counts: AllCounts,
}

impl<K: KeyStore> EndpointCache<K> {
    pub(super) fn new(
        keys: K,
        definitions: Option<Arc<dyn DefinitionStore>>,
        secrets: Secrets,
        endpoints_max: usize,
    ) -> Self {
        let (endpoints, counts) = (HashMap::new(), AllCounts::new(endpoints_max));
        Self { keys, definitions, secrets, endpoints_max, endpoints, counts }
    }

    /// The endpoint as it was seen last, if it was.
    pub(super) fn seen(&self, slug: &str) -> Option<Arc<Known>> {
        self.endpoints.pin().get(slug).cloned()
    }

    /// The endpoint as it is now.
    pub(super) async fn fresh(&self, slug: &str) -> Result<Option<Arc<Known>>, StoreError> {
        let Ok(slug) = slug.parse::<Slug>() else {
            return Ok(None);
        };
        let Some(endpoint) = self.keys.endpoint(&slug).await? else {
            self.forget(slug.as_str());
            return Ok(None);
        };
        // A sender who is refused again and again costs no more than the endpoint each time.
        if let Some(seen) = self.seen(slug.as_str())
            && (seen.id, seen.revision) == (endpoint.id, endpoint.revision)
        {
            return Ok(Some(seen));
        }
        // Read after the endpoint: whoever changes a subscription changes the revisions of the
        // endpoints afterwards, so what is older than the endpoint is never taken for its wiring.
        let wiring = self.wiring(&endpoint).await?;
        let workspace_rate = self.workspace_rate(&endpoint).await?;
        let known = Known::new(endpoint, wiring, workspace_rate, &self.secrets);
        self.counts.add(&known.counts);
        let known = Arc::new(known);
        self.remember(slug, &known);
        Ok(Some(known))
    }

    async fn wiring(&self, endpoint: &Endpoint) -> Result<Wiring, StoreError> {
        let subscriptions = match &self.definitions {
            Some(definitions) => subscription::all(definitions, &endpoint.workspace).await?,
            None => Vec::new(),
        };
        Ok(Wiring::of(endpoint, subscriptions))
    }

    async fn workspace_rate(&self, endpoint: &Endpoint) -> Result<Option<Rate>, StoreError> {
        let Some(definitions) = &self.definitions else {
            return Ok(None);
        };
        let workspace = Workspace::look_up(definitions, &endpoint.workspace).await?;
        Ok(workspace.and_then(|workspace| workspace.limits.rate))
    }

    /// How many are cached.
    pub(super) fn len(&self) -> usize {
        self.endpoints.len()
    }

    pub(super) fn forget(&self, slug: &str) {
        self.endpoints.pin().remove(slug);
    }

    pub(super) fn forget_all(&self) {
        self.endpoints.pin().clear();
    }

    fn remember(&self, slug: Slug, endpoint: &Arc<Known>) {
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
            |known: &Arc<Known>| known.id == endpoint.id && known.revision >= endpoint.revision;
        endpoints.update_or_insert(
            slug,
            |known| {
                if is_newer(known) { known.clone() } else { endpoint.clone() }
            },
            endpoint.clone(),
        );
    }
}
