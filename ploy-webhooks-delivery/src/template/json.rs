//! [`JsonTemplate`]: a JSON document whose strings may have merge fields.

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::Number;

use super::error::{RenderError, TemplateError};
use super::expression::Rendering;
use super::output::{Output, write_json};
use super::scope::Merge;
use super::text::TextTemplate;
use super::{BODY_BYTES_MAX, JSON_DEPTH_MAX, JSON_VALUES_MAX};

/// A JSON document whose strings are templates.
///
/// A string that is one field and nothing else becomes the value of that field: a number, an array
/// and so on. All others stay strings, and what is filled in is escaped in them. Members keep their
/// order; their names are no templates.
///
/// `Debug` shows the document without its texts: there may be secrets in them.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonTemplate {
    root: Node,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(TextTemplate),
    Array(Vec<Node>),
    Object(Vec<(Box<str>, Node)>),
}

impl JsonTemplate {
    pub(super) fn has_fields(&self) -> bool {
        self.root.has_fields()
    }

    pub(super) fn render(&self, merge: &Merge) -> Result<Bytes, RenderError> {
        let mut rendering = Rendering::of(&merge.scope);
        let mut output = Output::default();
        self.root.write(&mut rendering, &mut output)?;
        rendering.finish(output.into_bytes().into())
    }
}

impl Node {
    fn has_fields(&self) -> bool {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) => false,
            Self::Text(text) => text.has_fields(),
            Self::Array(items) => items.iter().any(Self::has_fields),
            Self::Object(members) => members.iter().any(|(_, node)| node.has_fields()),
        }
    }

    fn write(&self, rendering: &mut Rendering<'_>, output: &mut Output) -> Result<(), RenderError> {
        match self {
            Self::Null => output.push("null"),
            Self::Bool(value) => output.push(if *value { "true" } else { "false" }),
            Self::Number(number) => output.push(&number.to_string()),
            Self::Text(text) => write_string(text, rendering, output),
            Self::Array(items) => {
                output.push("[")?;
                for (place, item) in items.iter().enumerate() {
                    output.push(if place > 0 { "," } else { "" })?;
                    item.write(rendering, output)?;
                }
                output.push("]")
            }
            Self::Object(members) => {
                output.push("{")?;
                for (place, (name, node)) in members.iter().enumerate() {
                    output.push(if place > 0 { "," } else { "" })?;
                    output.push_json_string(name)?;
                    output.push(":")?;
                    node.write(rendering, output)?;
                }
                output.push("}")
            }
        }
    }
}

fn write_string(
    text: &TextTemplate,
    rendering: &mut Rendering<'_>,
    output: &mut Output,
) -> Result<(), RenderError> {
    if let Some(field) = text.alone() {
        return write_json(&field.value(rendering)?, output);
    }
    if !text.has_fields() {
        return output.push_json_string(text.as_str());
    }
    let mut filled = Output::default();
    text.write(rendering, &mut filled)?;
    output.push_json_string(filled.text_from(0))
}

impl Serialize for JsonTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.root.serialize(serializer)
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text.as_str()),
            Self::Array(items) => {
                let mut array = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| array.serialize_element(item))?;
                array.end()
            }
            Self::Object(members) => {
                let mut object = serializer.serialize_map(Some(members.len()))?;
                members
                    .iter()
                    .try_for_each(|(name, node)| object.serialize_entry(&**name, node))?;
                object.end()
            }
        }
    }
}

/// Keeps the bounds while a body is read, and where in it the reader is.
#[derive(Debug, Default)]
pub(super) struct Builder {
    place: Vec<String>,
    bytes: usize,
    values: usize,
    fault: Option<TemplateError>,
}

/// The names that an object has so far.
pub(super) type Names = HashSet<Box<str>>;

impl Builder {
    /// What is wrong, be it with the templates or with the JSON.
    pub(super) fn fault(self, error: &serde_json::Error) -> TemplateError {
        self.fault.unwrap_or_else(|| TemplateError::Form(error.to_string()))
    }

    pub(super) fn names(&self) -> Names {
        Names::new()
    }

    /// Goes on in the member of that name, the first one.
    pub(super) fn enter<E: Error>(&mut self, name: &str, names: &mut Names) -> Result<(), E> {
        if name.contains("{{") {
            return Err(self.refuse(TemplateError::FieldInName { name: name.to_owned() }));
        }
        if !names.insert(name.into()) {
            return Err(self.refuse(TemplateError::Twice { name: name.to_owned() }));
        }
        self.count(name)?;
        self.place.push(name.replace('~', "~0").replace('/', "~1"));
        self.deepen()
    }

    fn enter_item<E: Error>(&mut self, place: usize) -> Result<(), E> {
        self.place.push(place.to_string());
        self.deepen()
    }

    fn deepen<E: Error>(&mut self) -> Result<(), E> {
        self.values += 1;
        if self.place.len() > JSON_DEPTH_MAX {
            return Err(self.refuse(TemplateError::TooDeep));
        }
        if self.values > JSON_VALUES_MAX {
            return Err(self.refuse(TemplateError::TooManyValues));
        }
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.place.pop();
    }

    /// The template that stands here.
    pub(super) fn text<E: Error>(&mut self, source: &str) -> Result<TextTemplate, E> {
        self.count(source)?;
        source.parse().map_err(|fault| self.refuse(fault))
    }

    fn count<E: Error>(&mut self, text: &str) -> Result<(), E> {
        self.bytes += text.len();
        if self.bytes > BODY_BYTES_MAX {
            return Err(self.refuse(TemplateError::BodyTooLong));
        }
        Ok(())
    }

    fn refuse<E: Error>(&mut self, fault: TemplateError) -> E {
        let place: String = self.place.iter().map(|token| format!("/{token}")).collect();
        let fault = if place.is_empty() { fault } else { fault.within(place) };
        let error = E::custom(&fault);
        self.fault = Some(fault);
        error
    }
}

pub(super) struct JsonSeed<'builder>(pub(super) &'builder mut Builder);

impl<'de> DeserializeSeed<'de> for JsonSeed<'_> {
    type Value = JsonTemplate;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<JsonTemplate, D::Error> {
        NodeSeed(self.0).deserialize(json).map(|root| JsonTemplate { root })
    }
}

struct NodeSeed<'builder>(&'builder mut Builder);

impl<'de> DeserializeSeed<'de> for NodeSeed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, node: D) -> Result<Node, D::Error> {
        node.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeSeed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number is infinite"))?;
        Ok(Node::Number(number))
    }

    fn visit_str<E: Error>(self, source: &str) -> Result<Node, E> {
        self.0.text(source).map(Node::Text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        loop {
            self.0.enter_item(items.len())?;
            let Some(item) = elements.next_element_seed(NodeSeed(self.0))? else { break };
            items.push(item);
            self.0.leave();
        }
        self.0.leave();
        Ok(Node::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        let mut names = self.0.names();
        while let Some(name) = entries.next_key::<Box<str>>()? {
            self.0.enter(&name, &mut names)?;
            members.push((name, entries.next_value_seed(NodeSeed(self.0))?));
            self.0.leave();
        }
        Ok(Node::Object(members))
    }
}
