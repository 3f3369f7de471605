//! What is looked for in payloads: a literal, without regard to case.
//!
//! Case is folded character by character with Unicode's full lowercase mapping, on both sides,
//! so that what is found does not depend on the store. A payload is searched as it was sent: an
//! escape such as `\u00e9` is those six characters.

use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A text to look for in payloads: 1 to 512 bytes, folded.
#[derive(Clone, Debug)]
pub struct Needle {
    folded: String,
    finder: Finder<'static>,
}

/// A text that cannot be looked for.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("cannot be searched for: expected 1 to 512 bytes")]
pub struct NeedleError;

impl Needle {
    /// The longest text in bytes.
    pub const BYTES_MAX: usize = 512;

    /// A literal to look for. `%`, `_`, quotes and backslashes mean themselves.
    ///
    /// # Errors
    ///
    /// When the text is empty or longer than [`BYTES_MAX`](Self::BYTES_MAX).
    pub fn new(text: &str) -> Result<Self, NeedleError> {
        if text.is_empty() || text.len() > Self::BYTES_MAX {
            return Err(NeedleError);
        }
        let mut folded = Vec::new();
        fold_into(text.as_bytes(), &mut folded);
        let folded = String::from_utf8(folded).expect("folded text is text");
        let finder = Finder::new(&folded).into_owned();
        Ok(Self { folded, finder })
    }

    /// The text, folded.
    #[must_use]
    pub fn folded(&self) -> &str {
        &self.folded
    }

    /// Whether the needle stands in the payload. `scratch` is overwritten; keep it between
    /// calls.
    #[must_use]
    pub fn stands_in(&self, payload: &[u8], scratch: &mut Vec<u8>) -> bool {
        scratch.clear();
        fold_into(payload, scratch);
        self.finder.find(scratch).is_some()
    }
}

impl PartialEq for Needle {
    fn eq(&self, other: &Self) -> bool {
        self.folded == other.folded
    }
}

impl Serialize for Needle {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.folded.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Needle {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let folded = String::deserialize(deserializer)?;
        if folded.is_empty() || folded.len() > 3 * Self::BYTES_MAX {
            return Err(serde::de::Error::custom(NeedleError));
        }
        let finder = Finder::new(&folded).into_owned();
        Ok(Self { folded, finder })
    }
}

/// Appends the text with its case folded. Bytes that are not UTF-8 are taken as they are.
pub fn fold_into(text: &[u8], folded: &mut Vec<u8>) {
    let begin = folded.len();
    folded.extend_from_slice(text);
    if text.is_ascii() {
        folded[begin..].make_ascii_lowercase();
        return;
    }
    folded.truncate(begin);
    for chunk in text.utf8_chunks() {
        for lowercase in chunk.valid().chars().flat_map(char::to_lowercase) {
            let mut bytes = [0; 4];
            folded.extend_from_slice(lowercase.encode_utf8(&mut bytes).as_bytes());
        }
        folded.extend_from_slice(chunk.invalid());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn finds(needle: &str, payload: &str) -> bool {
        Needle::new(needle).unwrap().stands_in(payload.as_bytes(), &mut Vec::new())
    }

    #[test]
    fn literals_without_regard_to_case() {
        assert!(finds("ALEX@acme", r#"{"email":"alex@Acme.com"}"#));
        assert!(finds("müller", "MÜLLER"));
        assert!(finds("100%_\\\"", "x100%_\\\"y"));
        assert!(!finds("1_0", "100"));
        assert!(!finds("é", r"\u00e9"));
        assert_eq!(Needle::new(""), Err(NeedleError));
        assert_eq!(Needle::new(&"a".repeat(513)), Err(NeedleError));
    }

    #[test]
    fn a_needle_survives_its_text() {
        let needle = Needle::new("İSTANBUL").unwrap();
        let text = serde_json::to_string(&needle).unwrap();
        assert_eq!(serde_json::from_str::<Needle>(&text).unwrap(), needle);
    }

    proptest! {
        #[test]
        fn every_part_of_a_text_is_found_in_it(text in "\\PC{1,40}", from: prop::sample::Index) {
            let chars: Vec<char> = text.chars().collect();
            let part: String = chars[from.index(chars.len())..].iter().collect();
            prop_assert!(finds(&part, &text));
            prop_assert!(finds(&part.to_uppercase(), &text.to_uppercase()));
        }
    }
}
