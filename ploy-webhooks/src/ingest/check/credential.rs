//! The sender is who it says: `Authorization: Bearer <key>` with a key of the endpoint.
//!
//! The form is RFC 6750 §2.1 read strictly: one header, one space, no quotes. A form that is
//! nearly right is the most frequent fault of a new sender, so each has a detail of its own.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use subtle::{Choice, ConstantTimeEq};

use crate::auth::KeyDigest;
use crate::clock::Clock;
use crate::id::CredentialId;
use crate::ingest::Refusal;
use crate::ingest::refusal::CredentialFault;
use crate::secret::SecretDigest;

pub(in crate::ingest) fn check(
    keys: &[KeyDigest],
    headers: &HeaderMap,
    clock: &dyn Clock,
) -> Result<CredentialId, Refusal> {
    let key = bearer(headers).map_err(Refusal::Unauthorized)?;
    let presented = SecretDigest::of(key);
    // Every key is compared, so that the time does not tell which one came close.
    let opens = keys.iter().fold(None, |opens, key| {
        let expired = key.expires_at.is_some_and(|expires_at| clock.now() >= expires_at);
        let is_it = key.digest.ct_eq(&presented) & Choice::from(u8::from(!expired));
        if is_it.into() { Some(key.id()) } else { opens }
    });
    opens.ok_or(Refusal::Unauthorized(CredentialFault::Wrong))
}

/// The key that the headers present.
fn bearer(headers: &HeaderMap) -> Result<&[u8], CredentialFault> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => Err(CredentialFault::Missing),
        (Some(_), Some(_)) => Err(CredentialFault::Repeated),
        (Some(value), None) => key_of(value),
    }
}

fn key_of(value: &HeaderValue) -> Result<&[u8], CredentialFault> {
    let value = value.as_bytes();
    let scheme_end = value.iter().position(is_space).unwrap_or(value.len());
    let (scheme, rest) = value.split_at(scheme_end);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(CredentialFault::Scheme);
    }
    let key = match rest.strip_prefix(b" ") {
        None if rest.is_empty() => return Err(CredentialFault::Empty),
        Some(b"") => return Err(CredentialFault::Empty),
        None => return Err(CredentialFault::Spacing),
        Some(key) => key,
    };
    match key.iter().find(|byte| is_space(byte) || matches!(byte, b'"' | b'\'')) {
        None => Ok(key),
        Some(b'"' | b'\'') => Err(CredentialFault::Quoted),
        Some(_) => Err(CredentialFault::Spacing),
    }
}

const fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        use CredentialFault::{Empty, Quoted, Scheme, Spacing};
        for (value, expected) in [
            ("Bearer k", Ok(&b"k"[..])),
            ("bearer k", Ok(b"k")),
            ("BEARER k", Ok(b"k")),
            ("Bearer", Err(Empty)),
            ("Bearer ", Err(Empty)),
            ("Bearer  k", Err(Spacing)),
            ("Bearer\tk", Err(Spacing)),
            ("Bearer k ", Err(Spacing)),
            ("Bearer k k", Err(Spacing)),
            ("Bearer \"k\"", Err(Quoted)),
            ("Bearer 'k'", Err(Quoted)),
            ("Basic k", Err(Scheme)),
            ("Bearerk", Err(Scheme)),
            ("", Err(Scheme)),
            ("k", Err(Scheme)),
        ] {
            let header = HeaderValue::from_static(value);
            assert_eq!(key_of(&header), expected, "{value:?}");
        }
    }
}
