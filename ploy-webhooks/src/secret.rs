//! Secrets: minted, hashed, compared in constant time, never printed.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroize;

/// A secret in clear: shown once to who asked for it, then forgotten, and wiped from memory.
///
/// `Debug` prints no part of it, and there is no `Display`: who means to show it calls
/// [`expose`](Self::expose).
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl Secret {
    /// A new API key: `pwk_`, 32 random characters (190 bits), and 6 that are their checksum.
    ///
    /// # Panics
    ///
    /// When the operating system gives no random bytes: a key that can be guessed is worse than
    /// no process.
    #[must_use]
    pub fn mint_api_key() -> Self {
        Self::mint("pwk_")
    }

    /// A new token for the management API: `pwt_`, otherwise as an API key.
    ///
    /// # Panics
    ///
    /// As [`mint_api_key`](Self::mint_api_key).
    #[must_use]
    pub fn mint_token() -> Self {
        Self::mint("pwt_")
    }

    /// A new secret to sign with, in the form of Standard Webhooks: `whsec_` and the base64 of 32
    /// random bytes.
    ///
    /// # Panics
    ///
    /// As [`mint_api_key`](Self::mint_api_key).
    #[must_use]
    pub fn mint_signing_secret() -> Self {
        let mut random = [0; 32];
        getrandom::fill(&mut random).expect("the operating system gives random bytes");
        Self(format!("whsec_{}", STANDARD.encode(random)).into())
    }

    /// Whether the text has the form and the checksum of a minted secret. What scanners ask;
    /// says nothing about whether it opens anything.
    #[must_use]
    pub fn is_well_formed(text: &str) -> bool {
        let Some((body, checksum)) = text.split_at_checked(text.len().saturating_sub(6)) else {
            return false;
        };
        matches!(body.get(..4), Some("pwk_" | "pwt_"))
            && body.len() == 36
            && body[4..].bytes().all(|byte| byte.is_ascii_alphanumeric())
            && checksum.as_bytes() == checksum_of(body)
    }

    /// The secret itself. Whoever calls this shows it to a person, once.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    #[must_use]
    pub fn digest(&self) -> SecretDigest {
        SecretDigest::of(self.0.as_bytes())
    }

    fn mint(prefix: &str) -> Self {
        let mut text = String::with_capacity(42);
        text.push_str(prefix);
        while text.len() < 36 {
            let mut random = [0; 48];
            getrandom::fill(&mut random).expect("the operating system gives random bytes");
            // Bytes past the last whole multiple of 62 would favour the first digits.
            let fair = random.into_iter().filter(|&byte| byte < 248);
            text.extend(fair.map(|byte| char::from(BASE62[usize::from(byte % 62)])));
            text.truncate(36);
        }
        let checksum = checksum_of(&text);
        text.extend(checksum.map(char::from));
        Self(text.into())
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// CRC-32 of the text before it, as six base62 digits, so that a scanner can tell a key from
/// any other 38 characters without asking the server.
fn checksum_of(body: &str) -> [u8; 6] {
    let mut rest = crc32fast::hash(body.as_bytes());
    let mut digits = [0; 6];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

/// SHA-256 of a secret: all that is stored. Minted secrets carry 190 random bits, so a slow
/// password hash would protect nothing more.
#[derive(Clone, Copy)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// The digest of a secret in clear.
    #[must_use]
    pub fn of(secret: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// The digest with these bytes, as a store kept them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a store to keep.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl SecretDigest {
    /// The bytes eight at a time: four comparisons in constant time, not thirty-two.
    fn words(&self) -> [u64; 4] {
        let (words, _) = self.0.as_chunks();
        std::array::from_fn(|word| u64::from_ne_bytes(words[word]))
    }
}

impl ConstantTimeEq for SecretDigest {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.words().ct_eq(&other.words())
    }
}

impl PartialEq for SecretDigest {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for SecretDigest {}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(…)")
    }
}

/// As 64 hexadecimal digits.
impl Serialize for SecretDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use fmt::Write;
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            write!(text, "{byte:02x}").map_err(serde::ser::Error::custom)?;
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for SecretDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let malformed = || serde::de::Error::custom("a digest is 64 hexadecimal digits");
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(malformed());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| malformed())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| malformed())?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_key_is_well_formed_and_unlike_any_other() {
        let (one, other) = (Secret::mint_api_key(), Secret::mint_api_key());
        assert_eq!(one.expose().len(), 42);
        assert!(one.expose().starts_with("pwk_"));
        assert!(Secret::is_well_formed(one.expose()));
        assert!(Secret::is_well_formed(Secret::mint_token().expose()));
        assert_ne!(one, other);
    }

    #[test]
    fn a_changed_character_breaks_the_checksum() {
        let key = Secret::mint_api_key();
        for place in 0..key.expose().len() {
            let mut text = key.expose().to_owned();
            let other = if text.as_bytes()[place] == b'a' { "b" } else { "a" };
            text.replace_range(place..=place, other);
            assert!(!Secret::is_well_formed(&text), "place {place}");
        }
        assert!(!Secret::is_well_formed(""));
        assert!(!Secret::is_well_formed("pwk_é"));
    }

    #[test]
    fn nothing_of_a_secret_is_printed() {
        let key = Secret::mint_api_key();
        let shown = format!("{key:?} {:?}", key.digest());
        assert_eq!(shown, "Secret(…) SecretDigest(…)");
    }

    #[test]
    fn a_digest_survives_its_text() {
        let digest = Secret::mint_api_key().digest();
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<SecretDigest>(&text).unwrap(), digest);
        assert!(serde_json::from_str::<SecretDigest>("\"+1\"").is_err());
    }
}
