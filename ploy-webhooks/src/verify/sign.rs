//! Signing by the same descriptions that are verified by: for who sends to an intake.

use http::{HeaderName, HeaderValue};
use thiserror::Error;

use super::content::Parts;
use super::key::{Key, SecretError};
use super::scheme::SignatureScheme;
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

impl SignatureScheme {
    /// The headers that prove a request to be from who knows the secret, as of `now`. `id` names
    /// the delivery, where the scheme signs that: visible ASCII, the same for each repeat.
    ///
    /// # Errors
    ///
    /// When the secret is of no use here: in another form, or a public key.
    pub fn sign(
        &self,
        secret: &Secret,
        id: &str,
        now: Timestamp,
        request: &Signed<'_>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, SignError> {
        let key = Key::new(self, secret)?;
        let time = self.timestamp.as_ref();
        let time = time.map(|source| (now.as_millis() / source.unit.millis()).to_string());
        let written = time.as_deref().unwrap_or_default();
        let Signed { method, url, body } = *request;
        let parts = Parts { id, timestamp: written, method, url, body };

        let method = key.method(self);
        let signature = key.sign(method, &self.signed, &parts)?;
        let value = method.layout.write(&signature, time.as_deref());
        let value = HeaderValue::try_from(value).map_err(|_| SignError::Token)?;
        let mut headers = vec![(self.header.clone(), value)];
        if let Some(name) = &self.id {
            let id = HeaderValue::try_from(id).map_err(|_| SignError::Id)?;
            headers.push((name.clone(), id));
        }
        if let Some(name) = self.timestamp.as_ref().and_then(|source| source.header.as_ref()) {
            let time = HeaderValue::try_from(written).expect("digits are a header value");
            headers.push((name.clone(), time));
        }
        for (_, value) in &mut headers[..1] {
            value.set_sensitive(true);
        }
        Ok(headers)
    }
}
