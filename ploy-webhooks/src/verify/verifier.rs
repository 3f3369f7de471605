//! [`Verifier`]: tells whether a request was signed by who knows a secret.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use thiserror::Error;

use super::content::Parts;
use super::handshake::HandshakeReply;
use super::key::{Key, SIGNATURES_MAX, SecretError};
use super::layout::Found;
use super::scheme::{Scheme, SignatureScheme, TimestampSource};
use crate::clock::Timestamp;
use crate::id::CredentialId;
use crate::secret::Secret;

/// Tells whether a request was signed by who knows one of the secrets.
///
/// Its secrets are made ready once; `Debug` prints nothing of them.
#[derive(Clone, Debug)]
pub struct Verifier {
    scheme: Scheme,
    tolerance: Duration,
    keys: Vec<Credential>,
}

#[derive(Clone, Debug)]
struct Credential {
    id: CredentialId,
    expires_at: Option<Timestamp>,
    key: Key,
}

/// What a signature was made for.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers build it from its parts")]
pub struct Signed<'a> {
    /// The method of the request.
    pub method: &'a str,
    /// Its URL, whole, as the sender was told it; empty where the scheme signs none.
    pub url: &'a str,
    /// Its body.
    pub body: &'a [u8],
}

/// What the headers of a request say of its signature.
///
/// `Debug` prints nothing of the signature, which may be a token.
#[derive(Clone, Copy)]
pub struct Presented<'headers> {
    signature: &'headers str,
    timestamp: &'headers str,
    id: &'headers str,
}

/// A signature that was found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Whose secret it was made with.
    pub credential: CredentialId,
    place: usize,
}

/// What is wrong with a signature.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureFault {
    /// There is none.
    #[error("the signature is missing")]
    Missing,
    /// Its header, or one that is signed with it, is there more than once.
    #[error("a header of the signature is given more than once")]
    Repeated,
    /// Its header is not laid out as the scheme has it.
    #[error("the header of the signature is not of the form of its scheme")]
    Malformed,
    /// The time that was signed is missing, or is no number.
    #[error("the timestamp of the signature is missing or is not a whole number")]
    Timestamp,
    /// The id that was signed is missing.
    #[error("the id that is signed is missing")]
    Id,
    /// It is another's, or of something else.
    #[error("the signature is not that of this request by a secret that is valid here")]
    Wrong,
    /// The time that was signed is too far from the present.
    #[error("the timestamp of the signature is too far from the present")]
    Stale,
}

impl Verifier {
    /// One for signatures by this scheme whose time is no further from the present than
    /// `tolerance`.
    #[must_use]
    pub const fn new(scheme: Scheme, tolerance: Duration) -> Self {
        Self { scheme, tolerance, keys: Vec::new() }
    }

    /// The same, which knows that secret too, until it expires.
    ///
    /// # Errors
    ///
    /// When the scheme cannot use it.
    pub fn with_secret(
        mut self,
        id: CredentialId,
        secret: &Secret,
        expires_at: Option<Timestamp>,
    ) -> Result<Self, SecretError> {
        let key = Key::new(self.scheme.description(), secret)?;
        self.keys.push(Credential { id, expires_at, key });
        Ok(self)
    }

    /// The scheme.
    #[must_use]
    pub const fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// How far a time that is signed may be from the present.
    #[must_use]
    pub const fn tolerance(&self) -> Duration {
        self.tolerance
    }

    fn description(&self) -> &SignatureScheme {
        self.scheme.description()
    }

    /// What these headers say, if it can be right: before the body is read.
    ///
    /// # Errors
    ///
    /// When it cannot.
    pub fn present<'headers>(
        &self,
        headers: &'headers HeaderMap,
        now: Timestamp,
    ) -> Result<Presented<'headers>, SignatureFault> {
        let scheme = self.description();
        let signature = only(headers, &scheme.header)?.ok_or(SignatureFault::Missing)?;
        let beside = self.read_header(signature)?;
        let timestamp = match &scheme.timestamp {
            None => "",
            Some(source) => {
                let written = match &source.header {
                    Some(name) => only(headers, name)?,
                    None => beside,
                };
                let written = written.ok_or(SignatureFault::Timestamp)?;
                self.check_time(written, source, now)?;
                written
            }
        };
        let id = match &scheme.id {
            None => "",
            Some(name) => {
                let id = only(headers, name)?.filter(|id| !id.is_empty());
                id.ok_or(SignatureFault::Id)?
            }
        };
        Ok(Presented { signature, timestamp, id })
    }

    /// The time that stands beside the signatures, of which there are some and not too many. Each
    /// method reads the header by itself, and may find the same time there.
    fn read_header<'value>(
        &self,
        value: &'value str,
    ) -> Result<Option<&'value str>, SignatureFault> {
        let scheme = self.description();
        let (mut is_signed, mut time) = (false, None);
        for method in std::iter::once(&scheme.method).chain(&scheme.alternative) {
            let (mut signatures, mut times, mut beside) = (0, 0, None);
            method.layout.read(value, |found| match found {
                Found::Signature(_) => signatures += 1,
                Found::Timestamp(written) => {
                    times += 1;
                    beside = Some(written);
                }
            });
            if signatures == 0 {
                continue;
            }
            is_signed = true;
            // Of two times nobody knows which one was signed.
            let is_one_time = times <= 1 && (time.is_none() || beside.is_none() || time == beside);
            if signatures > SIGNATURES_MAX || !is_one_time {
                return Err(SignatureFault::Malformed);
            }
            time = time.or(beside);
        }
        if is_signed { Ok(time) } else { Err(SignatureFault::Malformed) }
    }

    fn check_time(
        &self,
        written: &str,
        source: &TimestampSource,
        now: Timestamp,
    ) -> Result<(), SignatureFault> {
        let is_number = !written.is_empty() && written.bytes().all(|byte| byte.is_ascii_digit());
        let number = written.parse::<u64>().ok().filter(|_| is_number);
        let number = number.ok_or(SignatureFault::Timestamp)?;
        let signed_at = number.saturating_mul(source.unit.millis());
        let distance = Duration::from_millis(signed_at.abs_diff(now.as_millis()));
        if distance <= self.tolerance { Ok(()) } else { Err(SignatureFault::Stale) }
    }

    /// Whether a signature that was presented is one of this request.
    ///
    /// Every signature of the header is compared with that of every secret that is valid, each in
    /// constant time.
    ///
    /// # Errors
    ///
    /// [`SignatureFault::Wrong`] when none is.
    pub fn verify(
        &self,
        presented: &Presented<'_>,
        signed: &Signed<'_>,
        now: Timestamp,
    ) -> Result<Proven, SignatureFault> {
        let scheme = self.description();
        let parts = presented.parts(signed);
        for (place, credential) in self.keys.iter().enumerate() {
            if credential.expires_at.is_some_and(|expires_at| now >= expires_at) {
                continue;
            }
            let method = credential.key.method(scheme);
            let expected = credential.key.expected(&scheme.signed, &parts);
            let (mut is_right, mut tries_left) = (false, expected.tries_max());
            method.layout.read(presented.signature, |found| {
                if let Found::Signature(written) = found
                    && tries_left > 0
                {
                    tries_left -= 1;
                    is_right |= expected.is(written, method.encoding);
                }
            });
            if is_right {
                return Ok(Proven { credential: credential.id, place });
            }
        }
        Err(SignatureFault::Wrong)
    }

    /// Hands over what was signed, piece by piece: the same for every request with one signature,
    /// however that is written and whichever secret it was made with.
    pub(crate) fn signed_content(
        &self,
        presented: &Presented<'_>,
        signed: &Signed<'_>,
        to: impl FnMut(&[u8]),
    ) {
        let parts = presented.parts(signed);
        self.description().signed.feed(&parts, to);
    }

    /// What a sender is told that does not send an event yet but asks something first; `None`
    /// for an event. `payload` is one JSON document.
    #[must_use]
    pub fn handshake(&self, proven: Proven, payload: &str) -> Option<HandshakeReply> {
        let handshake = self.description().handshake?;
        handshake.reply(payload, |bytes| self.keys.get(proven.place)?.key.hmac_sha256(bytes))
    }
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timestamp, id, .. } = self;
        f.debug_struct("Presented")
            .field("timestamp", timestamp)
            .field("id", id)
            .finish_non_exhaustive()
    }
}

impl<'a> Presented<'a> {
    const fn parts(&self, signed: &Signed<'a>) -> Parts<'a> {
        let Signed { method, url, body } = *signed;
        Parts { id: self.id, timestamp: self.timestamp, method, url, body }
    }
}

/// The value of a header that may be there once.
fn only<'headers>(
    headers: &'headers HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'headers str>, SignatureFault> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| SignatureFault::Malformed),
        (Some(_), Some(_)) => Err(SignatureFault::Repeated),
    }
}
