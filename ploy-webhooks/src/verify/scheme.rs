//! A signature scheme as data: where a signature is, what it signs, how its secret is written.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use http::HeaderName;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::content::SignedContent;
use super::handshake::Handshake;
use super::layout::Layout;
use super::presets::Preset;
use crate::value_source::{ValueSource, header_name};

/// Which scheme an endpoint's senders sign by: a preset, by name, or a description of one's own.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "a scheme has a name or is described")]
pub enum Scheme {
    /// One that comes with the crate.
    Preset(Preset),
    /// One that the operator describes.
    Custom(Arc<SignatureScheme>),
}

impl Scheme {
    /// What the scheme says.
    #[must_use]
    pub fn description(&self) -> &SignatureScheme {
        match self {
            Self::Preset(preset) => preset.description(),
            Self::Custom(scheme) => scheme,
        }
    }

    /// Its name: the preset's, or `custom`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Preset(preset) => preset.name(),
            Self::Custom(_) => "custom",
        }
    }
}

/// As the name of a preset, or as a description.
impl Serialize for Scheme {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Preset(preset) => serializer.serialize_str(preset.name()),
            Self::Custom(scheme) => scheme.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Scheme {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SchemeVisitor)
    }
}

/// Tells the two forms by what they are, so that a description that is wrong is told where.
struct SchemeVisitor;

impl<'de> Visitor<'de> for SchemeVisitor {
    type Value = Scheme;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a signature scheme, or a description of one")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Scheme, E> {
        let unknown = || E::custom("there is no signature scheme of that name");
        Preset::named(name).map(Scheme::Preset).ok_or_else(unknown)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Scheme, A::Error> {
        let scheme = SignatureScheme::deserialize(MapAccessDeserializer::new(members))?;
        Ok(Scheme::Custom(Arc::new(scheme)))
    }
}

/// The description of a signature scheme, in the form in which the presets are written too.
///
/// ```
/// use ploy_webhooks::verify::SignatureScheme;
///
/// let scheme: SignatureScheme = serde_json::from_str(
///     r#"{
///         "header": "Acme-Signature",
///         "layout": "t={timestamp},v1={signature}",
///         "timestamp": {"unit": "s"},
///         "signed": "{timestamp}.{body}"
///     }"#,
/// )?;
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// What is left out: the signature stands alone in its header; it is the HMAC-SHA256 of the body,
/// in hexadecimal digits; the secret is used as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
#[non_exhaustive]
pub struct SignatureScheme {
    /// The header that the signature is in.
    pub header: HeaderName,
    /// How a signature is made, and where it stands in the header.
    pub method: Method,
    /// Another way in which it may be made; the form of a secret tells which.
    pub alternative: Option<Method>,
    /// Where the time is that is signed.
    pub timestamp: Option<TimestampSource>,
    /// The header of the id that is signed.
    pub id: Option<HeaderName>,
    /// What is signed.
    pub signed: SignedContent,
    /// Where the id of a delivery is, which is the same for its repeats.
    pub delivery: Option<ValueSource>,
    /// Where the type of an event is.
    pub event_type: Option<ValueSource>,
    /// What senders ask before they send.
    pub handshake: Option<Handshake>,
}

/// How a signature is made and written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Method {
    /// Where it stands in its header.
    pub layout: Layout,
    /// What it is.
    pub digest: Digest,
    /// How its bytes are written.
    pub encoding: Encoding,
    /// How the secret is written.
    pub secret: SecretForm,
}

/// What a signature is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Digest {
    /// HMAC-SHA256 (RFC 2104).
    #[default]
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// HMAC-SHA512.
    #[serde(rename = "hmac-sha512")]
    HmacSha512,
    /// HMAC-SHA1: for senders that know no other.
    #[serde(rename = "hmac-sha1")]
    HmacSha1,
    /// Ed25519 (RFC 8032); the secret is the public key.
    #[serde(rename = "ed25519")]
    Ed25519,
    /// No signature at all: the secret itself.
    #[serde(rename = "token")]
    Token,
}

/// How bytes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "there is no third one in use")]
pub enum Encoding {
    /// Hexadecimal digits, of either case.
    #[default]
    Hex,
    /// Base64 (RFC 4648 §4), with its padding or without.
    Base64,
}

/// How a secret is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SecretForm {
    /// What stands before it and is no part of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// How its bytes are written.
    pub encoding: SecretEncoding,
}

/// How the bytes of a secret are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "there is no fourth one in use")]
pub enum SecretEncoding {
    /// As they are.
    #[default]
    Raw,
    /// As hexadecimal digits.
    Hex,
    /// In base64.
    Base64,
}

/// Where the time is that is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimestampSource {
    /// The header that it is in; `None` is beside the signature, where the layout says.
    pub header: Option<HeaderName>,
    /// What it counts.
    pub unit: Unit,
}

/// What a timestamp counts, since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "there is no third one in use")]
pub enum Unit {
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
}

impl Unit {
    /// How many milliseconds one is.
    pub(super) const fn millis(self) -> u64 {
        match self {
            Self::Seconds => 1_000,
            Self::Milliseconds => 1,
        }
    }
}

/// How far a timestamp may be from the present, to either side: 300 s where nothing else is said.
pub const TOLERANCE_DEFAULT: NonZeroU32 = NonZeroU32::new(300).expect("300 is not zero");

/// A description that describes nothing.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemeError {
    /// There is a time to be read, and none in what is signed, or the other way round.
    #[error(
        "`timestamp` says where the time is, and `signed` has `{{timestamp}}`: both or neither"
    )]
    Timestamp,
    /// The layout and the source of the time contradict each other.
    #[error(
        "the time is either in the header that `timestamp` names or in `layout` as `{{timestamp}}`"
    )]
    TimestampPlace,
    /// There is an id to be read, and none in what is signed, or the other way round.
    #[error("`id` names a header, and `signed` has `{{id}}`: both or neither")]
    Id,
    /// A signature that does not depend on the body signs nothing.
    #[error("`signed` has `{{body}}` once")]
    Body,
    /// A token signs nothing.
    #[error(
        "the digest `token` signs nothing: leave out `signed`, `timestamp`, `id` and `alternative`"
    )]
    Token,
    /// A public key is bytes.
    #[error("the secret of `ed25519` is a public key: its `encoding` is `hex` or `base64`")]
    PublicKey,
    /// What is kept of an event would be what proves its sender.
    #[error("`delivery` and `event_type` name another header than the signature's")]
    SignatureHeader,
    /// Two ways that one secret would fit both.
    #[error("`alternative` has a secret with a prefix of its own, by which it is told")]
    Alternative,
}

impl SignatureScheme {
    /// Whether the body is signed: then what it holds is the sender's.
    #[must_use]
    pub fn signs(&self) -> bool {
        self.method.digest != Digest::Token
    }

    /// Whether this header is signed, and not just sent along.
    #[must_use]
    pub fn signs_header(&self, name: &HeaderName) -> bool {
        self.id.as_ref() == Some(name)
    }

    /// Whether the description describes something that can be verified.
    ///
    /// # Errors
    ///
    /// The first contradiction.
    pub fn check(&self) -> Result<(), SchemeError> {
        let sources = [&self.delivery, &self.event_type];
        let is_signature = |source: &&ValueSource| source.is_header(&self.header);
        if sources.into_iter().flatten().any(|source| is_signature(&source)) {
            return Err(SchemeError::SignatureHeader);
        }
        if !self.signs() {
            let signs_nothing =
                self.timestamp.is_none() && self.id.is_none() && self.alternative.is_none();
            let is_plain = self.signed == SignedContent::body() && !self.method.layout.has_time();
            return if signs_nothing && is_plain { Ok(()) } else { Err(SchemeError::Token) };
        }
        if self.timestamp.is_some() != self.signed.has_timestamp() {
            return Err(SchemeError::Timestamp);
        }
        let is_in_header = self.timestamp.as_ref().is_some_and(|source| source.header.is_some());
        let methods = || std::iter::once(&self.method).chain(&self.alternative);
        for method in methods() {
            if method.layout.has_time() != (self.timestamp.is_some() && !is_in_header) {
                return Err(SchemeError::TimestampPlace);
            }
            let is_raw = method.secret.encoding == SecretEncoding::Raw;
            if method.digest == Digest::Ed25519 && is_raw {
                return Err(SchemeError::PublicKey);
            }
        }
        if self.id.is_some() != self.signed.has_id() {
            return Err(SchemeError::Id);
        }
        if !self.signed.has_one_body() {
            return Err(SchemeError::Body);
        }
        match &self.alternative {
            Some(other) if other.digest == Digest::Token => Err(SchemeError::Token),
            Some(other) if other.secret.prefix.is_empty() => Err(SchemeError::Alternative),
            Some(other) if self.method.secret.prefix.starts_with(&other.secret.prefix) => {
                Err(SchemeError::Alternative)
            }
            _ => Ok(()),
        }
    }
}

/// A description as it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    header: String,
    #[serde(default, skip_serializing_if = "is_default")]
    layout: Layout,
    #[serde(default, skip_serializing_if = "is_default")]
    digest: Digest,
    #[serde(default, skip_serializing_if = "is_default")]
    encoding: Encoding,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp: Option<TimestampForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(default = "SignedContent::body")]
    signed: SignedContent,
    #[serde(default, skip_serializing_if = "is_default")]
    secret_form: SecretForm,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alternative: Option<MethodForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delivery: Option<ValueSource>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_type: Option<ValueSource>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    handshake: Option<Handshake>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MethodForm {
    #[serde(default, skip_serializing_if = "is_default")]
    layout: Layout,
    #[serde(default, skip_serializing_if = "is_default")]
    digest: Digest,
    #[serde(default, skip_serializing_if = "is_default")]
    encoding: Encoding,
    #[serde(default, skip_serializing_if = "is_default")]
    secret_form: SecretForm,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimestampForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    header: Option<String>,
    unit: Unit,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Why a form is no description: for an error text.
#[derive(Debug)]
struct FormError(String);

impl fmt::Display for FormError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<Form> for SignatureScheme {
    type Error = FormError;

    fn try_from(form: Form) -> Result<Self, FormError> {
        let Form { header, layout, digest, encoding, secret_form, .. } = form;
        let timestamp = match form.timestamp {
            Some(TimestampForm { header, unit }) => Some(TimestampSource {
                header: header.map(|name| header_of("timestamp.header", &name)).transpose()?,
                unit,
            }),
            None => None,
        };
        let alternative =
            form.alternative.map(|MethodForm { layout, digest, encoding, secret_form }| Method {
                layout,
                digest,
                encoding,
                secret: secret_form,
            });
        let scheme = Self {
            header: header_of("header", &header)?,
            method: Method { layout, digest, encoding, secret: secret_form },
            alternative,
            timestamp,
            id: form.id.map(|name| header_of("id", &name)).transpose()?,
            signed: form.signed,
            delivery: form.delivery,
            event_type: form.event_type,
            handshake: form.handshake,
        };
        scheme.check().map_err(|error| FormError(error.to_string()))?;
        Ok(scheme)
    }
}

fn header_of(member: &str, text: &str) -> Result<HeaderName, FormError> {
    header_name(text)
        .map_err(|_| FormError(format!("`{member}` is not the name of a header (RFC 9110 §5.1)")))
}

impl From<SignatureScheme> for Form {
    fn from(scheme: SignatureScheme) -> Self {
        let text = |name: HeaderName| name.as_str().to_owned();
        let Method { layout, digest, encoding, secret } = scheme.method;
        Self {
            header: text(scheme.header),
            layout,
            digest,
            encoding,
            timestamp: scheme
                .timestamp
                .map(|source| TimestampForm { header: source.header.map(text), unit: source.unit }),
            id: scheme.id.map(text),
            signed: scheme.signed,
            secret_form: secret,
            alternative: scheme.alternative.map(|Method { layout, digest, encoding, secret }| {
                MethodForm { layout, digest, encoding, secret_form: secret }
            }),
            delivery: scheme.delivery,
            event_type: scheme.event_type,
            handshake: scheme.handshake,
        }
    }
}
