//! The sender is who it says: `Authorization: Bearer <key>` with a key of the endpoint.
//!
//! The form is RFC 6750 §2.1 read strictly: one header, one space, no quotes. A form that is
//! nearly right is the most frequent fault of a new sender, so each has a detail of its own.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use subtle::{Choice, ConstantTimeEq};

use crate::clock::Timestamp;
use crate::endpoint::{Auth, Endpoint};
use crate::ingest::Refusal;
use crate::ingest::refusal::CredentialFault;
use crate::secret::SecretDigest;

pub(in crate::ingest) fn check(
    endpoint: &Endpoint,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<(), Refusal> {
    let key = bearer(headers).map_err(Refusal::Unauthorized)?;
    let presented = SecretDigest::of(key);
    let Auth::ApiKey { keys } = &endpoint.auth;
    // Every key is compared, so that the time does not tell which one came close.
    let opens = keys.iter().fold(Choice::from(0), |opens, key| {
        let expired = key.expires_at.is_some_and(|expires_at| now >= expires_at);
        opens | (key.digest.ct_eq(&presented) & Choice::from(u8::from(!expired)))
    });
    if opens.into() { Ok(()) } else { Err(Refusal::Unauthorized(CredentialFault::Wrong)) }
}

/// The key that the headers present.
fn bearer(headers: &HeaderMap) -> Result<&str, CredentialFault> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => Err(CredentialFault::Missing),
        (Some(_), Some(_)) => Err(CredentialFault::Repeated),
        (Some(value), None) => key_of(value),
    }
}

fn key_of(value: &HeaderValue) -> Result<&str, CredentialFault> {
    let text = value.to_str().map_err(|_| CredentialFault::Wrong)?;
    let scheme_end = text.find([' ', '\t']).unwrap_or(text.len());
    let (scheme, rest) = text.split_at(scheme_end);
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(CredentialFault::Scheme);
    }
    match rest.strip_prefix(' ') {
        None if rest.is_empty() => Err(CredentialFault::Empty),
        Some("") => Err(CredentialFault::Empty),
        None => Err(CredentialFault::Spacing),
        Some(key) if key.contains([' ', '\t']) => Err(CredentialFault::Spacing),
        Some(key) if key.contains(['"', '\'']) => Err(CredentialFault::Quoted),
        Some(key) => Ok(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        use CredentialFault::{Empty, Quoted, Scheme, Spacing};
        for (value, expected) in [
            ("Bearer k", Ok("k")),
            ("bearer k", Ok("k")),
            ("BEARER k", Ok("k")),
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
