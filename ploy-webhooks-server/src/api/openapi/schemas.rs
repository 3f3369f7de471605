//! The schemas that a description names, each once.
//!
//! What is read and what is written may differ under one name: what has a default may be left out of
//! a request, and is never left out of an answer. Then the schema for requests is named `…Form`.

use std::collections::{BTreeMap, BTreeSet};

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::operation::SchemaOf;

const PREFIX: &str = "#/components/schemas/";
/// Marks what is read, until it is known whether it differs from what is written.
const READ: &str = "#/read/";

/// Schemas that are collected.
#[derive(Debug)]
pub(super) struct Schemas {
    read: SchemaGenerator,
    written: SchemaGenerator,
}

impl Schemas {
    pub(super) fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.meta_schema = None;
                settings.inline_subschemas = false;
            })
        };
        let read = settings().with(|settings| settings.definitions_path = "/read".into());
        let written =
            settings().with(|settings| settings.definitions_path = "/components/schemas".into());
        Self {
            read: read.for_deserialize().into_generator(),
            written: written.for_serialize().into_generator(),
        }
    }

    /// What is read: a reference that [`finish`](Self::finish) makes good.
    pub(super) fn of_request(&mut self, schema: SchemaOf) -> Value {
        schema(&mut self.read).to_value()
    }

    /// What is written.
    pub(super) fn of_answer(&mut self, schema: SchemaOf) -> Value {
        schema(&mut self.written).to_value()
    }

    /// The schemas by their names; the references in `document` are made good.
    pub(super) fn finish(mut self, document: &mut Value) -> Map<String, Value> {
        let mut schemas = self.written.take_definitions(true);
        let mut read = self.read.take_definitions(true);
        for schema in schemas.values_mut().chain(read.values_mut()) {
            tidy(schema);
        }
        let renamed = differing(&read, &schemas);
        let name_of = |name: &str| match renamed.contains(name) {
            true => format!("{PREFIX}{name}Form"),
            false => format!("{PREFIX}{name}"),
        };
        refer(document, &name_of);
        for (name, mut schema) in read {
            refer(&mut schema, &name_of);
            let name = if renamed.contains(&*name) { format!("{name}Form") } else { name };
            schemas.insert(name, schema);
        }
        schemas
    }
}

/// The names under which what is read differs from what is written, or refers to such.
fn differing(read: &Map<String, Value>, written: &Map<String, Value>) -> BTreeSet<String> {
    let shared: BTreeMap<&String, &Value> =
        read.iter().filter(|(name, _)| written.contains_key(*name)).collect();
    let mut renamed = BTreeSet::new();
    loop {
        let is_the_same = |name: &str, schema: &Value| {
            let mut schema = schema.clone();
            refer(&mut schema, &|name| match renamed.contains(name) {
                true => format!("{READ}{name}"),
                false => format!("{PREFIX}{name}"),
            });
            schema == written[name]
        };
        let more = shared.iter().filter(|(name, schema)| {
            !renamed.contains(name.as_str()) && !is_the_same(name, schema)
        });
        let more: Vec<String> = more.map(|(name, _)| (*name).clone()).collect();
        if more.is_empty() {
            return renamed;
        }
        renamed.extend(more);
    }
}

/// Has every reference to what is read refer to what that is called.
fn refer(value: &mut Value, name_of: &impl Fn(&str) -> String) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(target)) = members.get_mut("$ref")
                && let Some(name) = target.strip_prefix(READ)
            {
                *target = name_of(name);
            }
            members.values_mut().for_each(|member| refer(member, name_of));
        }
        Value::Array(elements) => elements.iter_mut().for_each(|element| refer(element, name_of)),
        _ => {}
    }
}

/// Without what says nothing: that absence is `null`, which Rust type a number is, where a line of
/// the source ends.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if members.get("default").is_some_and(Value::is_null) && !is_properties(members) {
                members.remove("default");
            }
            let is_rust = |format: &str| format.starts_with("uint") || format.starts_with("int");
            if members.get("format").and_then(Value::as_str).is_some_and(is_rust) {
                members.remove("format");
            }
            if let Some(Value::String(text)) = members.get_mut("description") {
                *text = unwrapped(text);
            }
            members.values_mut().for_each(tidy);
        }
        Value::Array(elements) => elements.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// The text without the ends of the lines in which its source is written.
fn unwrapped(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

/// Whether these are no schema, but the members that one describes.
fn is_properties(members: &Map<String, Value>) -> bool {
    members.values().all(|member| member.is_object() || member.is_boolean())
}
