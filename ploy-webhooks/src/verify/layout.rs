//! Where a signature stands in its header.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Where a signature stands in its header. In text as a header looks, with `{signature}` and
/// `{timestamp}` in their places:
///
/// | text | header |
/// | --- | --- |
/// | `{signature}` | the signature alone |
/// | `sha256={signature}` | with that before it |
/// | `[sha256=]{signature}` | with that before it or not |
/// | `t={timestamp},v1={signature}` | pairs in any order, others among them; every `v1` is tried |
/// | `v1,{signature} ...` | several, with a blank between them; those with another `v1,` are not tried |
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// One signature, and what stands before it.
    Whole {
        /// What stands before it.
        prefix: String,
        /// Whether that may be missing.
        is_optional: bool,
    },
    /// Names with values.
    Pairs {
        /// What is between two pairs.
        separator: char,
        /// The name of the time.
        timestamp: Option<String>,
        /// The name of a signature.
        signature: String,
    },
    /// Several signatures.
    List {
        /// What stands before each.
        prefix: String,
        /// What is between two.
        separator: char,
    },
}

/// A text that is no layout.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "`layout` is no layout of a header: write it as the header looks, with `{{signature}}` and \
     `{{timestamp}}`, as in `t={{timestamp}},v1={{signature}}`"
)]
pub struct ParseLayoutError;

const SIGNATURE: &str = "{signature}";
const TIMESTAMP: &str = "{timestamp}";

impl Layout {
    /// Whether the time is in the header too.
    #[must_use]
    pub const fn has_time(&self) -> bool {
        matches!(self, Self::Pairs { timestamp: Some(_), .. })
    }

    /// The signatures in that value of the header, and the time.
    pub(super) fn read<'value>(&self, value: &'value str, mut found: impl FnMut(Found<'value>)) {
        match self {
            Self::Whole { prefix, is_optional } => match value.strip_prefix(prefix.as_str()) {
                Some(signature) => found(Found::Signature(signature)),
                None if *is_optional => found(Found::Signature(value)),
                None => {}
            },
            Self::Pairs { separator, timestamp, signature } => {
                let pairs = value.split(*separator).filter_map(|pair| pair.trim().split_once('='));
                for (name, value) in pairs {
                    if name == signature {
                        found(Found::Signature(value));
                    } else if timestamp.as_deref() == Some(name) {
                        found(Found::Timestamp(value));
                    }
                }
            }
            Self::List { prefix, separator } => {
                for item in value.split(*separator) {
                    if let Some(signature) = item.strip_prefix(prefix.as_str()) {
                        found(Found::Signature(signature));
                    }
                }
            }
        }
    }

    /// Whether a header may have several signatures.
    pub(super) const fn takes_several(&self) -> bool {
        matches!(self, Self::Pairs { .. } | Self::List { .. })
    }

    /// The value of the header with these signatures, one where it takes no more, and this time.
    pub(super) fn write(&self, signatures: &[impl AsRef<str>], time: Option<&str>) -> String {
        let mut value = String::new();
        let separator = match self {
            Self::Whole { .. } => None,
            Self::Pairs { separator, timestamp, .. } => {
                if let Some((name, time)) = timestamp.as_ref().zip(time) {
                    value.extend([name, "=", time]);
                }
                Some(*separator)
            }
            Self::List { separator, .. } => Some(*separator),
        };
        for signature in signatures {
            value.extend(separator.filter(|_| !value.is_empty()));
            match self {
                Self::Whole { prefix, .. } | Self::List { prefix, .. } => value.push_str(prefix),
                Self::Pairs { signature: name, .. } => value.extend([name, "="]),
            }
            value.push_str(signature.as_ref());
        }
        value
    }
}

/// What is found in a header.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'value> {
    Signature(&'value str),
    Timestamp(&'value str),
}

impl Default for Layout {
    fn default() -> Self {
        Self::Whole { prefix: String::new(), is_optional: false }
    }
}

impl FromStr for Layout {
    type Err = ParseLayoutError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_visible = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if !is_visible || text.len() > 100 || text.matches(SIGNATURE).count() != 1 {
            return Err(ParseLayoutError);
        }
        match text.matches(TIMESTAMP).count() {
            0 => Self::without_time(text),
            1 => Self::pairs(text),
            _ => Err(ParseLayoutError),
        }
    }
}

impl Layout {
    fn without_time(text: &str) -> Result<Self, ParseLayoutError> {
        let (prefix, after) = text.split_once(SIGNATURE).ok_or(ParseLayoutError)?;
        if let Some(separator) = after.strip_suffix("...") {
            let mut separator = separator.chars();
            return match (separator.next(), separator.next()) {
                (Some(separator), None) if !prefix.contains(separator) => {
                    Ok(Self::List { prefix: prefix.to_owned(), separator })
                }
                _ => Err(ParseLayoutError),
            };
        }
        if !after.is_empty() {
            return Err(ParseLayoutError);
        }
        Ok(match prefix.strip_prefix('[').and_then(|prefix| prefix.strip_suffix(']')) {
            Some(prefix) => Self::Whole { prefix: prefix.to_owned(), is_optional: true },
            None => Self::Whole { prefix: prefix.to_owned(), is_optional: false },
        })
    }

    /// Two pairs, of which each is a name, `=` and one of the two.
    fn pairs(text: &str) -> Result<Self, ParseLayoutError> {
        let separator = text
            .split_once('}')
            .and_then(|(_, after)| after.chars().next())
            .filter(|separator| matches!(separator, ',' | ';' | ' ' | '&'))
            .ok_or(ParseLayoutError)?;
        let (one, other) = text.split_once(separator).ok_or(ParseLayoutError)?;
        let name = |value: &str| {
            [one, other].into_iter().find_map(|pair| {
                let name = pair.strip_suffix(value)?.strip_suffix('=')?;
                let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
                (!name.is_empty() && name.bytes().all(is_name)).then(|| name.to_owned())
            })
        };
        let timestamp = name(TIMESTAMP).ok_or(ParseLayoutError)?;
        let signature = name(SIGNATURE).ok_or(ParseLayoutError)?;
        if timestamp == signature {
            return Err(ParseLayoutError);
        }
        Ok(Self::Pairs { separator, timestamp: Some(timestamp), signature })
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole { prefix, is_optional: false } => write!(f, "{prefix}{SIGNATURE}"),
            Self::Whole { prefix, is_optional: true } => write!(f, "[{prefix}]{SIGNATURE}"),
            Self::Pairs { .. } => f.write_str(&self.write(&[SIGNATURE], Some(TIMESTAMP))),
            Self::List { prefix, separator } => write!(f, "{prefix}{SIGNATURE}{separator}..."),
        }
    }
}

impl Serialize for Layout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Layout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(layout: &str, value: &str) -> (Vec<String>, Vec<String>) {
        let (mut signatures, mut times) = (Vec::new(), Vec::new());
        layout.parse::<Layout>().unwrap().read(value, |found| match found {
            Found::Signature(signature) => signatures.push(signature.to_owned()),
            Found::Timestamp(time) => times.push(time.to_owned()),
        });
        (signatures, times)
    }

    #[test]
    fn layouts_are_written_as_they_are_read() {
        for text in [
            "{signature}",
            "sha256={signature}",
            "[sha256=]{signature}",
            "t={timestamp},v1={signature}",
            "ts={timestamp};h1={signature}",
            "v1,{signature} ...",
        ] {
            assert_eq!(text.parse::<Layout>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_layout() {
        for text in [
            "",
            "{timestamp}",
            "{signature}{signature}",
            "{signature} and more",
            "{timestamp},{signature}",
            "t={timestamp}v1={signature}",
            "t={timestamp},v1={signature},x",
            "t={timestamp},t={signature}",
            "t={timestamp},t={timestamp},v1={signature}",
            "a b,{signature} ...",
            "{signature}...",
            "é{signature}",
        ] {
            assert_eq!(text.parse::<Layout>(), Err(ParseLayoutError), "{text}");
        }
    }

    #[test]
    fn signatures_and_times_are_found() {
        let one = |signature: &str| (vec![signature.to_owned()], Vec::new());
        let none = (Vec::new(), Vec::new());
        assert_eq!(found("{signature}", "ab"), one("ab"));
        assert_eq!(found("sha256={signature}", "sha256=ab"), one("ab"));
        assert_eq!(found("sha256={signature}", "ab"), none);
        assert_eq!(found("[sha256=]{signature}", "ab"), one("ab"));
        assert_eq!(found("v1,{signature} ...", "v1a,ab v1,cd v2,ef"), one("cd"));
        let (signatures, times) =
            found("t={timestamp},v1={signature}", "v0=1, t=5,v1=ab,x,v1=cd,t=6");
        assert_eq!(
            (signatures, times),
            (vec!["ab".into(), "cd".into()], vec!["5".into(), "6".into()])
        );
    }
}
