//! An endpoint: one ingest address and what holds for it.

use std::borrow::Borrow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::answer::SuccessAnswer;
use crate::auth::{Auth, SignatureAuth, SigningSecret};
use crate::clock::Timestamp;
use crate::fields::FieldMap;
use crate::id::{self, EndpointId, WorkspaceId};
use crate::limits::Limits;
use crate::ploybook::PloybookName;
use crate::pointer::JsonPointer;

use crate::seal::Keyring;
use crate::secret::Secret;
use crate::value_source::{ValueSource, harmless_header_name};
use crate::verify::{Scheme, SecretError};

/// One ingest address: who may send to it, how much, and what comes of it.
///
/// A snapshot: stores hand it out behind an `Arc`, and its [`revision`](Self::revision) names
/// the state it shows.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Endpoint {
    /// Names the endpoint for good; the slug may be reused after a deletion, the id never.
    pub id: EndpointId,
    /// The tenant that it belongs to.
    pub workspace: WorkspaceId,
    /// The last segment of the ingest address.
    pub slug: Slug,
    /// Counts the changes, beginning with 1.
    pub revision: Revision,
    /// When it was made.
    pub created_at: Timestamp,
    /// How a sender proves who it is.
    pub auth: Auth,
    /// Everything that an operator sets.
    pub config: EndpointConfig,
}

impl Endpoint {
    /// An endpoint at its first revision.
    #[must_use]
    pub const fn new(
        id: EndpointId,
        workspace: WorkspaceId,
        slug: Slug,
        created_at: Timestamp,
        auth: Auth,
        config: EndpointConfig,
    ) -> Self {
        Self { id, workspace, slug, revision: Revision::FIRST, created_at, auth, config }
    }

    /// A new endpoint with an id, an address and an API key of its own, and that key: the
    /// endpoint holds its digest alone, so this is the one time that it can be shown.
    ///
    /// # Panics
    ///
    /// When the operating system gives no random bytes.
    #[must_use]
    pub fn mint(workspace: WorkspaceId, config: EndpointConfig, now: Timestamp) -> (Self, Secret) {
        let key = Secret::mint_api_key();
        let auth = Auth::api_key(key.digest());
        (Self::new(EndpointId::mint(now), workspace, Slug::mint(), now, auth, config), key)
    }

    /// A new endpoint whose senders sign by that scheme with that secret, which is sealed by the
    /// keyring: the [intake](crate::ingest::Builder::keyring) needs the same one.
    ///
    /// # Errors
    ///
    /// When the scheme cannot use the secret.
    ///
    /// # Panics
    ///
    /// When the operating system gives no random bytes.
    pub fn mint_signed(
        workspace: WorkspaceId,
        config: EndpointConfig,
        now: Timestamp,
        keyring: &Keyring,
        scheme: Scheme,
        secret: &Secret,
    ) -> Result<Self, SecretError> {
        let id = EndpointId::mint(now);
        let sealed = SigningSecret::seal(keyring, id, &scheme, secret, now)?;
        let auth = Auth::Signature(SignatureAuth::new(scheme, sealed));
        Ok(Self::new(id, workspace, Slug::mint(), now, auth, config))
    }
}

/// What an operator sets on an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointConfig {
    /// For people.
    pub description: String,
    /// Whether events are accepted.
    pub status: Status,
    /// What every accepted event runs; `None` stores only.
    pub trigger: Option<EndpointTrigger>,
    /// Bounds of its own.
    pub limits: Limits,
    /// How a repeated delivery is recognised; `None` keeps every one.
    pub dedup: Option<DedupRule>,
    /// The address ranges that may send; `None` is everybody.
    pub allow: Option<AllowList>,
    /// Where the type of an event is read from; `None` gives events no type.
    pub event_type: Option<ValueSource>,
    /// The fields that are named in its payloads; `None` names none.
    pub fields: Option<FieldMap>,
    /// What is answered to an event that is stored; `None` is 202 and its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<SuccessAnswer>,
}

/// What every event of an endpoint runs: a Ploybook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "it is the name, in a form of its own")]
pub struct EndpointTrigger {
    /// The name of the Ploybook.
    pub ploybook: PloybookName,
}

/// Whether an endpoint takes events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "an endpoint takes events or does not")]
pub enum Status {
    /// Events are accepted.
    #[default]
    Active,
    /// Every event is refused with 403; the history stays.
    Paused,
}

/// The number of an endpoint's state. Every change makes it larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(u64);

impl Revision {
    /// The revision of a new endpoint.
    pub const FIRST: Self = Self(1);

    /// The revision with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The revision after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The last segment of an ingest address: 1 to 64 characters of `a`–`z`, `0`–`9` and `-`.
///
/// Compared byte for byte; there is one spelling of each, so an address that is percent-encoded
/// or in another case names nothing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slug(Box<str>);

/// A text that is not a slug.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not a slug: expected 1 to 64 characters of a-z, 0-9 and -")]
pub struct ParseSlugError;

impl Slug {
    /// A new slug of 20 random characters (100 bits): nobody guesses an address.
    ///
    /// # Panics
    ///
    /// When the operating system gives no random bytes.
    #[must_use]
    pub fn mint() -> Self {
        let mut random = [0; 20];
        getrandom::fill(&mut random).expect("the operating system gives random bytes");
        let text: String =
            random.iter().map(|byte| char::from(id::ALPHABET[usize::from(byte % 32)])).collect();
        Self(text.into())
    }

    /// The slug as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_valid(text: &str) -> bool {
        (1..=64).contains(&text.len())
            && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    }
}

impl FromStr for Slug {
    type Err = ParseSlugError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if Self::is_valid(text) { Ok(Self(text.into())) } else { Err(ParseSlugError) }
    }
}

impl Borrow<str> for Slug {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Address ranges that may send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AllowList(Vec<IpNet>);

impl AllowList {
    /// The list of these ranges. An empty one lets nobody in.
    #[must_use]
    pub const fn new(ranges: Vec<IpNet>) -> Self {
        Self(ranges)
    }

    /// How many ranges the list has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the list lets nobody in.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the ranges holds the address. An IPv4 address mapped into IPv6
    /// (RFC 4291 §2.5.5.2) is the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|range| range.contains(&address))
    }
}

/// How a repeated delivery is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DedupRule {
    /// What two deliveries share when one is the other's repeat.
    pub by: DedupBy,
    /// For how long a delivery is remembered.
    pub window: Duration,
    /// Whether a delivery without a key is refused; otherwise it is kept and never a repeat.
    pub required: bool,
}

/// What two deliveries share when one is the other's repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DedupBy {
    /// The value of this header.
    Header(HeaderName),
    /// What these pointers lead to in the payload, all of them.
    Pointers(Vec<JsonPointer>),
    /// Every byte of the body.
    Body,
    /// Nothing: every delivery is kept, also where the scheme of its signature knows what it is
    /// called.
    Nothing,
}

impl DedupRule {
    /// The longest window: 30 days.
    pub const WINDOW_MAX: Duration = Duration::from_secs(30 * 86_400);
    /// The window where none is given: a day.
    pub const WINDOW_DEFAULT: Duration = Duration::from_secs(86_400);
    /// The most pointers in one rule.
    pub const POINTERS_MAX: usize = 8;

    /// A rule that remembers for a day and keeps deliveries without a key.
    #[must_use]
    pub const fn new(by: DedupBy) -> Self {
        Self { by, window: Self::WINDOW_DEFAULT, required: false }
    }
}

/// A deduplication rule's form in JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DedupRuleForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    header: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pointers: Option<Vec<JsonPointer>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    off: Option<bool>,
    #[serde(default = "default_window_seconds")]
    window_seconds: u64,
    #[serde(default)]
    required: bool,
}

const fn default_window_seconds() -> u64 {
    DedupRule::WINDOW_DEFAULT.as_secs()
}

impl Serialize for DedupRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut form = DedupRuleForm {
            header: None,
            pointers: None,
            body: None,
            off: None,
            window_seconds: self.window.as_secs(),
            required: self.required,
        };
        match &self.by {
            DedupBy::Header(name) => form.header = Some(name.as_str().to_owned()),
            DedupBy::Pointers(pointers) => form.pointers = Some(pointers.clone()),
            DedupBy::Body => form.body = Some(true),
            DedupBy::Nothing => form.off = Some(true),
        }
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for DedupRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;

        let form = DedupRuleForm::deserialize(deserializer)?;
        let by = match (form.header, form.pointers, form.body, form.off) {
            (Some(header), None, None, None) => DedupBy::Header(harmless_header_name(&header)?),
            (None, Some(pointers), None, None) if !pointers.is_empty() => {
                DedupBy::Pointers(pointers)
            }
            (None, None, Some(true), None) => DedupBy::Body,
            (None, None, None, Some(true)) => DedupBy::Nothing,
            _ => {
                return Err(D::Error::custom(
                    "expected exactly one of `header`, `pointers` (at least one), `body: true` and \
                     `off: true`",
                ));
            }
        };
        if matches!(&by, DedupBy::Pointers(pointers) if pointers.len() > Self::POINTERS_MAX) {
            return Err(D::Error::custom("at most 8 pointers make a key"));
        }
        let window = Duration::from_secs(form.window_seconds);
        if window.is_zero() || window > Self::WINDOW_MAX {
            return Err(D::Error::custom("`window_seconds` is 1 to 2592000 (30 days)"));
        }
        Ok(Self { by, window, required: form.required })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs() {
        assert!(Slug::mint().as_str().parse::<Slug>().is_ok());
        assert_ne!(Slug::mint(), Slug::mint());
        for text in ["", "A", "a b", "a%62", "a/b", "é", &"a".repeat(65)] {
            assert_eq!(text.parse::<Slug>(), Err(ParseSlugError), "{text}");
        }
    }

    #[test]
    fn a_mapped_address_is_the_address_that_it_maps() {
        let list = AllowList::new(vec!["203.0.113.0/24".parse().unwrap()]);
        assert!(list.contains("203.0.113.9".parse().unwrap()));
        assert!(list.contains("::ffff:203.0.113.9".parse().unwrap()));
        assert!(!list.contains("203.0.114.9".parse().unwrap()));
        assert!(!list.contains("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn config_keeps_its_json_form() {
        let form = serde_json::json!({
            "description": "Clay",
            "status": "paused",
            "trigger": {"ploybook": "page"},
            "limits": {
                "rate": {"per_second": 5, "burst": 10},
                "quota": {"events": 50_000, "period_seconds": 86_400},
                "body_bytes": 1024,
            },
            "dedup": {"pointers": ["/email"], "window_seconds": 60, "required": true},
            "allow": ["203.0.113.0/24", "2001:db8::/32"],
            "event_type": {"header": "x-github-event"},
            "fields": {"email": "/person/email", "score": {"pointer": "/icp", "default": 0}},
            "answer": {"status": 200, "body": {"received": true}},
        });
        let config: EndpointConfig = serde_json::from_value(form.clone()).unwrap();
        assert_eq!(serde_json::to_value(&config).unwrap(), form);
    }

    #[test]
    fn impossible_rules_are_refused() {
        for form in [
            r#"{"header":"a b"}"#,
            r#"{"header":"authorization"}"#,
            r#"{"header":"a","body":true}"#,
            r#"{"pointers":[]}"#,
            r#"{"pointers":["email"]}"#,
            r#"{"body":false}"#,
            r#"{"body":true,"window_seconds":0}"#,
            r#"{"body":true,"window_seconds":2592001}"#,
            r#"{"body":true,"windows":1}"#,
        ] {
            assert!(serde_json::from_str::<DedupRule>(form).is_err(), "{form}");
        }
    }
}
