//! A destination: where events are delivered to, how, and on what terms.

mod body;
mod headers;
mod retry;
mod signing;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU16, NonZeroU64};
use std::time::Duration;

use ploy_webhooks::{DestinationId, JsonPointer, Keyring, Rate, SecretDigest, Timestamp};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::template::{Missing, UrlTemplate};

pub use self::body::Body;
pub(crate) use self::headers::PreparedHeader;
pub use self::headers::{HeaderForm, HeaderText, SecretForm};
pub use self::retry::Retry;
pub use self::signing::{Signing, SigningForm};
pub use self::state::{Confirmation, DestinationState, Disabled, Verified};

/// Where events are delivered to, how, and on what terms.
///
/// Kept as JSON, under its id: `{"url":"https://hooks.example/in","signing":{"scheme":"clay",…}}`.
/// What is secret in it is sealed by a [`Keyring`]: as it is kept, the type is `Destination`; as
/// callers give and see it, [`DestinationForm`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Destination<H = HeaderText, S = Signing> {
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Where to. Path and query may have merge fields.
    pub url: UrlTemplate,
    /// Whether anything is sent there.
    #[serde(default)]
    pub status: Status,
    /// The method of the request.
    #[serde(default, with = "method")]
    pub method: Verb,
    /// Headers of its own, by their names.
    #[serde(default = "BTreeMap::new")]
    pub headers: BTreeMap<String, H>,
    /// What is sent.
    #[serde(default)]
    pub body: Body,
    /// What becomes of merge fields that an event lacks.
    #[serde(default)]
    pub missing: Missing,
    /// How it is proved who sends.
    #[serde(default)]
    pub signing: S,
    /// How long one request may take, its answer included: 1 second to an hour.
    #[serde(default = "time_limit", rename = "time_limit_seconds", with = "seconds")]
    pub time_limit: Duration,
    /// How often a delivery is tried.
    #[serde(default)]
    pub retry: Retry,
    /// How many requests a second; `None` is as many as there are.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// How many requests are under way at once, from one node.
    #[serde(default = "at_once")]
    pub at_once: NonZeroU16,
    /// How many requests the receiver takes in all; `None` is no end of them.
    #[serde(default)]
    pub max_submissions: Option<NonZeroU64>,
    /// What events share in their payloads that are to be delivered in order; `None` has them
    /// delivered as they come.
    #[serde(default)]
    pub order_by: Option<JsonPointer>,
    /// After how long without one success it is disabled; `None` is never.
    #[serde(
        default = "disable_after",
        rename = "disable_after_seconds",
        with = "optional_seconds"
    )]
    pub disable_after: Option<Duration>,
}

/// A destination as callers give and see it: secrets are given, and never shown.
pub type DestinationForm = Destination<HeaderForm, SigningForm>;

/// Whether anything is sent to a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "whoever delivers acts on each of these")]
pub enum Status {
    /// Events are delivered.
    #[default]
    Active,
    /// Events wait until it is active.
    Paused,
    /// It has to be confirmed by who receives there before it is active; events wait.
    Unverified,
    /// Nothing is sent: what would have been is put on record.
    Draft,
}

/// The method of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these are the methods that deliver")]
pub enum Verb {
    /// POST.
    #[default]
    Post,
    /// GET, which has no body.
    Get,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE, which has a body only where one is given.
    Delete,
}

impl Verb {
    const ALL: [Self; 5] = [Self::Post, Self::Get, Self::Put, Self::Patch, Self::Delete];

    /// Its name (RFC 9110 §9.1).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Whether what happened is sent with it where nothing is said of a body.
    pub(crate) const fn carries_the_payload(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }
}

impl From<Verb> for Method {
    fn from(verb: Verb) -> Self {
        match verb {
            Verb::Post => Self::POST,
            Verb::Get => Self::GET,
            Verb::Put => Self::PUT,
            Verb::Patch => Self::PATCH,
            Verb::Delete => Self::DELETE,
        }
    }
}

const fn time_limit() -> Duration {
    DestinationForm::TIME_LIMIT_DEFAULT
}

const fn at_once() -> NonZeroU16 {
    DestinationForm::AT_ONCE_DEFAULT
}

#[expect(clippy::unnecessary_wraps, reason = "it stands for what may be `None`")]
const fn disable_after() -> Option<Duration> {
    Some(DestinationForm::DISABLE_AFTER_DEFAULT)
}

mod method {
    //! The name of a method, in any case.

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Verb;

    pub(super) fn serialize<S: Serializer>(verb: &Verb, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(verb.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Verb, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = Verb::ALL.into_iter().find(|verb| verb.as_str().eq_ignore_ascii_case(&name));
        known.ok_or_else(|| D::Error::custom("expected POST, GET, PUT, PATCH or DELETE"))
    }
}

mod seconds {
    //! A duration as whole seconds.

    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(duration.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_secs)
    }
}

mod optional_seconds {
    //! A duration as whole seconds, or `null`.

    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(|duration| duration.as_secs()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_secs))
    }
}

/// What is wrong with a destination, for who sets it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DestinationError {
    /// The description is too long.
    #[error("`description` has at most 500 characters")]
    Description,
    /// The URL is too long.
    #[error("`url` has at most 2048 bytes")]
    Url,
    /// The time limit is out of bounds.
    #[error("`time_limit_seconds` is 1 to 3600 (an hour)")]
    TimeLimit,
    /// The retry policy is out of bounds.
    #[error("`retry` has at most 100 attempts and gaps of at most 86400 seconds (a day)")]
    Retry,
    /// So many at once make no sense.
    #[error("`at_once` is 1 to 64")]
    AtOnce,
    /// The time without success is out of bounds.
    #[error("`disable_after_seconds` is 60 to 2592000 (30 days), or null")]
    DisableAfter,
    /// There are too many headers.
    #[error("`headers` has at most 50 headers")]
    Headers,
    /// A header that may not be set.
    #[error("`headers.{name}`: {why}")]
    Header {
        /// Which one.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// All of it is too long.
    #[error("a destination has at most 131072 bytes (128 KiB), its templates and headers together")]
    TooLarge,
    /// A GET has no body.
    #[error("`body`: a GET has none (RFC 9110 §9.3.1); leave it out, or choose another method")]
    Body,
    /// The secret cannot be used.
    #[error("`signing.secret`: {why}")]
    Secret {
        /// What is wrong with it.
        why: String,
    },
    /// The scheme cannot be used.
    #[error("`signing`: {why}")]
    Signing {
        /// What is wrong with it.
        why: String,
    },
}

impl<H, S> Destination<H, S> {
    /// The time limit of a request where none is set: 30 seconds.
    pub const TIME_LIMIT_DEFAULT: Duration = Duration::from_secs(30);
    /// The longest time limit: an hour.
    pub const TIME_LIMIT_MAX: Duration = Duration::from_secs(3_600);
    /// How many requests are under way at once where nothing is set.
    pub const AT_ONCE_DEFAULT: NonZeroU16 = NonZeroU16::new(16).expect("16 is not zero");
    /// After how long without one success a destination is disabled where nothing is set: five
    /// days.
    pub const DISABLE_AFTER_DEFAULT: Duration = Duration::from_secs(5 * 86_400);
    /// The most destinations of a workspace.
    pub const COUNT_MAX: u16 = 1_000;

    fn check(&self) -> Result<(), DestinationError> {
        let day = Duration::from_secs(86_400);
        let is_disabled_in_time =
            |after: Duration| (Duration::from_secs(60)..=30 * day).contains(&after);
        if self.description.chars().count() > 500 {
            Err(DestinationError::Description)
        } else if self.url.as_str().len() > 2_048 {
            Err(DestinationError::Url)
        } else if self.time_limit.is_zero() || self.time_limit > Self::TIME_LIMIT_MAX {
            Err(DestinationError::TimeLimit)
        } else if !self.retry.policy().is_within_bounds() {
            Err(DestinationError::Retry)
        } else if self.at_once.get() > 64 {
            Err(DestinationError::AtOnce)
        } else if !self.disable_after.is_none_or(is_disabled_in_time) {
            Err(DestinationError::DisableAfter)
        } else if self.headers.len() > 50 {
            Err(DestinationError::Headers)
        } else if self.method == Verb::Get && self.body.is_given() {
            Err(DestinationError::Body)
        } else {
            Ok(())
        }
    }

    /// The same destination, with its headers and its signing in another form.
    fn with<I, T>(
        self,
        mut header: impl FnMut(&str, H) -> Result<I, DestinationError>,
        signing: impl FnOnce(S) -> Result<T, DestinationError>,
    ) -> Result<Destination<I, T>, DestinationError> {
        let headers = self.headers.into_iter().map(|(name, value)| {
            let value = header(&name, value)?;
            Ok((name, value))
        });
        Ok(Destination {
            headers: headers.collect::<Result<_, _>>()?,
            signing: signing(self.signing)?,
            description: self.description,
            url: self.url,
            status: self.status,
            method: self.method,
            body: self.body,
            missing: self.missing,
            time_limit: self.time_limit,
            retry: self.retry,
            rate: self.rate,
            at_once: self.at_once,
            max_submissions: self.max_submissions,
            order_by: self.order_by,
            disable_after: self.disable_after,
        })
    }
}

impl DestinationForm {
    /// One to that URL, with everything else as usual.
    #[must_use]
    pub fn to(url: UrlTemplate) -> Self {
        Self {
            description: String::new(),
            url,
            status: Status::default(),
            method: Verb::default(),
            headers: BTreeMap::new(),
            body: Body::default(),
            missing: Missing::default(),
            signing: SigningForm::default(),
            time_limit: Self::TIME_LIMIT_DEFAULT,
            retry: Retry::default(),
            rate: None,
            at_once: Self::AT_ONCE_DEFAULT,
            max_submissions: None,
            order_by: None,
            disable_after: Some(Self::DISABLE_AFTER_DEFAULT),
        }
    }

    /// The destination of that id as it is kept, with its secrets sealed. A secret that is not
    /// given stays what it was `before`; a signing secret that there was not is `minted`.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it.
    ///
    /// # Panics
    ///
    /// When the operating system gives no random bytes.
    pub fn seal(
        self,
        id: DestinationId,
        before: Option<&Destination>,
        keyring: &Keyring,
        minted: &ploy_webhooks::Secret,
        now: Timestamp,
    ) -> Result<Destination, DestinationError> {
        self.check()?;
        let standing = |name: &str| before.and_then(|before| before.headers.get(name));
        let own = self.signing.header();
        let mut names = BTreeSet::new();
        let sealed = self.with(
            |name, value| {
                let wrong = |why| DestinationError::Header { name: name.to_owned(), why };
                headers::check_name(name, own.as_ref()).map_err(wrong)?;
                if !names.insert(name.to_ascii_lowercase()) {
                    return Err(wrong("it is set twice, in another case".to_owned()));
                }
                value.seal(id, name, standing(name), keyring).map_err(wrong)
            },
            |signing| signing.seal(id, before.map(|before| &before.signing), keyring, minted, now),
        )?;
        let text = serde_json::to_string(&sealed).expect("a destination has string keys only");
        if text.len() > BYTES_MAX { Err(DestinationError::TooLarge) } else { Ok(sealed) }
    }
}

/// How long a destination is as it is kept: a page of them is read at once.
const BYTES_MAX: usize = 128 << 10;

impl Destination {
    /// SHA-256 of the URL as it is set: what a confirmation is of.
    #[must_use]
    pub fn url_digest(&self) -> SecretDigest {
        SecretDigest::of(self.url.as_str())
    }

    /// When who receives there has confirmed it, if they have.
    #[must_use]
    pub fn verified_at(&self, state: &DestinationState) -> Option<Timestamp> {
        let verified = state.verified.as_ref()?;
        (verified.url == self.url_digest()).then_some(verified.at)
    }

    /// As callers see it: without what is secret.
    ///
    /// # Panics
    ///
    /// Never: nothing that stands can fail to be shown.
    #[must_use]
    pub fn form(&self) -> DestinationForm {
        let shown = self.clone().with(|_, value| Ok(value.form()), |signing| Ok(signing.form()));
        shown.expect("what is kept has a form")
    }
}
