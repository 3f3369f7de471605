//! A secret made ready: what a signature is made and compared with.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use ed25519_dalek::{Signature, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use super::content::{Parts, SignedContent};
use super::scheme::{Digest, Encoding, Method, SchemeError, SecretEncoding, SignatureScheme};
use crate::secret::{Secret, SecretDigest};

/// Base64 as senders write it: by RFC 4648 §4, with its padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// So many signatures a header may have.
pub(super) const SIGNATURES_MAX: usize = 16;

/// A secret that a scheme cannot use. It repeats nothing of it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretError {
    /// There is none.
    #[error("the secret is empty")]
    Empty,
    /// It is longer than any.
    #[error("the secret has more than 1024 bytes")]
    TooLong,
    /// It holds what no secret holds, a line end for one.
    #[error("the secret has control characters in it, a line end perhaps")]
    ControlCharacters,
    /// It is not hexadecimal digits.
    #[error("the secret is not written in hexadecimal digits")]
    NotHex,
    /// It is not base64.
    #[error("the secret is not written in base64 (behind `{prefix}`, if it has that)")]
    NotBase64 {
        /// What stands before it.
        prefix: String,
    },
    /// It is no public key.
    #[error("the secret is not an Ed25519 public key (RFC 8032) of 32 bytes")]
    NotAPublicKey,
    /// The description of the scheme contradicts itself.
    #[error(transparent)]
    Scheme(#[from] SchemeError),
    /// No header has it as it is.
    #[error("the secret is not visible ASCII, as what stands in a header as it is has to be")]
    NotVisible,
    /// Whoever has a public key can tell who signed, not sign.
    #[error("nothing is signed with a public key")]
    SignsNothing,
}

/// Which of the methods of its scheme a secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Main,
    Alternative,
}

/// A secret made ready.
#[derive(Clone)]
pub(super) struct Key {
    which: Which,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    // Keyed once: a signature costs two compressions less than by the secret itself.
    Sha256(Hmac<Sha256>),
    Sha512(Box<Hmac<Sha512>>),
    Sha1(Hmac<Sha1>),
    Ed25519(Box<VerifyingKey>),
    Token(Secret),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    pub(super) fn new(scheme: &SignatureScheme, secret: &Secret) -> Result<Self, SecretError> {
        scheme.check()?;
        let text = secret.expose();
        if text.len() > 1024 {
            return Err(SecretError::TooLong);
        }
        if text.contains(|char: char| char.is_control()) {
            return Err(SecretError::ControlCharacters);
        }
        let is_for = |method: &&Method| text.starts_with(&method.secret.prefix);
        let (which, method) = match scheme.alternative.as_ref().filter(is_for) {
            Some(alternative) => (Which::Alternative, alternative),
            None => (Which::Main, &scheme.method),
        };
        let bytes = bytes_of(text, method)?;
        if bytes.is_empty() {
            return Err(SecretError::Empty);
        }
        Ok(Self { which, kind: Kind::new(method.digest, &bytes, secret)? })
    }

    /// The method of the scheme that the secret is for.
    pub(super) const fn method<'scheme>(
        &self,
        scheme: &'scheme SignatureScheme,
    ) -> &'scheme Method {
        match (self.which, &scheme.alternative) {
            (Which::Alternative, Some(alternative)) => alternative,
            _ => &scheme.method,
        }
    }

    /// What these parts are compared with.
    pub(super) fn expected(&self, content: &SignedContent, parts: &Parts<'_>) -> Expected<'_> {
        match &self.kind {
            Kind::Sha256(keyed) => Expected::mac(keyed.clone(), content, parts),
            Kind::Sha512(keyed) => Expected::mac((**keyed).clone(), content, parts),
            Kind::Sha1(keyed) => Expected::mac(keyed.clone(), content, parts),
            Kind::Ed25519(key) => {
                let mut message = Vec::with_capacity(parts.body.len() + 64);
                content.feed(parts, |piece| message.extend_from_slice(piece));
                Expected::Signed { key, message }
            }
            Kind::Token(token) => Expected::Token(token.digest()),
        }
    }

    /// The signature of these parts, as it is written.
    pub(super) fn sign(
        &self,
        method: &Method,
        content: &SignedContent,
        parts: &Parts<'_>,
    ) -> Result<String, SecretError> {
        match (&self.kind, self.expected(content, parts)) {
            (Kind::Token(token), _) => Ok(token.expose().to_owned()),
            (_, Expected::Mac { bytes, length }) => Ok(match method.encoding {
                Encoding::Hex => hex::encode(&bytes[..length]),
                Encoding::Base64 => BASE64.encode(&bytes[..length]),
            }),
            _ => Err(SecretError::SignsNothing),
        }
    }

    /// The HMAC-SHA256 of these bytes, where that is what the scheme signs with.
    pub(super) fn hmac_sha256(&self, bytes: &[u8]) -> Option<[u8; 32]> {
        match &self.kind {
            Kind::Sha256(keyed) => {
                Some(keyed.clone().chain_update(bytes).finalize().into_bytes().into())
            }
            _ => None,
        }
    }
}

impl Kind {
    fn new(digest: Digest, bytes: &[u8], secret: &Secret) -> Result<Self, SecretError> {
        const ANY: &str = "HMAC takes keys of any length";
        Ok(match digest {
            Digest::HmacSha256 => Self::Sha256(Hmac::new_from_slice(bytes).expect(ANY)),
            Digest::HmacSha512 => Self::Sha512(Box::new(Hmac::new_from_slice(bytes).expect(ANY))),
            Digest::HmacSha1 => Self::Sha1(Hmac::new_from_slice(bytes).expect(ANY)),
            Digest::Ed25519 => {
                let key = bytes.try_into().ok().and_then(|key| VerifyingKey::from_bytes(key).ok());
                // Under a weak key, one signature is right for many messages.
                let key = key.filter(|key| !key.is_weak()).ok_or(SecretError::NotAPublicKey)?;
                Self::Ed25519(Box::new(key))
            }
            Digest::Token if !stands_in_a_header(secret.expose()) => {
                return Err(SecretError::NotVisible);
            }
            Digest::Token => Self::Token(secret.clone()),
        })
    }
}

/// Blanks at either end are no part of a value (RFC 9110 §5.5), and what is not ASCII is written
/// by each sender as it likes.
fn stands_in_a_header(token: &str) -> bool {
    token.bytes().all(|byte| matches!(byte, b' '..=b'~')) && token.trim_ascii() == token
}

fn bytes_of(text: &str, method: &Method) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let prefix = method.secret.prefix.as_str();
    let written = text.strip_prefix(prefix).unwrap_or(text);
    let not_base64 = |_| SecretError::NotBase64 { prefix: prefix.to_owned() };
    Ok(Zeroizing::new(match method.secret.encoding {
        SecretEncoding::Raw => written.as_bytes().to_vec(),
        SecretEncoding::Hex => hex::decode(written).map_err(|_| SecretError::NotHex)?,
        SecretEncoding::Base64 => BASE64.decode(written).map_err(not_base64)?,
    }))
}

/// What the signatures of a request are compared with.
pub(super) enum Expected<'key> {
    Mac { bytes: [u8; 64], length: usize },
    Signed { key: &'key VerifyingKey, message: Vec<u8> },
    Token(SecretDigest),
}

impl Expected<'_> {
    /// So many signatures of one header are tried. One that needs the whole message hashed for
    /// itself is not: nobody makes the process do that for nothing.
    pub(super) const fn tries_max(&self) -> usize {
        match self {
            Self::Signed { .. } => 4,
            Self::Mac { .. } | Self::Token(_) => SIGNATURES_MAX,
        }
    }

    fn mac(mut keyed: impl Mac, content: &SignedContent, parts: &Parts<'_>) -> Self {
        content.feed(parts, |piece| keyed.update(piece));
        let tag = keyed.finalize().into_bytes();
        let mut bytes = [0; 64];
        bytes[..tag.len()].copy_from_slice(&tag);
        Self::Mac { bytes, length: tag.len() }
    }

    /// Whether this is the signature, in constant time where a secret is at stake.
    pub(super) fn is(&self, written: &str, encoding: Encoding) -> bool {
        let mut buffer = [0; 66];
        match self {
            Self::Token(digest) => SecretDigest::of(written) == *digest,
            Self::Mac { bytes, length } => decode(written, encoding, &mut buffer)
                .is_some_and(|given| given.ct_eq(&bytes[..*length]).into()),
            Self::Signed { key, message } => decode(written, encoding, &mut buffer)
                .and_then(|given| Signature::from_slice(given).ok())
                .is_some_and(|signature| key.verify_strict(message, &signature).is_ok()),
        }
    }
}

/// The bytes of a signature; `None` where it is written otherwise or is too long for any.
fn decode<'buffer>(
    written: &str,
    encoding: Encoding,
    buffer: &'buffer mut [u8; 66],
) -> Option<&'buffer [u8]> {
    let length = match encoding {
        Encoding::Hex => {
            let length = written.len() / 2;
            hex::decode_to_slice(written, buffer.get_mut(..length)?).ok()?;
            length
        }
        Encoding::Base64 => BASE64.decode_slice(written, buffer).ok()?,
    };
    Some(&buffer[..length])
}
