//! The headers that a destination sets itself.

use std::fmt;

use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use ploy_webhooks::{DestinationId, Keyring, Sealed, Secret, UnsealError};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::template::{HeaderTemplate, Merge, RenderError};

/// A header as it is kept: a text, which may have merge fields, or a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[expect(clippy::exhaustive_enums, reason = "a value is secret or it is not")]
pub enum HeaderText {
    /// A value that may be seen.
    Open(HeaderTemplate),
    /// One that may not.
    Sealed {
        /// The value, sealed for this destination and this header.
        sealed: Sealed,
    },
}

/// A header as callers give and see it: a text, or `{"secret": "…"}`, which is shown as
/// `{"secret": true}`. Given as that, it stays what it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[expect(clippy::exhaustive_enums, reason = "a value is secret or it is not")]
pub enum HeaderForm {
    /// A value that may be seen.
    Open(HeaderTemplate),
    /// One that may not.
    Secret(SecretForm),
}

/// A secret as callers give and see it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretForm {
    secret: Given,
}

/// A secret, or that there is one.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Given {
    Here(String),
    AsBefore(bool),
}

impl fmt::Debug for SecretForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretForm(…)")
    }
}

impl<'de> Deserialize<'de> for HeaderForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FormVisitor)
    }
}

/// Tells the two forms by what they are, so that the fault of a template is told.
struct FormVisitor;

impl<'de> Visitor<'de> for FormVisitor {
    type Value = HeaderForm;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"a text or {"secret": "…"}"#)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<HeaderForm, E> {
        text.parse().map(HeaderForm::Open).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<HeaderForm, A::Error> {
        SecretForm::deserialize(MapAccessDeserializer::new(members)).map(HeaderForm::Secret)
    }
}

impl HeaderForm {
    /// A value that is to be kept secret.
    #[must_use]
    pub const fn secret(value: String) -> Self {
        Self::Secret(SecretForm { secret: Given::Here(value) })
    }

    pub(super) fn seal(
        self,
        id: DestinationId,
        name: &str,
        standing: Option<&HeaderText>,
        keyring: &Keyring,
    ) -> Result<HeaderText, String> {
        match self {
            Self::Open(template) => Ok(HeaderText::Open(template)),
            Self::Secret(SecretForm { secret: Given::Here(value) }) => {
                if value.len() > 4_096 || HeaderValue::from_str(&value).is_err() {
                    return Err("a value is at most 4096 visible ASCII characters".to_owned());
                }
                let sealed = keyring.seal(&Secret::from(value), &place(id, name));
                Ok(HeaderText::Sealed { sealed })
            }
            Self::Secret(SecretForm { secret: Given::AsBefore(true) }) => match standing {
                Some(HeaderText::Sealed { sealed }) => {
                    Ok(HeaderText::Sealed { sealed: sealed.clone() })
                }
                _ => Err("there is no secret yet that it could stay; give it".to_owned()),
            },
            Self::Secret(_) => Err("`secret` is a text".to_owned()),
        }
    }
}

impl HeaderText {
    pub(super) fn form(self) -> HeaderForm {
        match self {
            Self::Open(template) => HeaderForm::Open(template),
            Self::Sealed { .. } => HeaderForm::Secret(SecretForm { secret: Given::AsBefore(true) }),
        }
    }

    pub(crate) fn open(
        &self,
        id: DestinationId,
        name: &str,
        keyring: &Keyring,
    ) -> Result<PreparedHeader, UnsealError> {
        Ok(match self {
            Self::Open(template) => PreparedHeader::Template(template.clone()),
            Self::Sealed { sealed } => {
                let value = keyring.open(sealed, &place(id, name))?;
                let value = HeaderValue::from_str(value.expose()).map_err(|_| UnsealError)?;
                PreparedHeader::Secret(sensitive(value))
            }
        })
    }
}

fn sensitive(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

/// A header that is ready to be sent.
#[derive(Clone, Debug)]
pub(crate) enum PreparedHeader {
    Template(HeaderTemplate),
    Secret(HeaderValue),
}

impl PreparedHeader {
    /// What is secret in it: the value, and what stands behind the word of a scheme (RFC 9110 §11.4).
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        let Self::Secret(value) = self else { return Vec::new() };
        let Ok(value) = value.to_str() else { return Vec::new() };
        let credentials = value.split_once(' ').map(|(_, credentials)| credentials.trim());
        let secrets = [Some(value), credentials].into_iter().flatten();
        secrets.filter(|secret| !secret.is_empty()).map(|secret| secret.to_owned().into()).collect()
    }

    pub(crate) fn render(&self, merge: &Merge) -> Result<HeaderValue, RenderError> {
        match self {
            Self::Template(template) => template.render(merge),
            Self::Secret(value) => Ok(value.clone()),
        }
    }
}

/// A secret opens for its destination and its header alone.
fn place(id: DestinationId, name: &str) -> Vec<u8> {
    [&id.as_bytes()[..], name.to_ascii_lowercase().as_bytes()].concat()
}

/// What belongs to the connection and the length of what is sent (RFC 9110 §7.6.1, §8.6), or says
/// what the request is of.
const OF_THE_REQUEST: [&str; 12] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "content-type",
];

/// What a signature by Standard Webhooks is in.
const OF_SIGNATURES: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];

/// Whether a header of that name belongs to the request itself, or says what it is of.
pub(super) fn is_of_the_request(name: &HeaderName) -> bool {
    OF_THE_REQUEST.contains(&name.as_str()) || name.as_str().starts_with("ploy-")
}

/// Whether a header of that name may be set, beside the one that a signature is in.
pub(super) fn check_name(name: &str, signature: Option<&HeaderName>) -> Result<(), String> {
    let parsed: HeaderName = name.parse().map_err(|_| "it is no name of a header".to_owned())?;
    // What is sent may be of another type than it looks like.
    let is_taken = (parsed != CONTENT_TYPE && is_of_the_request(&parsed))
        || OF_SIGNATURES.contains(&parsed.as_str())
        || signature == Some(&parsed);
    match is_taken {
        true => Err("it is set by who sends, and cannot be set otherwise".to_owned()),
        false => Ok(()),
    }
}
