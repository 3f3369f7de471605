//! How the senders of an endpoint prove who they are: the credentials that it keeps.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::id::{CredentialId, DestinationId, EndpointId};
use crate::seal::{Keyring, Sealed, UnsealError};
use crate::secret::{Secret, SecretDigest};
use crate::verify::{Scheme, SecretError, TOLERANCE_DEFAULT, Verifier};

/// How a sender proves who it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "scheme", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Auth {
    /// A bearer key; any of these opens.
    ApiKey {
        /// The keys that are valid, of which only digests are kept.
        keys: Vec<KeyDigest>,
    },
    /// A signature over what is sent.
    Signature(SignatureAuth),
}

/// How many credentials an endpoint has at most, while rotations overlap.
const CREDENTIALS_MAX: usize = 4;

impl Auth {
    /// One API key without an end.
    #[must_use]
    pub fn api_key(digest: SecretDigest) -> Self {
        Self::ApiKey { keys: vec![KeyDigest { digest, expires_at: None }] }
    }

    /// The name of the scheme: `api-key`, a preset's, or `custom`.
    #[must_use]
    pub const fn scheme_name(&self) -> &'static str {
        match self {
            Self::ApiKey { .. } => "api-key",
            Self::Signature(signature) => signature.scheme.name(),
        }
    }

    /// The credentials that are on record, each with its end: the last is the newest.
    #[must_use]
    pub fn credentials(&self) -> Vec<(CredentialId, Option<Timestamp>)> {
        match self {
            Self::ApiKey { keys } => keys.iter().map(|key| (key.id(), key.expires_at)).collect(),
            Self::Signature(SignatureAuth { secrets, .. }) => {
                secrets.iter().map(|secret| (secret.id, secret.expires_at)).collect()
            }
        }
    }
}

/// One valid API key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "stores and apps build it from its two parts")]
pub struct KeyDigest {
    /// SHA-256 of the key.
    pub digest: SecretDigest,
    /// From when on it opens nothing; `None` is never.
    pub expires_at: Option<Timestamp>,
}

impl KeyDigest {
    /// What it is called where its use is on record. It comes from the digest, and says nothing
    /// about time.
    #[must_use]
    pub fn id(&self) -> CredentialId {
        CredentialId::of(&self.digest)
    }

    /// The keys after a rotation: the new one without an end, and for the time of the overlap
    /// those that were valid, the latest of them.
    #[must_use]
    pub fn rotated(
        keys: &[Self],
        new: SecretDigest,
        overlap: Duration,
        now: Timestamp,
    ) -> Vec<Self> {
        rotated(keys, Self { digest: new, expires_at: None }, overlap, now)
    }
}

/// Senders that sign.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SignatureAuth {
    /// By which scheme.
    #[serde(rename = "by")]
    pub scheme: Scheme,
    /// The secrets that are valid: a signature by any of them opens.
    pub secrets: Vec<SigningSecret>,
    /// How far the time that is signed may be from the present, in seconds, to either side.
    #[serde(default = "tolerance")]
    pub tolerance_seconds: NonZeroU32,
    /// Whether what is signed is taken once: the same again within the tolerance is a repeat of
    /// the event that came first.
    #[serde(default)]
    pub once: bool,
}

const fn tolerance() -> NonZeroU32 {
    TOLERANCE_DEFAULT
}

/// A secret that senders sign with: it has to be kept readable, and is kept sealed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SigningSecret {
    /// What it is called where its use is on record. Its time is when it was set.
    pub id: CredentialId,
    /// The secret, sealed for its owner and this name.
    sealed: Sealed,
    /// From when on it opens nothing; `None` is never.
    pub expires_at: Option<Timestamp>,
}

/// Secrets that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureAuthError {
    /// One does not open.
    #[error(transparent)]
    Sealed(#[from] UnsealError),
    /// The scheme cannot use one.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl SigningSecret {
    /// A secret of that owner, an endpoint or a destination, without an end, for who signs by that
    /// scheme.
    ///
    /// # Errors
    ///
    /// When the scheme cannot use it.
    ///
    /// # Panics
    ///
    /// When the operating system gives no random bytes.
    pub fn seal(
        keyring: &Keyring,
        owner: impl Into<SecretOwner>,
        scheme: &Scheme,
        secret: &Secret,
        now: Timestamp,
    ) -> Result<Self, SecretError> {
        let id = CredentialId::mint(now);
        Verifier::new(scheme.clone(), Duration::ZERO).with_secret(id, secret, None)?;
        let sealed = keyring.seal(secret, &place(owner.into(), id));
        Ok(Self { id, sealed, expires_at: None })
    }

    /// The secret itself.
    ///
    /// # Errors
    ///
    /// When it was sealed by another keyring or for another owner.
    pub fn open(
        &self,
        keyring: &Keyring,
        owner: impl Into<SecretOwner>,
    ) -> Result<Secret, UnsealError> {
        keyring.open(&self.sealed, &place(owner.into(), self.id))
    }

    /// The secrets after a rotation, as those of [`KeyDigest::rotated`].
    #[must_use]
    pub fn rotated(secrets: &[Self], new: Self, overlap: Duration, now: Timestamp) -> Vec<Self> {
        rotated(secrets, new, overlap, now)
    }
}

/// Whose a signing secret is. Ids are unique whatever they name.
#[derive(Clone, Copy, Debug)]
pub struct SecretOwner([u8; 16]);

impl From<EndpointId> for SecretOwner {
    fn from(id: EndpointId) -> Self {
        Self(*id.as_bytes())
    }
}

impl From<DestinationId> for SecretOwner {
    fn from(id: DestinationId) -> Self {
        Self(*id.as_bytes())
    }
}

/// A secret opens for its owner and under its name alone: who can write to the store cannot make
/// one endpoint's secret another's.
fn place(owner: SecretOwner, id: CredentialId) -> Vec<u8> {
    [&owner.0[..], id.as_bytes()].concat()
}

impl SignatureAuth {
    /// Senders that sign by that scheme with that secret.
    #[must_use]
    pub fn new(scheme: Scheme, secret: SigningSecret) -> Self {
        let secrets = vec![secret];
        Self { scheme, secrets, tolerance_seconds: TOLERANCE_DEFAULT, once: false }
    }

    /// How far the time that is signed may be from the present.
    #[must_use]
    pub fn tolerance(&self) -> Duration {
        Duration::from_secs(self.tolerance_seconds.get().into())
    }

    /// The secrets after a rotation, as those of [`KeyDigest::rotated`].
    #[must_use]
    pub fn rotated(&self, new: SigningSecret, overlap: Duration, now: Timestamp) -> Self {
        let secrets = SigningSecret::rotated(&self.secrets, new, overlap, now);
        Self { secrets, ..self.clone() }
    }

    /// What verifies the signatures of that endpoint's senders.
    ///
    /// # Errors
    ///
    /// When the secrets are another keyring's or another endpoint's, or not of the scheme's form.
    pub fn verifier(
        &self,
        endpoint: EndpointId,
        keyring: &Keyring,
    ) -> Result<Verifier, SignatureAuthError> {
        let verifier = Verifier::new(self.scheme.clone(), self.tolerance());
        self.secrets.iter().try_fold(verifier, |verifier, secret| {
            let opened = secret.open(keyring, endpoint)?;
            Ok(verifier.with_secret(secret.id, &opened, secret.expires_at)?)
        })
    }
}

/// What may come to an end.
trait Expires: Clone {
    fn end(&mut self) -> &mut Option<Timestamp>;
}

impl Expires for KeyDigest {
    fn end(&mut self) -> &mut Option<Timestamp> {
        &mut self.expires_at
    }
}

impl Expires for SigningSecret {
    fn end(&mut self) -> &mut Option<Timestamp> {
        &mut self.expires_at
    }
}

/// An overlap ends what stands, and never prolongs it.
fn rotated<C: Expires>(standing: &[C], new: C, overlap: Duration, now: Timestamp) -> Vec<C> {
    let end = now.after(overlap);
    let mut credentials = standing.to_vec();
    credentials.retain_mut(|credential| {
        let expires_at = credential.end();
        *expires_at = Some(expires_at.map_or(end, |expires_at| expires_at.min(end)));
        *expires_at > Some(now)
    });
    credentials.drain(..credentials.len().saturating_sub(CREDENTIALS_MAX - 1));
    credentials.push(new);
    credentials
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Preset;

    #[test]
    fn a_rotation_keeps_the_latest_keys_for_the_time_of_the_overlap() {
        let now = Timestamp::from_millis(1_000);
        let minute = Duration::from_secs(60);
        let rotate = |keys: &[KeyDigest], overlap, now| {
            KeyDigest::rotated(keys, Secret::mint_api_key().digest(), overlap, now)
        };
        let mut keys = Vec::new();
        for _ in 0..6 {
            keys = rotate(&keys, minute, now);
        }
        let ends: Vec<_> = keys.iter().map(|key| key.expires_at).collect();
        let end = Some(Timestamp::from_millis(61_000));
        assert_eq!(ends, [end, end, end, None]);

        let longer = rotate(&keys, 2 * minute, now);
        assert_eq!(longer[0].expires_at, end, "an overlap never prolongs a key");
        let later = Timestamp::from_millis(61_000);
        assert_eq!(rotate(&keys, minute, later).len(), 2);
        assert_eq!(rotate(&keys, Duration::ZERO, now).len(), 1);
    }

    #[test]
    fn a_secret_is_of_no_use_to_another_endpoint_or_under_another_name() {
        let (keyring, now) = (Keyring::mint(), Timestamp::from_millis(1));
        let (here, there) = (EndpointId::mint(now), EndpointId::mint(now));
        let secret = Secret::from("hunter2".to_owned());
        let scheme = Scheme::Preset(Preset::named("clay").unwrap());
        let sealed = SigningSecret::seal(&keyring, here, &scheme, &secret, now).unwrap();
        let auth = SignatureAuth::new(scheme, sealed.clone());
        assert!(auth.verifier(here, &keyring).is_ok());
        assert!(auth.verifier(there, &keyring).is_err());
        let renamed = SigningSecret { id: CredentialId::mint(now), ..sealed };
        let auth = SignatureAuth { secrets: vec![renamed], ..auth };
        assert!(auth.verifier(here, &keyring).is_err());
        let text = serde_json::to_string(&Auth::Signature(auth.clone())).unwrap();
        assert_eq!(serde_json::from_str::<Auth>(&text).unwrap(), Auth::Signature(auth));
        assert!(!text.contains("hunter2"));
    }
}
