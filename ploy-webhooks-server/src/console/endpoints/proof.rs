//! What a command that sends to an endpoint has to show.

use ploy_webhooks::verify::{Digest, Preset};

use super::view::Endpoint;

/// What whoever sends shows.
#[derive(Clone, Copy, Debug)]
pub(in crate::console) enum Proof {
    /// The key, as a bearer token.
    Key,
    /// The secret itself, in the header of that name.
    Token(&'static str),
    /// A signature that the secret makes.
    Signature,
}

impl Proof {
    /// What senders to that endpoint show; `None` where no command can show it: a scheme that is its
    /// own, and those that only the sender signs by.
    pub(in crate::console) fn of(endpoint: &Endpoint) -> Option<Self> {
        if endpoint.takes_keys() {
            return Some(Self::Key);
        }
        let description = Preset::named(endpoint.auth.scheme.raw())?.description();
        match description.method.digest {
            Digest::Token => Some(Self::Token(description.header.as_str())),
            // What is kept is the sender's public key, by which nothing is signed.
            Digest::Ed25519 => None,
            _ => Some(Self::Signature),
        }
    }
}
