//! What some senders ask before they send, and what they are told. Asked and answered only after
//! the signature was found right; no event comes of it.

use std::fmt;

use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::pointer::{self, JsonPointer};

/// What a sender asks before it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Handshake {
    /// Slack's `url_verification`: the challenge comes back.
    Slack,
    /// Zoom's `endpoint.url_validation`: the token comes back, with its HMAC under the secret.
    Zoom,
    /// Discord's `PING`: of interactions (`"type": 1` without an event) or of webhook events
    /// (`"type": 0`).
    Discord,
    /// A confirmation token at the top of a payload that has no `id`, as events have:
    /// `confirmation_token` comes back.
    ConfirmationToken,
}

/// What a sender is told that has asked. `Debug` shows no body: it may be what proves to the sender
/// that its secret is known.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandshakeReply {
    /// The status of the answer.
    pub status: StatusCode,
    /// Its body, in JSON; may be empty.
    pub body: Bytes,
}

impl fmt::Debug for HandshakeReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandshakeReply").field("status", &self.status).finish_non_exhaustive()
    }
}

impl HandshakeReply {
    fn json(body: &serde_json::Value) -> Self {
        Self { status: StatusCode::OK, body: Bytes::from(body.to_string()) }
    }
}

/// No sender asks with more; what is larger is an event.
const PAYLOAD_BYTES_MAX: usize = 16 << 10;

impl Handshake {
    /// The reply to this payload; `None` where it asks nothing. `hmac_sha256` is by the secret
    /// that the request was signed with.
    pub(super) fn reply(
        self,
        payload: &str,
        hmac_sha256: impl FnOnce(&[u8]) -> Option<[u8; 32]>,
    ) -> Option<HandshakeReply> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return None;
        }
        match self {
            Self::Slack => slack(payload),
            Self::Zoom => zoom(payload, hmac_sha256),
            Self::Discord => discord(payload),
            Self::ConfirmationToken => {
                let token = text_at(payload, "/confirmation_token")?;
                if at(payload, "/id").is_some() {
                    return None;
                }
                Some(HandshakeReply::json(&json!({ "confirmation_token": token })))
            }
        }
    }
}

fn slack(payload: &str) -> Option<HandshakeReply> {
    let asks = text_at(payload, "/type")? == "url_verification";
    let challenge = text_at(payload, "/challenge").filter(|_| asks)?;
    Some(HandshakeReply::json(&json!({ "challenge": challenge })))
}

fn zoom(
    payload: &str,
    hmac_sha256: impl FnOnce(&[u8]) -> Option<[u8; 32]>,
) -> Option<HandshakeReply> {
    let asks = text_at(payload, "/event")? == "endpoint.url_validation";
    let token = text_at(payload, "/payload/plainToken").filter(|_| asks)?;
    let encrypted = hex::encode(hmac_sha256(token.as_bytes())?);
    Some(HandshakeReply::json(&json!({ "plainToken": token, "encryptedToken": encrypted })))
}

fn discord(payload: &str) -> Option<HandshakeReply> {
    match at(payload, "/type")? {
        "0" => Some(HandshakeReply { status: StatusCode::NO_CONTENT, body: Bytes::new() }),
        "1" if at(payload, "/event").is_none() => Some(HandshakeReply::json(&json!({ "type": 1 }))),
        _ => None,
    }
}

fn at<'payload>(payload: &'payload str, path: &str) -> Option<&'payload str> {
    let path: JsonPointer = path.parse().expect("the paths of handshakes are pointers");
    path.follow(payload)
}

fn text_at(payload: &str, path: &str) -> Option<String> {
    pointer::string(at(payload, path)?)
}
