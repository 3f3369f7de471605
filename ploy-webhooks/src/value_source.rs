//! Where a value is read from in a request: a header, or a place in the payload.

use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::pointer::{self, JsonPointer};

/// Where a value is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueSource {
    /// The value of this header.
    Header(HeaderName),
    /// The string that this pointer leads to in the payload.
    Pointer(JsonPointer),
}

impl ValueSource {
    pub(crate) fn is_header(&self, name: &HeaderName) -> bool {
        matches!(self, Self::Header(header) if header == name)
    }

    /// The value; `None` where there is none, or it is no text. An empty header is none.
    /// The payload was found to be JSON.
    pub(crate) fn read(&self, headers: &HeaderMap, payload: &[u8]) -> Option<String> {
        match self {
            Self::Header(name) => {
                let value = headers.get(name).filter(|value| !value.is_empty())?;
                value.to_str().ok().map(str::to_owned)
            }
            Self::Pointer(path) => {
                let payload = std::str::from_utf8(payload).ok()?;
                pointer::string(path.follow(payload)?)
            }
        }
    }
}

/// Its form in JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Form {
    Header(String),
    Pointer(JsonPointer),
}

impl Serialize for ValueSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Header(name) => Form::Header(name.as_str().to_owned()),
            Self::Pointer(pointer) => Form::Pointer(pointer.clone()),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ValueSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Form::deserialize(deserializer)? {
            Form::Header(name) => Self::Header(harmless_header_name(&name)?),
            Form::Pointer(pointer) => Self::Pointer(pointer),
        })
    }
}

/// The name of a header whose value may be kept.
pub(crate) fn harmless_header_name<E: serde::de::Error>(text: &str) -> Result<HeaderName, E> {
    let name = header_name(text)
        .map_err(|_| E::custom("`header` is not the name of a header (RFC 9110 §5.1)"))?;
    if crate::event::holds_a_secret(&name) {
        return Err(E::custom("`header` names one that carries a secret"));
    }
    Ok(name)
}

pub(crate) fn header_name(text: &str) -> Result<HeaderName, http::header::InvalidHeaderName> {
    text.parse()
}
