//! Signing by the same descriptions that are verified by: for who sends to an intake.

use http::{HeaderName, HeaderValue};
use thiserror::Error;

use super::content::Parts;
use super::key::{Key, SecretError};
use super::scheme::{Digest, Scheme, SignatureScheme};
use super::verifier::Signed;
use crate::clock::Timestamp;
use crate::secret::Secret;

/// Why a request was not signed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignError {
    /// The scheme cannot use the secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The id cannot stand in a header.
    #[error("the id of the delivery is not visible ASCII")]
    Id,
    /// The secret cannot stand in a header, where the scheme has it as it is.
    #[error("the token is not visible ASCII")]
    Token,
}

/// Signs requests by a scheme, with one secret, or with several while one is being replaced.
///
/// `Debug` prints nothing of the secrets.
#[derive(Clone, Debug)]
pub struct Signer {
    scheme: Scheme,
    keys: Vec<Key>,
}

impl Signer {
    /// One that signs by that scheme with these secrets, the one that is being replaced first.
    ///
    /// Where a header may have several signatures (Standard Webhooks, Stripe), there is one by each
    /// secret, so that a receiver which knows any of them is content. Where it has one, it is by
    /// the first.
    ///
    /// # Errors
    ///
    /// When the scheme cannot use a secret, when nothing can be signed with it, as with a public
    /// key, or when there is none.
    pub fn new(scheme: Scheme, secrets: &[Secret]) -> Result<Self, SecretError> {
        let description = scheme.description();
        let key = |secret| {
            let key = Key::new(description, secret)?;
            match key.method(description).digest {
                Digest::Ed25519 => Err(SecretError::SignsNothing),
                _ => Ok(key),
            }
        };
        let keys = secrets.iter().map(key).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(SecretError::Empty) } else { Ok(Self { scheme, keys }) }
    }

    /// The headers that prove a request to be from who knows the secrets, as of `now`. `id` names
    /// the delivery, where the scheme signs that: visible ASCII, the same for each repeat.
    ///
    /// # Errors
    ///
    /// When the id, or a token, cannot stand in a header.
    pub fn sign(
        &self,
        id: &str,
        now: Timestamp,
        request: &Signed<'_>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, SignError> {
        let scheme = self.scheme.description();
        let time = scheme.timestamp.as_ref();
        let time = time.map(|source| (now.as_millis() / source.unit.millis()).to_string());
        let written = time.as_deref().unwrap_or_default();
        let Signed { method, url, body } = *request;
        let parts = Parts { id, timestamp: written, method, url, body };

        // All keys are of one method but where a preset has two, and then of the first's.
        let method = self.keys[0].method(scheme);
        let mut keys: Vec<_> =
            self.keys.iter().filter(|key| key.method(scheme) == method).collect();
        if !method.layout.takes_several() {
            keys.truncate(1);
        }
        let signatures = keys.into_iter().map(|key| key.sign(method, &scheme.signed, &parts));
        let signatures = signatures.collect::<Result<Vec<_>, _>>()?;
        let value = method.layout.write(&signatures, time.as_deref());
        let mut value = HeaderValue::try_from(value).map_err(|_| SignError::Token)?;
        value.set_sensitive(true);
        let mut headers = vec![(scheme.header.clone(), value)];
        if let Some(name) = &scheme.id {
            let id = HeaderValue::try_from(id).map_err(|_| SignError::Id)?;
            headers.push((name.clone(), id));
        }
        if let Some(name) = scheme.timestamp.as_ref().and_then(|source| source.header.as_ref()) {
            let time = HeaderValue::try_from(written).expect("digits are a header value");
            headers.push((name.clone(), time));
        }
        Ok(headers)
    }
}

impl SignatureScheme {
    /// The headers that prove one request to be from who knows the secret, as
    /// [`Signer::sign`].
    ///
    /// # Errors
    ///
    /// When the secret is of no use here: in another form, or a public key; or as `Signer::sign`.
    pub fn sign(
        &self,
        secret: &Secret,
        id: &str,
        now: Timestamp,
        request: &Signed<'_>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, SignError> {
        let scheme = Scheme::Custom(self.clone().into());
        Signer::new(scheme, std::slice::from_ref(secret))?.sign(id, now, request)
    }
}
