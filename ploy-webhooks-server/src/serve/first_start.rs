//! The first start: the root token and a first endpoint, each shown once.

use std::io::{self, Write};
use std::num::NonZeroU16;
use std::sync::Arc;

use ploy_webhooks::store::{Created, DefinitionKind, StoreError};
use ploy_webhooks::{
    Clock, Endpoint, EndpointConfig, Secret, SecretDigest, Slug, SystemClock, WorkspaceId,
};

use super::ServeError;
use crate::api::ingest_url;
use crate::store::Store;

/// What the first start needs to know.
#[derive(Debug)]
pub(super) struct FirstStart<'a> {
    pub(super) store: &'a Arc<dyn Store>,
    /// The URL that senders know the server by.
    pub(super) public_url: &'a str,
    /// The URL at which this process listens.
    pub(super) server_url: &'a str,
}

impl FirstStart<'_> {
    /// Makes and prints what is missing, and returns the digest of the root token that holds.
    ///
    /// With a token that the operator has chosen, nothing secret is printed: so no endpoint is
    /// made either, whose key nobody would ever see.
    pub(super) async fn prepare(
        &self,
        chosen_root: Option<SecretDigest>,
    ) -> Result<SecretDigest, ServeError> {
        if let Some(root) = chosen_root {
            if self.is_empty().await.map_err(ServeError::Prepare)? {
                print(&self.how_to_begin())?;
            }
            return Ok(root);
        }
        let (root, token) = self.root().await.map_err(ServeError::Prepare)?;
        if let Some(token) = &token {
            print(&format!(
                "The root token of this store, shown this once:\n\n    {}\n\n",
                token.expose()
            ))?;
        }
        if self.is_empty().await.map_err(ServeError::Prepare)?
            && let Some((slug, key)) = self.first_endpoint().await.map_err(ServeError::Prepare)?
        {
            print(&self.how_to_send(&slug, &key, token.as_ref()))?;
        }
        Ok(root)
    }

    /// The root token that stands, in clear where it was set just now.
    async fn root(&self) -> Result<(SecretDigest, Option<Secret>), StoreError> {
        if let Some(standing) = self.store.root_token().await? {
            return Ok((standing, None));
        }
        let token = Secret::mint_token();
        let now = SystemClock.now();
        let standing = self.store.claim_root_token(token.digest(), now).await?;
        let is_ours = standing == token.digest();
        Ok((standing, is_ours.then_some(token)))
    }

    async fn is_empty(&self) -> Result<bool, StoreError> {
        let one = NonZeroU16::MIN;
        let kind = DefinitionKind::Workspace;
        let endpoints = self.store.endpoints(&WorkspaceId::DEFAULT, None, one);
        let tenants = self.store.definitions(&WorkspaceId::ROOT, kind, None, one);
        Ok(endpoints.await?.is_empty() && tenants.await?.is_empty())
    }

    async fn first_endpoint(&self) -> Result<Option<(Slug, Secret)>, StoreError> {
        let config = EndpointConfig {
            description: "First endpoint".to_owned(),
            ..EndpointConfig::default()
        };
        let (endpoint, key) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
        let slug = endpoint.slug.clone();
        Ok(match self.store.create(endpoint).await? {
            Created::Created => Some((slug, key)),
            Created::Taken => None,
        })
    }

    fn how_to_send(&self, slug: &Slug, key: &Secret, token: Option<&Secret>) -> String {
        let url = quoted(&ingest_url(self.public_url, slug));
        let key = key.expose();
        let token = token.map_or("<the root token>", Secret::expose);
        format!(
            "A first endpoint, whose key is shown this once. Send it an event:\n\n    \
             curl -X POST {url} -H 'Authorization: Bearer {key}' \
             -H 'Content-Type: application/json' -d '{{\"hello\":\"world\"}}'\n\n\
             Find the event again:\n\n    \
             PLOY_URL={} PLOY_TOKEN='{token}' ploy-webhooks events list\n\n",
            quoted(self.server_url),
        )
    }

    fn how_to_begin(&self) -> String {
        format!(
            "There is no endpoint yet. Create one, with PLOY_TOKEN set to the root token:\n\n    \
             PLOY_URL={} ploy-webhooks endpoints create --description 'First endpoint'\n\n",
            quoted(self.server_url),
        )
    }
}

/// Prints at once, also where standard output is a pipe.
pub(super) fn print(text: &str) -> Result<(), ServeError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(ServeError::Print)
}

/// A word that a POSIX shell takes as it is.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
