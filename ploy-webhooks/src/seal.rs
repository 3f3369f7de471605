//! Secrets that have to be kept readable, at rest: encrypted, each for its place.
//!
//! Two keys. The *keyring* of a store encrypts its secrets, and is itself kept in the store,
//! wrapped under the *master key*, which never is: it comes from the operator. A new master key
//! wraps the keyring anew, and nothing else changes.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::endpoint::Revision;
use crate::id::WorkspaceId;
use crate::secret::Secret;
use crate::store::{Defined, DefinitionKind, DefinitionStore, StoreError, StoreErrorKind};

/// What the operator keeps: 32 random bytes that wrap the keyring of a store. In text, base64.
///
/// `Debug` prints nothing of it.
#[derive(Clone)]
pub struct MasterKey(XChaCha20Poly1305, Zeroizing<[u8; 32]>);

/// A text that is no master key. It does not repeat the text.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "not a master key: expected the base64 of 32 random bytes, as `openssl rand -base64 32` gives"
)]
pub struct ParseMasterKeyError;

impl MasterKey {
    /// A new one.
    ///
    /// # Panics
    ///
    /// When the operating system gives no random bytes.
    #[must_use]
    pub fn mint() -> Self {
        Self::of(random())
    }

    fn of(bytes: [u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(&Key::from(bytes)), Zeroizing::new(bytes))
    }

    /// The key in text, for the operator to keep.
    #[must_use]
    pub fn expose(&self) -> Secret {
        Secret::from(STANDARD.encode(self.1.as_slice()))
    }
}

impl FromStr for MasterKey {
    type Err = ParseMasterKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| ParseMasterKeyError)?;
        bytes.try_into().map(Self::of).map_err(|_| ParseMasterKeyError)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// A secret that is encrypted for one place, in base64. It opens nowhere else.
///
/// `Debug` prints nothing of it: it is of no use without the keyring, and of none in a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

/// What was sealed does not open: by another keyring, for another place, or altered.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a sealed secret does not open: it is of another keyring, of another place, or altered")]
pub struct UnsealError;

/// Encrypts and decrypts secrets (XChaCha20-Poly1305, a random nonce each).
///
/// `Debug` prints nothing of it.
#[derive(Clone)]
pub struct Keyring {
    cipher: XChaCha20Poly1305,
    bytes: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(…)")
    }
}

/// Why the keyring of a store was not opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// None of the master keys opens it.
    #[error(
        "the secrets of this store were sealed under another master key than the one that was \
         given: give that one, or, to replace it, give it as the previous one beside the new one"
    )]
    WrongKey,
    /// The store failed.
    #[error("the keyring of the store cannot be read or kept")]
    Store(#[from] StoreError),
}

/// The name under which a store keeps its keyring.
const NAME: &str = "secrets";
/// What a wrapped keyring is bound to.
const PLACE: &[u8] = b"ploy-webhooks keyring";
const ROUNDS_MAX: usize = 8;

impl Keyring {
    /// A new one, for an app whose endpoints do not outlast it.
    ///
    /// # Panics
    ///
    /// When the operating system gives no random bytes.
    #[must_use]
    pub fn mint() -> Self {
        Self::of(random())
    }

    fn of(bytes: [u8; 32]) -> Self {
        Self { cipher: XChaCha20Poly1305::new(&Key::from(bytes)), bytes: Zeroizing::new(bytes) }
    }

    /// The keyring of that store, made where it has none. Wrapped under one of the `previous`
    /// keys, it is wrapped anew under `master`, and the previous one is of no use any more.
    ///
    /// # Errors
    ///
    /// [`KeyringError::WrongKey`] when no key opens it: nothing is changed then.
    pub async fn of_store(
        store: &(impl DefinitionStore + ?Sized),
        master: &MasterKey,
        previous: &[MasterKey],
    ) -> Result<Self, KeyringError> {
        let kind = DefinitionKind::Keyring;
        for _ in 0..ROUNDS_MAX {
            let standing = store.definition(&WorkspaceId::ROOT, kind, NAME).await?;
            let (keyring, expected) = match &standing {
                None => (Self::mint(), None),
                Some(kept) => {
                    if let Some(keyring) = Self::unwrapped(&kept.text, master) {
                        return Ok(keyring);
                    }
                    let opens = |key| Self::unwrapped(&kept.text, key);
                    let keyring = previous.iter().find_map(opens).ok_or(KeyringError::WrongKey)?;
                    (keyring, Some(kept.revision))
                }
            };
            if keyring.keep(store, master, expected).await? {
                return Ok(keyring);
            }
        }
        Err(KeyringError::Store(StoreError::new(
            StoreErrorKind::Unavailable,
            "the keyring of the store is being changed by others",
        )))
    }

    /// Whether that store has a keyring.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`].
    pub async fn is_kept_in(store: &(impl DefinitionStore + ?Sized)) -> Result<bool, StoreError> {
        let kind = DefinitionKind::Keyring;
        Ok(store.definition(&WorkspaceId::ROOT, kind, NAME).await?.is_some())
    }

    /// `false` where somebody else was first.
    async fn keep(
        &self,
        store: &(impl DefinitionStore + ?Sized),
        master: &MasterKey,
        expected: Option<Revision>,
    ) -> Result<bool, StoreError> {
        let wrapped = encrypt(&master.0, self.bytes.as_slice(), PLACE);
        let kind = DefinitionKind::Keyring;
        let kept = store.define(&WorkspaceId::ROOT, kind, NAME, expected, &wrapped).await?;
        Ok(matches!(kept, Defined::Defined(_)))
    }

    fn unwrapped(text: &str, master: &MasterKey) -> Option<Self> {
        decrypt(&master.0, text, PLACE)?.try_into().ok().map(Self::of)
    }

    /// Encrypts a secret for that place: what is sealed for one opens in no other.
    ///
    /// # Panics
    ///
    /// When the operating system gives no random bytes.
    #[must_use]
    pub fn seal(&self, secret: &Secret, place: &[u8]) -> Sealed {
        Sealed(encrypt(&self.cipher, secret.expose().as_bytes(), place))
    }

    /// The secret that was sealed for that place.
    ///
    /// # Errors
    ///
    /// When it was sealed by another keyring or for another place, or was altered.
    pub fn open(&self, sealed: &Sealed, place: &[u8]) -> Result<Secret, UnsealError> {
        let bytes = decrypt(&self.cipher, &sealed.0, place).ok_or(UnsealError)?;
        String::from_utf8(bytes).map(Secret::from).map_err(|_| UnsealError)
    }
}

fn encrypt(cipher: &XChaCha20Poly1305, plain: &[u8], place: &[u8]) -> String {
    let nonce: [u8; 24] = random();
    let sealed = cipher.encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: place });
    let sealed = sealed.expect("a secret is far shorter than what the cipher takes");
    STANDARD.encode([&nonce[..], &sealed].concat())
}

fn decrypt(cipher: &XChaCha20Poly1305, text: &str, place: &[u8]) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(text).ok()?;
    let (nonce, sealed) = bytes.split_first_chunk::<24>()?;
    cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: place }).ok()
}

fn random<const LENGTH: usize>() -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn a_secret_opens_in_its_place_alone_and_unaltered() {
        let (keyring, other) = (Keyring::mint(), Keyring::mint());
        let secret = Secret::from("whsec_hunter2".to_owned());
        let sealed = keyring.seal(&secret, b"here");
        assert_eq!(keyring.open(&sealed, b"here"), Ok(secret.clone()));
        assert_eq!(keyring.open(&sealed, b"there"), Err(UnsealError));
        assert_eq!(other.open(&sealed, b"here"), Err(UnsealError));
        assert_ne!(keyring.seal(&secret, b"here"), sealed, "one nonce was used twice");
        for place in 0..sealed.0.len() {
            let mut text = sealed.0.clone().into_bytes();
            text[place] = if text[place] == b'A' { b'B' } else { b'A' };
            let altered = Sealed(String::from_utf8(text).unwrap());
            assert_eq!(keyring.open(&altered, b"here"), Err(UnsealError), "at {place}");
        }
        assert_eq!(
            format!("{keyring:?} {sealed:?} {:?}", MasterKey::mint()).matches('…').count(),
            3
        );
    }

    #[test]
    fn a_master_key_is_read_as_it_is_written() {
        let key = MasterKey::mint();
        let read: MasterKey = format!("{}\n", key.expose().expose()).parse().unwrap();
        assert_eq!(read.expose(), key.expose());
        for text in ["", "hunter2", &STANDARD.encode([0; 31])] {
            assert!(text.parse::<MasterKey>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn the_keyring_of_a_store_opens_by_its_master_key_alone() {
        let store = MemoryStore::new();
        let (first, second, wrong) = (MasterKey::mint(), MasterKey::mint(), MasterKey::mint());
        let secret = Secret::from("hunter2".to_owned());
        let made = Keyring::of_store(&store, &first, &[]).await.unwrap();
        let sealed = made.seal(&secret, b"");
        let open = async |master: &MasterKey, previous: &[MasterKey]| {
            let keyring = Keyring::of_store(&store, master, previous).await;
            keyring.map(|keyring| keyring.open(&sealed, b"").unwrap() == secret)
        };
        assert!(open(&first, &[]).await.unwrap());
        assert!(matches!(open(&wrong, &[]).await, Err(KeyringError::WrongKey)));
        assert!(matches!(
            open(&wrong, std::slice::from_ref(&second)).await,
            Err(KeyringError::WrongKey)
        ));

        assert!(open(&second, &[wrong.clone(), first.clone()]).await.unwrap());
        assert!(open(&second, &[]).await.unwrap());
        assert!(matches!(open(&first, &[]).await, Err(KeyringError::WrongKey)));
    }
}
