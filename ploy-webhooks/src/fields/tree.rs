//! The pointers of all fields as a tree, so that they are followed together.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::FieldName;
use crate::pointer::{self, JsonPointer};

/// What pointers have in common: the fields that are here, and the names that lead on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Branch {
    fields: Vec<FieldName>,
    further: BTreeMap<String, Branch>,
}

impl Branch {
    pub(super) fn grow(&mut self, pointer: &JsonPointer, name: FieldName) {
        let path = pointer.to_string();
        let mut branch = self;
        for token in path.split('/').skip(1) {
            // RFC 6901 §4: in this order.
            let token = token.replace("~1", "/").replace("~0", "~");
            branch = branch.further.entry(token).or_default();
        }
        branch.fields.push(name);
    }

    /// Finds the fields of this branch and of those further on, in a value.
    pub(super) fn collect<'tree, 'json>(
        &'tree self,
        json: &'json str,
        found: &mut BTreeMap<&'tree FieldName, &'json str>,
    ) {
        for field in &self.fields {
            found.insert(field, json);
        }
        if self.further.is_empty() {
            return;
        }
        let mut deserializer = serde_json::Deserializer::from_str(json);
        // Whatever is no object and no array has nothing further on, and neither has what is no
        // JSON.
        let Ok(children) = Children(self).deserialize(&mut deserializer) else { return };
        for (branch, json) in children.into_values() {
            branch.collect(json.get(), found);
        }
    }
}

/// Takes the children that lead on out of an object or an array, each in its last version.
struct Children<'tree>(&'tree Branch);

type Found<'tree, 'json> = BTreeMap<&'tree str, (&'tree Branch, &'json RawValue)>;

impl<'tree, 'json> DeserializeSeed<'json> for Children<'tree> {
    type Value = Found<'tree, 'json>;

    fn deserialize<D: Deserializer<'json>>(self, value: D) -> Result<Self::Value, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'tree, 'json> Visitor<'json> for Children<'tree> {
    type Value = Found<'tree, 'json>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'json>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut found = Found::new();
        // A key is taken as it is written: one with a lone surrogate is no text, and no match.
        while let Some(key) = entries.next_key::<&RawValue>()? {
            let written = key.get();
            let wanted = if written.contains('\\') {
                pointer::string(written).and_then(|key| self.0.further.get_key_value(&key))
            } else {
                self.0.further.get_key_value(written.trim_matches('"'))
            };
            match wanted {
                Some((key, branch)) => {
                    found.insert(key, (branch, entries.next_value()?));
                }
                None => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'json>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut found = Found::new();
        for place in 0_usize.. {
            // An index has one spelling (RFC 6901 §4), which is that of the number.
            match self.0.further.get_key_value(&place.to_string()) {
                Some((index, branch)) => match items.next_element()? {
                    Some(item) => {
                        found.insert(index, (branch, item));
                    }
                    None => break,
                },
                None => {
                    if items.next_element::<IgnoredAny>()?.is_none() {
                        break;
                    }
                }
            }
        }
        Ok(found)
    }
}
