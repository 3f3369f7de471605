//! What is signed: the parts of a request, in their order, with what stands between them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// What is signed, in text as it is put together: `{timestamp}.{body}`. The parts are `{id}`,
/// `{timestamp}`, `{method}`, `{url}` and `{body}`; everything else stands for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedContent(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Id,
    Timestamp,
    Method,
    Url,
    Body,
}

const PARTS: [(&str, Part); 5] = [
    ("{id}", Part::Id),
    ("{timestamp}", Part::Timestamp),
    ("{method}", Part::Method),
    ("{url}", Part::Url),
    ("{body}", Part::Body),
];

/// A text that does not say what is signed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "`signed` is put together of `{{id}}`, `{{timestamp}}`, `{{method}}`, `{{url}}`, `{{body}}` and \
     up to 100 other characters without braces, as in `{{timestamp}}.{{body}}`"
)]
pub struct ParseSignedContentError;

/// The parts of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    pub(super) id: &'a str,
    pub(super) timestamp: &'a str,
    pub(super) method: &'a str,
    pub(super) url: &'a str,
    pub(super) body: &'a [u8],
}

impl SignedContent {
    /// The body alone.
    #[must_use]
    pub fn body() -> Self {
        Self(vec![Part::Body])
    }

    /// Whether the time is signed.
    #[must_use]
    pub fn has_timestamp(&self) -> bool {
        self.0.contains(&Part::Timestamp)
    }

    /// Whether the id is signed.
    #[must_use]
    pub fn has_id(&self) -> bool {
        self.0.contains(&Part::Id)
    }

    /// Whether the URL is signed.
    #[must_use]
    pub fn has_url(&self) -> bool {
        self.0.contains(&Part::Url)
    }

    pub(super) fn has_one_body(&self) -> bool {
        self.0.iter().filter(|part| **part == Part::Body).count() == 1
    }

    /// Hands over what is signed, piece by piece, each where it is: nothing of a large body is
    /// copied.
    pub(super) fn feed<'a>(&'a self, parts: &Parts<'a>, mut to: impl FnMut(&'a [u8])) {
        for part in &self.0 {
            to(match part {
                Part::Literal(text) => text.as_bytes(),
                Part::Id => parts.id.as_bytes(),
                Part::Timestamp => parts.timestamp.as_bytes(),
                Part::Method => parts.method.as_bytes(),
                Part::Url => parts.url.as_bytes(),
                Part::Body => parts.body,
            });
        }
    }
}

impl FromStr for SignedContent {
    type Err = ParseSignedContentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > 200 {
            return Err(ParseSignedContentError);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let known =
                PARTS.iter().find_map(|(text, part)| Some((rest.strip_prefix(text)?, part)));
            if let Some((after, part)) = known {
                parts.push(part.clone());
                rest = after;
                continue;
            }
            let length = rest.find('{').unwrap_or(rest.len());
            let literal = &rest[..length];
            if literal.is_empty() || literal.contains('}') {
                return Err(ParseSignedContentError);
            }
            parts.push(Part::Literal(literal.to_owned()));
            rest = &rest[length..];
        }
        Ok(Self(parts))
    }
}

impl fmt::Display for SignedContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                Part::Literal(text) => f.write_str(text)?,
                part => {
                    let known = PARTS.iter().find(|(_, known)| known == part);
                    f.write_str(known.map_or("", |(text, _)| text))?;
                }
            }
        }
        Ok(())
    }
}

impl Serialize for SignedContent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SignedContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_put_together() {
        let content: SignedContent = "v0:{timestamp}:{method}{url}{id}{body}".parse().unwrap();
        let parts =
            Parts { id: "i", timestamp: "5", method: "POST", url: "https://x", body: b"{}" };
        let mut whole = Vec::new();
        content.feed(&parts, |piece| whole.extend_from_slice(piece));
        assert_eq!(whole, b"v0:5:POSThttps://xi{}");
        assert_eq!(content.to_string(), "v0:{timestamp}:{method}{url}{id}{body}");
        for text in ["{when}", "{body", "body}", "{{body}}", &"x".repeat(201)] {
            assert_eq!(text.parse::<SignedContent>(), Err(ParseSignedContentError), "{text}");
        }
    }
}
