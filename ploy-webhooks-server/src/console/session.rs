//! A session: who has signed in, until when, and in which workspace; all of it in a cookie.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};
use ploy_webhooks::{Clock, Keyring, Sealed, Secret, SecretDigest, SystemClock, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Console;
use super::cookie::{self, Over};

/// How long a session lasts, whatever is done in it.
const LASTS: Duration = Duration::from_secs(12 * 3_600);
/// What a sealed session is bound to: it opens as nothing else.
const PLACE: &[u8] = b"ploy-webhooks console session";

/// Who has signed in. `Debug` prints nothing of the token.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Session {
    token: String,
    pub(super) access: Access,
    /// In which workspace the root token acts; `None` is the default one.
    pub(super) workspace: Option<Chosen>,
    /// What each form of the session carries.
    form_token: String,
    ends_at: Timestamp,
}

/// What the token may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Access {
    Root,
    Write,
    Read,
}

/// A workspace that the root token acts in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Chosen {
    pub(super) id: String,
    pub(super) name: String,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("access", &self.access).finish_non_exhaustive()
    }
}

impl Session {
    /// A session that begins now.
    pub(super) fn begin(token: &Secret, access: Access) -> Self {
        Self {
            token: token.expose().to_owned(),
            access,
            workspace: None,
            form_token: mint_nonce(),
            ends_at: SystemClock.now().after(LASTS),
        }
    }

    /// The session of a request, if it has one that has not ended.
    pub(super) fn of(console: &Console, headers: &HeaderMap) -> Option<Self> {
        let sealed = cookie::only(headers, name(over(console)))?;
        let sealed: Sealed = serde_json::from_value(Value::String(sealed.to_owned())).ok()?;
        let opened = console.parts.keyring.open(&sealed, PLACE).ok()?;
        let session: Self = serde_json::from_str(opened.expose()).ok()?;
        (session.ends_at > SystemClock.now()).then_some(session)
    }

    /// The cookie that the session is.
    pub(super) fn cookie(&self, console: &Console) -> HeaderValue {
        let sealed = sealed(&console.parts.keyring, self);
        cookie::set(name(over(console)), &sealed, self.left().as_secs(), over(console))
    }

    /// How long it lasts still.
    pub(super) fn left(&self) -> Duration {
        let left = self.ends_at.as_millis().saturating_sub(SystemClock.now().as_millis());
        Duration::from_millis(left)
    }

    pub(super) fn token(&self) -> Secret {
        Secret::from(self.token.clone())
    }

    /// What a form carries that is of this session.
    pub(super) fn form_token(&self) -> &str {
        &self.form_token
    }

    /// Whether a form is of this session. Digests compare in constant time.
    pub(super) fn has_made(&self, form_token: &str) -> bool {
        SecretDigest::of(form_token) == SecretDigest::of(&self.form_token)
    }

    pub(super) fn may_write(&self) -> bool {
        self.access != Access::Read
    }

    pub(super) fn is_root(&self) -> bool {
        self.access == Access::Root
    }
}

/// Whether there is a cookie of a session, be it over or not.
pub(super) fn was_there(console: &Console, headers: &HeaderMap) -> bool {
    cookie::only(headers, name(over(console))).is_some()
}

/// The cookies that take a session back, whatever it is called here.
pub(super) fn no_cookies() -> [(HeaderName, HeaderValue); 2] {
    [Over::Any, Over::Https].map(|over| (SET_COOKIE, cookie::set(name(over), "", 0, over)))
}

/// `__Host-` keeps every other host from setting it, also one of the same domain that could set it
/// for the whole of that: nobody is signed in by a session that somebody else has planted.
const fn name(over: Over) -> &'static str {
    match over {
        Over::Https => "__Host-ploy_console",
        Over::Any => "ploy_console",
    }
}

/// Which requests a cookie goes with.
pub(super) fn over(console: &Console) -> Over {
    if console.parts.public_url.scheme_str() == Some("https") { Over::Https } else { Over::Any }
}

fn sealed(keyring: &Keyring, session: &Session) -> String {
    let plain = serde_json::to_string(session).expect("a session has string keys only");
    match serde_json::to_value(keyring.seal(&Secret::from(plain), PLACE)) {
        Ok(Value::String(text)) => text,
        _ => unreachable!("what is sealed is text"),
    }
}

/// 190 random bits that nobody takes for a token of the API.
pub(super) fn mint_nonce() -> String {
    URL_SAFE_NO_PAD.encode(Secret::mint_token().digest().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_says_nothing_of_the_token_and_opens_with_the_keyring_alone() {
        let keyring = Keyring::mint();
        let session = Session::begin(&Secret::from("hunter2".to_owned()), Access::Root);
        let text = sealed(&keyring, &session);
        assert!(!text.contains("hunter2") && !format!("{session:?}").contains("hunter2"));
        let text: Sealed = serde_json::from_value(Value::String(text)).unwrap();
        assert!(keyring.open(&text, PLACE).unwrap().expose().contains("hunter2"));
        assert!(keyring.open(&text, b"").is_err() && Keyring::mint().open(&text, PLACE).is_err());
    }
}
