//! What an endpoint answers to an event that it has taken, where its sender insists.

use std::str::FromStr;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use thiserror::Error;

/// What an endpoint answers to an event that is stored, in place of 202 and the event's id.
/// Repeats are answered the same; errors are what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SuccessAnswer {
    /// Its status.
    pub status: SuccessStatus,
    /// Its body; `None` is the event's id, as otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<AnswerBody>,
}

/// The status of such an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
#[expect(clippy::exhaustive_enums, reason = "stored is all that can be said")]
pub enum SuccessStatus {
    /// 200: for senders that count no other as delivered.
    Ok,
    /// 202.
    #[default]
    Accepted,
}

impl TryFrom<u16> for SuccessStatus {
    type Error = &'static str;

    fn try_from(status: u16) -> Result<Self, Self::Error> {
        match status {
            200 => Ok(Self::Ok),
            202 => Ok(Self::Accepted),
            _ => Err("`status` is 200 or 202"),
        }
    }
}

impl From<SuccessStatus> for u16 {
    fn from(status: SuccessStatus) -> Self {
        match status {
            SuccessStatus::Ok => 200,
            SuccessStatus::Accepted => 202,
        }
    }
}

/// A JSON object of at most [`BYTES_MAX`](Self::BYTES_MAX) bytes, kept as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerBody(Box<str>);

impl AnswerBody {
    /// The most bytes that one has.
    pub const BYTES_MAX: usize = 4 << 10;

    /// The object in text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for AnswerBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AnswerBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        raw.get().parse().map_err(serde::de::Error::custom)
    }
}

/// A text that is no body of an answer.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("`body` is a JSON object of at most 4096 bytes")]
pub struct ParseAnswerBodyError;

impl FromStr for AnswerBody {
    type Err = ParseAnswerBodyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
        match is_json && text.starts_with('{') && text.len() <= Self::BYTES_MAX {
            true => Ok(Self(text.into())),
            false => Err(ParseAnswerBodyError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_as_they_are_written() {
        let text = r#"{"status":200,"body":{"received": true, "a":1.0,"a":2}}"#;
        let answer: SuccessAnswer = serde_json::from_str(text).unwrap();
        assert_eq!(answer.body.as_ref().unwrap().as_str(), r#"{"received": true, "a":1.0,"a":2}"#);
        assert_eq!(serde_json::to_string(&answer).unwrap(), text);
        for text in [
            r#"{"status":201}"#,
            r#"{"body":[1]}"#,
            r#"{"body":"ok"}"#,
            r#"{"code":200}"#,
            &format!(r#"{{"body":{{"a":"{}"}}}}"#, "x".repeat(4096)),
        ] {
            assert!(serde_json::from_str::<SuccessAnswer>(text).is_err(), "{text}");
        }
    }
}
