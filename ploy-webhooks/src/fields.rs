//! Fields: values in a payload that an endpoint gives names of its own.
//!
//! All of them are taken together. The pointers make up a tree, and a value is read once for all
//! the names that lead on from it, so the cost is a pass over the payload for each of the names in
//! the longest pointer (16 at most), however many fields there are.

mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use thiserror::Error;

use self::tree::Branch;
use crate::pointer::JsonPointer;

/// The name of a field: 1 to 8 segments with dots between them, such as `contact.email`, each a
/// letter or `_` and then letters, digits and `_`; 128 bytes at most.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldName(Arc<str>);

/// A text that is not the name of a field.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "not the name of a field: expected 1 to 8 segments with dots between them, each a letter or \
     `_` and then letters, digits and `_`, in at most 128 bytes"
)]
pub struct ParseFieldNameError;

impl FieldName {
    const BYTES_MAX: usize = 128;
    const SEGMENTS_MAX: usize = 8;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names that this one would stand inside of: `a` and `a.b` for `a.b.c`.
    fn parents(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('.').map(|(dot, _)| &self.0[..dot])
    }
}

impl FromStr for FieldName {
    type Err = ParseFieldNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_segment = |segment: &str| {
            segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                && segment.bytes().next().is_some_and(|first| !first.is_ascii_digit())
        };
        let is_name = text.len() <= Self::BYTES_MAX
            && text.split('.').count() <= Self::SEGMENTS_MAX
            && text.split('.').all(is_segment);
        if is_name { Ok(Self(text.into())) } else { Err(ParseFieldNameError) }
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Where a field is, and what holds when it is not there.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "whoever names a field builds it from its parts")]
pub struct Field {
    /// Where it is in the payload.
    pub pointer: JsonPointer,
    /// What holds when there is nothing.
    pub absence: Absence,
}

/// What holds when a field is not in the payload.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "a field may be left out, has a stand-in, or may not")]
pub enum Absence {
    /// There is no such field.
    #[default]
    Leave,
    /// It has this value. JSON's `null` in the payload is a value, and stays.
    Default(Value),
    /// The payload lacks what it must have, and `null` is as good as nothing.
    Refuse,
}

/// The fields that an endpoint names in its payloads: 64 at most.
///
/// In JSON, by name: `{"email": "/person/email", "score": {"pointer": "/icp", "default": 0},
/// "company": {"pointer": "/company", "required": true}}`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldMap {
    fields: BTreeMap<FieldName, Field>,
    tree: Branch,
}

/// What is wrong with the fields of an endpoint, for who sets them.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldMapError {
    /// The name is none.
    #[error("the field {name:?} is {source}")]
    Name {
        /// The text that should be one.
        name: String,
        /// What a name is.
        source: ParseFieldNameError,
    },
    /// A name is there twice.
    #[error("the field `{0}` is named twice")]
    Twice(FieldName),
    /// A name is the beginning of another: a field cannot be a value and hold fields too.
    #[error("the fields `{outer}` and `{inner}` exclude each other: one stands inside the other")]
    Inside {
        /// The one that would hold the other.
        outer: FieldName,
        /// The one that would stand in it.
        inner: FieldName,
    },
    /// There are too many.
    #[error("an endpoint names at most 64 fields")]
    TooMany,
    /// The form of one is none.
    #[error("the field `{name}` {fault}")]
    Form {
        /// Which one.
        name: FieldName,
        /// What is wrong with it.
        fault: String,
    },
}

/// A payload that lacks a field which it must have.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the required field `{name}` is missing: the payload has nothing at {pointer}")]
#[non_exhaustive]
pub struct MissingField {
    /// The field.
    pub name: FieldName,
    /// Where it should be.
    pub pointer: JsonPointer,
}

impl FieldMap {
    /// How many fields there may be.
    pub const FIELDS_MAX: usize = 64;
    /// How many bytes a default has at most, as JSON.
    pub const DEFAULT_BYTES_MAX: usize = 1_024;

    /// These fields.
    ///
    /// # Errors
    ///
    /// A name that occurs twice or is the beginning of another, a default that is too long, or too
    /// many fields.
    pub fn new(
        fields: impl IntoIterator<Item = (FieldName, Field)>,
    ) -> Result<Self, FieldMapError> {
        let mut map = Self::default();
        for (name, field) in fields {
            map.add(name, field)?;
        }
        map.check_names()?;
        Ok(map)
    }

    /// The fields, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&FieldName, &Field)> {
        self.fields.iter()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The fields that are in `payload`, each as it is written there. Of a name that occurs twice
    /// in an object the last counts. A payload that is not JSON has none.
    ///
    /// # Errors
    ///
    /// The first required field, in the order of names, that is not there or is `null`.
    pub fn take(&self, payload: &str) -> Result<Fields, MissingField> {
        let mut found = BTreeMap::new();
        self.tree.collect(payload, &mut found);
        let mut values = BTreeMap::new();
        for (name, field) in &self.fields {
            let value = found.get(name).copied();
            let value = match &field.absence {
                Absence::Leave => value.map(str::to_owned),
                Absence::Default(stand_in) => {
                    Some(value.map_or_else(|| stand_in.to_string(), str::to_owned))
                }
                Absence::Refuse => match value {
                    Some(value) if value != "null" => Some(value.to_owned()),
                    _ => {
                        let pointer = field.pointer.clone();
                        return Err(MissingField { name: name.clone(), pointer });
                    }
                },
            };
            if let Some(value) = value {
                values.insert(name.clone(), value.into());
            }
        }
        Ok(Fields { values })
    }

    fn add(&mut self, name: FieldName, field: Field) -> Result<(), FieldMapError> {
        if self.fields.contains_key(&name) {
            return Err(FieldMapError::Twice(name));
        }
        if self.fields.len() == Self::FIELDS_MAX {
            return Err(FieldMapError::TooMany);
        }
        if let Absence::Default(stand_in) = &field.absence
            && stand_in.to_string().len() > Self::DEFAULT_BYTES_MAX
        {
            let fault = format!("has a default of more than {} bytes", Self::DEFAULT_BYTES_MAX);
            return Err(FieldMapError::Form { name, fault });
        }
        self.tree.grow(&field.pointer, name.clone());
        self.fields.insert(name, field);
        Ok(())
    }

    fn check_names(&self) -> Result<(), FieldMapError> {
        let names: BTreeSet<&str> = self.fields.keys().map(FieldName::as_str).collect();
        for inner in self.fields.keys() {
            if let Some(outer) = inner.parents().find(|outer| names.contains(outer)) {
                let outer = FieldName(outer.into());
                return Err(FieldMapError::Inside { outer, inner: inner.clone() });
            }
        }
        Ok(())
    }
}

impl Serialize for FieldMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut form = serializer.serialize_map(Some(self.fields.len()))?;
        for (name, Field { pointer, absence }) in &self.fields {
            let name = name.as_str();
            match absence {
                Absence::Leave => form.serialize_entry(name, pointer)?,
                Absence::Default(stand_in) => {
                    let field = serde_json::json!({"pointer": pointer, "default": stand_in});
                    form.serialize_entry(name, &field)?;
                }
                Absence::Refuse => {
                    let field = serde_json::json!({"pointer": pointer, "required": true});
                    form.serialize_entry(name, &field)?;
                }
            }
        }
        form.end()
    }
}

impl<'de> Deserialize<'de> for FieldMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MapForm)
    }
}

/// Reads a map of fields. By hand, so that every fault names its field.
struct MapForm;

impl<'de> Visitor<'de> for MapForm {
    type Value = FieldMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of fields, such as {\"email\": \"/person/email\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut map = FieldMap::default();
        while let Some(name) = entries.next_key::<String>()? {
            let name: FieldName = name
                .parse()
                .map_err(|source| A::Error::custom(FieldMapError::Name { name, source }))?;
            let field = field(entries.next_value()?).map_err(|fault| {
                A::Error::custom(FieldMapError::Form { name: name.clone(), fault })
            })?;
            map.add(name, field).map_err(A::Error::custom)?;
        }
        map.check_names().map_err(A::Error::custom)?;
        Ok(map)
    }
}

/// The field of that form, or what is wrong with it.
fn field(form: Value) -> Result<Field, String> {
    let pointer = |pointer: Value| match pointer {
        Value::String(text) => {
            text.parse::<JsonPointer>().map_err(|fault| format!("has a pointer that is {fault}"))
        }
        _ => Err("has a pointer that is not a text".to_owned()),
    };
    let mut parts = match form {
        Value::Object(parts) => parts,
        Value::String(_) => {
            return Ok(Field { pointer: pointer(form)?, absence: Absence::Leave });
        }
        _ => return Err("is neither a pointer nor an object with a `pointer`".to_owned()),
    };
    let pointer = pointer(parts.remove("pointer").ok_or("has no `pointer`")?)?;
    let required = match parts.remove("required") {
        None => false,
        Some(Value::Bool(required)) => required,
        Some(_) => return Err("has a `required` that is neither true nor false".to_owned()),
    };
    let absence = match (required, parts.remove("default")) {
        (true, Some(_)) => {
            return Err("is required and has a default: one excludes the other".to_owned());
        }
        (true, None) => Absence::Refuse,
        (false, Some(stand_in)) => Absence::Default(stand_in),
        (false, None) => Absence::Leave,
    };
    match parts.keys().next() {
        Some(unknown) => {
            Err(format!("has {unknown:?}, and knows `pointer`, `default` and `required` only"))
        }
        None => Ok(Field { pointer, absence }),
    }
}

/// The fields of one event, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    values: BTreeMap<FieldName, Box<str>>,
}

impl Fields {
    /// The value of a field, in JSON as the payload has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        // A name is looked up as text, without making a name of it.
        self.values.iter().find(|(known, _)| known.as_str() == name).map(|(_, value)| &**value)
    }

    /// The fields, in the order of their names, each with its value in JSON.
    pub fn iter(&self) -> impl Iterator<Item = (&FieldName, &str)> {
        self.values.iter().map(|(name, value)| (name, &**value))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// All of them as one JSON object, in which `contact.email` stands in `contact`:
    /// `{"contact":{"email":"alex@acme.com"}}`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = String::from("{");
        let mut open: Vec<&str> = Vec::new();
        // A dot sorts before whatever else a name may have, so what stands in one object is in a
        // row.
        for (name, value) in &self.values {
            let mut path: Vec<&str> = name.as_str().split('.').collect();
            let leaf = path.pop().expect("a name has a segment");
            let shared = open.iter().zip(&path).take_while(|(open, path)| open == path).count();
            for _ in shared..open.len() {
                json.push('}');
            }
            open.truncate(shared);
            if !json.ends_with('{') {
                json.push(',');
            }
            for &segment in &path[shared..] {
                json.extend(["\"", segment, "\":{"]);
                open.push(segment);
            }
            json.extend(["\"", leaf, "\":", value]);
        }
        for _ in 0..=open.len() {
            json.push('}');
        }
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(form: &str) -> FieldMap {
        serde_json::from_str(form).unwrap()
    }

    #[test]
    fn maps_keep_their_json_form() {
        let form = serde_json::json!({
            "contact.email": "/person/email",
            "contact.name": {"pointer": "/person/name", "default": null},
            "score": {"pointer": "/icp", "default": 0},
            "company": {"pointer": "/company", "required": true},
        });
        let map: FieldMap = serde_json::from_value(form.clone()).unwrap();
        assert_eq!(serde_json::to_value(&map).unwrap(), form);
        let again = map.iter().map(|(name, field)| (name.clone(), field.clone()));
        assert_eq!(FieldMap::new(again).as_ref(), Ok(&map));
    }

    #[test]
    fn faults_name_their_field() {
        let many: Vec<_> = (0..65).map(|n| format!(r#""f{n}":"/f""#)).collect();
        let many = format!("{{{}}}", many.join(","));
        let long = format!(r#"{{"f":{{"pointer":"/f","default":"{}"}}}}"#, "x".repeat(1_023));
        for (form, fault) in [
            (r#"{"a b":"/a"}"#, "the field \"a b\" is not the name of a field"),
            (r#"{"":"/a"}"#, "the field \"\" is not the name of a field"),
            (r#"{"a.":"/a"}"#, "the field \"a.\""),
            (r#"{"1a":"/a"}"#, "the field \"1a\""),
            (r#"{"a.b.c.d.e.f.g.h.i":"/a"}"#, "the field \"a.b.c.d.e.f.g.h.i\""),
            (r#"{"f":"a"}"#, "the field `f` has a pointer that is not a JSON pointer"),
            (r#"{"f":{"pointer":1}}"#, "the field `f` has a pointer that is not a text"),
            (r#"{"f":1}"#, "the field `f` is neither"),
            (r#"{"f":{}}"#, "the field `f` has no `pointer`"),
            (r#"{"f":{"pointer":"/f","x":1}}"#, "the field `f` has \"x\""),
            (r#"{"f":{"pointer":"/f","required":1}}"#, "the field `f` has a `required`"),
            (r#"{"f":{"pointer":"/f","required":true,"default":1}}"#, "one excludes the other"),
            (r#"{"f":"/f","f":"/g"}"#, "the field `f` is named twice"),
            (r#"{"a.b.c":"/f","a":"/g"}"#, "the fields `a` and `a.b.c` exclude each other"),
            (&long, "the field `f` has a default of more than 1024 bytes"),
            (&many, "at most 64 fields"),
            ("[]", "an object of fields"),
        ] {
            let error = serde_json::from_str::<FieldMap>(form).unwrap_err().to_string();
            assert!(error.contains(fault), "{error}");
        }
        assert_eq!(map(r#"{"a":"/f","ab":"/f","b.a":"/f"}"#).iter().count(), 3);
    }

    #[test]
    fn values_are_taken_as_they_are_written() {
        let map = map(r#"{
            "contact.email": "/person/email", "contact.tags": "/person/tags", "contact_id": "/id",
            "person": "/person", "score": {"pointer": "/icp", "default": 0},
            "note": {"pointer": "/note", "default": "none"}, "first": "/person/tags/0",
            "absent": "/absent", "person_2": "/person"
        }"#);
        let payload = r#"{"id":1.50, "person": {"email":"\u0061","tags":[1e400, 2]}, "note":null}"#;
        let fields = map.take(payload).unwrap();
        assert_eq!(fields.get("contact.email"), Some(r#""\u0061""#));
        assert_eq!(fields.get("first"), Some("1e400"));
        assert_eq!(fields.get("score"), Some("0"));
        assert_eq!(fields.get("note"), Some("null"), "null is a value");
        assert_eq!(fields.get("absent"), None);
        assert_eq!(fields.get("person"), fields.get("person_2"));
        assert_eq!(
            fields.to_json(),
            r#"{"contact":{"email":"\u0061","tags":[1e400, 2]},"contact_id":1.50,"first":1e400,"note":null,"person":{"email":"\u0061","tags":[1e400, 2]},"person_2":{"email":"\u0061","tags":[1e400, 2]},"score":0}"#
        );
        assert_eq!(Fields::default().to_json(), "{}");
        assert_eq!(map.take("no JSON").unwrap().get("score"), Some("0"));
    }

    #[test]
    fn what_is_required_and_missing_is_named() {
        let map = map(r#"{"contact.email": {"pointer": "/person/email", "required": true}}"#);
        assert!(map.take(r#"{"person":{"email":""}}"#).is_ok());
        for payload in ["{}", r#"{"person":{"email":null}}"#, r#"{"person":[]}"#, ""] {
            assert_eq!(
                map.take(payload).unwrap_err().to_string(),
                "the required field `contact.email` is missing: the payload has nothing at \
                 /person/email"
            );
        }
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![Just("1".to_owned()), Just("null".to_owned()), Just("\"a\"".into())];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let key =
                prop_oneof![Just("a"), Just("b"), Just("\\u0061"), Just("0"), Just("\\ud800")];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|items| format!("[{}]", items.join(", "))),
                prop::collection::vec((key, inner), 0..4).prop_map(|entries| {
                    let entries: Vec<_> =
                        entries.iter().map(|(key, value)| format!("\"{key}\" : {value}")).collect();
                    format!("{{{}}}", entries.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_field_is_what_its_pointer_leads_to(
            json in json(),
            pointers in prop::collection::vec("(/[ab01]){1,4}", 1..8),
        ) {
            let named: Vec<(FieldName, Field)> = pointers
                .iter()
                .enumerate()
                .map(|(n, pointer)| {
                    let pointer = pointer.parse().unwrap();
                    let field = Field { pointer, absence: Absence::Leave };
                    (format!("f{n}.x").parse().unwrap(), field)
                })
                .collect();
            let fields = FieldMap::new(named.clone()).unwrap().take(&json).unwrap();
            for (name, field) in &named {
                prop_assert_eq!(fields.get(name.as_str()), field.pointer.follow(&json));
            }
            let whole = fields.to_json();
            for (name, value) in fields.iter() {
                let pointer = format!("/{}", name.as_str().replace('.', "/"));
                let pointer: JsonPointer = pointer.parse().unwrap();
                prop_assert_eq!(pointer.follow(&whole), Some(value));
            }
        }

        #[test]
        fn no_payload_panics(payload: String) {
            let map = map(r#"{"a": "/a/0/b", "b": {"pointer": "/a", "required": true}}"#);
            let _ = map.take(&payload);
        }
    }
}
