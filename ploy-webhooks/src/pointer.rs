//! JSON pointers (RFC 6901), followed in a payload as it was sent.
//!
//! No tree is built: what a pointer does not lead to is skipped, so the cost is at most a pass for
//! each of its names, and nesting is no deeper on the stack than the pointer is long.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

/// A path into a JSON document, as RFC 6901 writes it: `/contact/emails/0`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JsonPointer {
    text: String,
    tokens: Vec<String>,
}

/// A text that is not a JSON pointer of this library.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "not a JSON pointer (RFC 6901): expected `/`-led names, at most 16 of them and 512 bytes, \
     with `~` only in `~0` and `~1`"
)]
pub struct ParsePointerError;

impl JsonPointer {
    const BYTES_MAX: usize = 512;
    const TOKENS_MAX: usize = 16;

    /// What the pointer leads to in `json`, as it is written there; `None` where it leads
    /// nowhere. Of a name that occurs twice, the last counts.
    #[must_use]
    pub fn follow<'json>(&self, json: &'json str) -> Option<&'json str> {
        let (first, rest) = self.tokens.split_first()?;
        rest.iter().try_fold(child(json, first)?, |json, token| child(json, token))
    }
}

impl FromStr for JsonPointer {
    type Err = ParsePointerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text.strip_prefix('/').ok_or(ParsePointerError)?;
        let tokens: Vec<_> =
            path.split('/').map(unescape).collect::<Option<_>>().ok_or(ParsePointerError)?;
        if text.len() > Self::BYTES_MAX || tokens.len() > Self::TOKENS_MAX {
            return Err(ParsePointerError);
        }
        Ok(Self { text: text.to_owned(), tokens })
    }
}

impl TryFrom<String> for JsonPointer {
    type Error = ParsePointerError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<JsonPointer> for String {
    fn from(pointer: JsonPointer) -> Self {
        pointer.text
    }
}

impl fmt::Display for JsonPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for JsonPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// The text of a JSON string; `None` for any other value, and for a string that is no Unicode
/// text (a lone surrogate).
pub(crate) fn string(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

fn unescape(token: &str) -> Option<String> {
    let mut parts = token.split('~');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (escaped, rest) = part.split_at_checked(1)?;
        name.push(match escaped {
            "0" => '~',
            "1" => '/',
            _ => return None,
        });
        name.push_str(rest);
    }
    Some(name)
}

fn child<'json>(json: &'json str, token: &str) -> Option<&'json str> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer.deserialize_any(Child { token }).ok().flatten().map(RawValue::get)
}

/// Takes one child out of an object or an array and skips the others.
struct Child<'token> {
    token: &'token str,
}

impl<'json> Visitor<'json> for Child<'_> {
    type Value = Option<&'json RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'json>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        // A key is taken as it is written: one with a lone surrogate is no text, and no match.
        while let Some(key) = map.next_key::<&RawValue>()? {
            if is_named(key.get(), self.token) {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'json>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let wanted = array_index(self.token);
        let mut place = 0;
        loop {
            if Some(place) == wanted {
                found = items.next_element()?;
            } else if items.next_element::<IgnoredAny>()?.is_none() {
                return Ok(found);
            }
            place += 1;
        }
    }
}

fn is_named(written_key: &str, name: &str) -> bool {
    if written_key.contains('\\') {
        string(written_key).is_some_and(|key| key == name)
    } else {
        written_key.trim_matches('"') == name
    }
}

/// RFC 6901 §4: digits without a leading zero.
fn array_index(token: &str) -> Option<usize> {
    let canonical = token == "0" || !token.starts_with(['0', '+']);
    token.parse().ok().filter(|_| canonical)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn follow<'json>(pointer: &str, json: &'json str) -> Option<&'json str> {
        pointer.parse::<JsonPointer>().unwrap().follow(json)
    }

    #[test]
    fn values_come_as_they_are_written() {
        let json = r#" { "a" : [ 1.50 , {"b/c~d": "x\u0061"} ], "n": null, "": 0 } "#;
        assert_eq!(follow("/a/0", json), Some("1.50"));
        assert_eq!(follow("/a/1/b~1c~0d", json), Some(r#""x\u0061""#));
        assert_eq!(follow("/n", json), Some("null"));
        assert_eq!(follow("/", json), Some("0"));
        for nowhere in ["/b", "/a/2", "/a/00", "/a/-", "/a/+0", "/n/0", "/a/0/b"] {
            assert_eq!(follow(nowhere, json), None, "{nowhere}");
        }
    }

    #[test]
    fn the_last_of_two_equal_names_counts_however_it_is_written() {
        assert_eq!(follow("/ab", r#"{"ab":1,"a\u0062":2}"#), Some("2"));
        assert_eq!(follow("/\"a", r#"{"a":1,"\"a":2}"#), Some("2"));
    }

    #[test]
    fn lone_surrogates_and_depth_are_passed_over() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let json = format!(r#"{{"\ud800":1,"deep":{deep},"v":"\udc00","w":7}}"#);
        assert_eq!(follow("/w", &json), Some("7"));
        assert_eq!(follow("/v", &json).and_then(string), None);
    }

    #[test]
    fn what_is_not_a_pointer_is_refused() {
        let long = "/a".repeat(17);
        for text in ["", "a", "/~", "/~2", "#/a", &long] {
            assert_eq!(text.parse::<JsonPointer>(), Err(ParsePointerError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(
            keys in prop::collection::vec("[a-c/~0-1\"\\\\é]{0,3}", 1..4),
            wanted in "[a-c/~0-1\"\\\\é]{0,3}",
        ) {
            let object: serde_json::Map<_, _> =
                keys.iter().enumerate().map(|(i, key)| (key.clone(), i.into())).collect();
            let tree = serde_json::Value::Object(object);
            let pointer = format!("/{}", wanted.replace('~', "~0").replace('/', "~1"));
            let ours = follow(&pointer, &tree.to_string()).map(str::to_owned);
            prop_assert_eq!(ours, tree.pointer(&pointer).map(ToString::to_string));
        }
    }
}
