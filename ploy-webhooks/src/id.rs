//! Ids: a type prefix, `_`, and a UUIDv7 in lowercase Crockford base32 (the TypeID form).
//!
//! They sort by time, on one node strictly: two ids that a process mints never share a position,
//! and a clock that steps back does not take them along.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::secret::SecretDigest;

/// A text that is not an id of the expected type.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not an id of this type: expected `{prefix}_` and 26 characters of lowercase base32")]
pub struct ParseIdError {
    prefix: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// What the text of such an id begins with, before the `_`.
            pub const PREFIX: &'static str = $prefix;

            /// A new id whose time is `now` (later, if this process has minted a later one).
            #[must_use]
            pub fn mint(now: Timestamp) -> Self {
                Self(uuid_v7(now))
            }

            /// The id with these bytes. Any sixteen bytes are one.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The sixteen bytes, which sort as the id does.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// The time at which the id was minted.
            #[must_use]
            pub fn timestamp(&self) -> Timestamp {
                let mut millis = [0; 8];
                millis[2..].copy_from_slice(&self.0[..6]);
                Timestamp::from_millis(u64::from_be_bytes(millis))
            }

            /// The least id of that time: below every id that is minted then or later.
            #[must_use]
            pub fn least_at(time: Timestamp) -> Self {
                let mut bytes = [0; 16];
                bytes[..6].copy_from_slice(&time.as_millis().to_be_bytes()[2..]);
                Self(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!($prefix, "_"))?;
                f.write_str(base32_text(&base32(self.0)))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(from_base32)
                    .map(Self)
                    .ok_or(ParseIdError { prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// Names a credential of an endpoint, one of its keys or secrets: `cred_…`.
    CredentialId = "cred";
    /// Names a destination: `dst_…`.
    DestinationId = "dst";
    /// Names an endpoint: `ep_…`.
    EndpointId = "ep";
    /// Names an event: `evt_…`. Its time is when the event was received.
    EventId = "evt";
    /// Names a run: `run_…`.
    RunId = "run";
    /// Names a subscription: `sub_…`.
    SubscriptionId = "sub";
    /// Names a token for the management API: `tok_…`. It comes from the token's digest, by
    /// [`of`](TokenId::of), and says nothing about time.
    TokenId = "tok";
    /// Names a workspace: `ws_…`.
    WorkspaceId = "ws";
}

impl WorkspaceId {
    /// The workspace of who needs only one.
    pub const DEFAULT: Self = Self([0; 16]);

    /// Where workspaces and tokens are themselves defined. It is nobody's: no endpoint is in it,
    /// and no id that is minted is this one.
    pub const ROOT: Self = Self([0xff; 16]);
}

impl CredentialId {
    /// The id of the API key that has this digest.
    #[must_use]
    pub fn of(digest: &SecretDigest) -> Self {
        Self(first_half(digest))
    }
}

impl TokenId {
    /// The id of the token that has this digest: whoever shows a token says with it where it is
    /// looked up.
    #[must_use]
    pub fn of(digest: &SecretDigest) -> Self {
        Self(first_half(digest))
    }
}

/// So much of a digest tells one secret from all others, and says nothing about it.
fn first_half(digest: &SecretDigest) -> [u8; 16] {
    let (half, _) = digest.as_bytes().split_first_chunk().expect("a digest has 32 bytes");
    *half
}

impl RunId {
    /// The id of a run that follows from this one, by what tells it from others that do: the same
    /// each time, so that it is made once however often it is tried. It has this one's time.
    #[must_use]
    pub fn of_follower(&self, told_by: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(told_by);
        let mut bytes = self.0;
        // What is not time is hash, but for the version and the variant (RFC 9562 §5.7).
        for (byte, hashed) in bytes.iter_mut().zip(hash.finalize()).skip(6) {
            *byte = hashed;
        }
        bytes[6] = 0x70 | (bytes[6] & 0x0f);
        bytes[8] = 0x80 | (bytes[8] & 0x3f);
        Self(bytes)
    }
}

impl EventId {
    /// Writes the id's text, `evt_` and 26 characters, without formatting machinery: every
    /// answer to an accepted request carries one.
    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"evt_");
        out.extend_from_slice(&base32(self.0));
    }
}

/// Crockford's base 32, in lower case.
pub(crate) const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// RFC 9562 §5.7 with its method 1: the twelve bits after the version count within the
/// millisecond. A full counter moves on to the next millisecond.
fn uuid_v7(now: Timestamp) -> [u8; 16] {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let floor = now.as_millis() << 12;
    let next = |last: u64| floor.max(last + 1);
    let last = LAST
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)))
        .unwrap_or_else(|last| last);
    let (millis, counter) = (next(last) >> 12, next(last) & 0xfff);
    let high = (millis << 16) | 0x7000 | counter;
    let low = (fastrand::u64(..) >> 2) | (1 << 63);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&high.to_be_bytes());
    bytes[8..].copy_from_slice(&low.to_be_bytes());
    bytes
}

fn base32(bytes: [u8; 16]) -> [u8; 26] {
    let mut rest = u128::from_be_bytes(bytes);
    let mut text = [0; 26];
    for digit in text.iter_mut().rev() {
        *digit = ALPHABET[(rest & 31) as usize];
        rest >>= 5;
    }
    text
}

fn base32_text(digits: &[u8; 26]) -> &str {
    std::str::from_utf8(digits).expect("the base32 alphabet is ASCII")
}

fn from_base32(text: &str) -> Option<[u8; 16]> {
    // 26 digits hold 130 bits: the first may use only its lower three.
    if text.len() != 26 || text.as_bytes()[0] > b'7' {
        return None;
    }
    let mut value = 0u128;
    for digit in text.bytes() {
        let place = ALPHABET.iter().position(|&known| known == digit)?;
        value = (value << 5) | place as u128;
    }
    Some(value.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_is_a_uuid_v7_that_carries_its_time() {
        let now = Timestamp::from_millis(1_800_000_000_123);
        let id = EventId::mint(now);
        assert!(id.timestamp() >= now);
        assert_eq!(id.as_bytes()[6] >> 4, 7, "version");
        assert_eq!(id.as_bytes()[8] >> 6, 0b10, "variant");
    }

    #[test]
    fn ids_of_one_process_ascend_even_when_the_clock_steps_back() {
        let times = [5_000, 5_000, 4_000, 5_001, 1];
        let ids: Vec<_> = times
            .iter()
            .flat_map(|&millis| {
                std::iter::repeat_with(move || RunId::mint(Timestamp::from_millis(millis)))
                    .take(5_000)
            })
            .collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn known_text() {
        let id = EventId::from_bytes([0xff; 16]);
        assert_eq!(id.to_string(), "evt_7zzzzzzzzzzzzzzzzzzzzzzzzz");
        assert_eq!(WorkspaceId::DEFAULT.to_string(), "ws_00000000000000000000000000");
        assert_eq!(WorkspaceId::ROOT.to_string(), "ws_7zzzzzzzzzzzzzzzzzzzzzzzzz");
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for text in [
            "",
            "evt_",
            "run_7zzzzzzzzzzzzzzzzzzzzzzzzz",
            "evt_8zzzzzzzzzzzzzzzzzzzzzzzzz",
            "evt_7ZZZZZZZZZZZZZZZZZZZZZZZZZ",
            "evt_7zzzzzzzzzzzzzzzzzzzzzzzzl",
            "evt_7zzzzzzzzzzzzzzzzzzzzzzzz",
            "evt_7zzzzzzzzzzzzzzzzzzzzzzzzé",
        ] {
            assert!(text.parse::<EventId>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_and_bytes_say_the_same_and_sort_alike(a: [u8; 16], b: [u8; 16]) {
            let (a, b) = (EventId::from_bytes(a), EventId::from_bytes(b));
            prop_assert_eq!(a.to_string().parse::<EventId>().unwrap(), a);
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,40}") {
            let _ = text.parse::<EventId>();
        }
    }
}
