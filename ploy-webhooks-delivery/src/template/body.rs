//! [`BodyTemplate`]: the body of a request, with merge fields.

use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::error::{RenderError, TemplateError};
use super::form::{FormSeed, FormTemplate};
use super::json::{Builder, JsonSeed, JsonTemplate};
use super::scope::Merge;

/// The body of a request, with merge fields: [what they may say](super).
///
/// In JSON it is `{"json": …}`, with any JSON in it, or `{"form": {"name": "text", …}}`. Members
/// keep the order in which they are written, where the format that it is read from keeps it: read it
/// from text, not from a `serde_json::Value`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum BodyTemplate {
    /// `application/json`.
    Json(JsonTemplate),
    /// `application/x-www-form-urlencoded`.
    Form(FormTemplate),
}

impl BodyTemplate {
    /// The template that a JSON text describes.
    ///
    /// # Errors
    ///
    /// Where the text is no such JSON, or a text in it no template.
    pub fn parse(json: &str) -> Result<Self, TemplateError> {
        let mut builder = Builder::default();
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let body = BodySeed(&mut builder).deserialize(&mut deserializer);
        let body = body.and_then(|body| deserializer.end().map(|()| body));
        body.map_err(|error| builder.fault(&error))
    }

    /// Whether there are merge fields in it.
    #[must_use]
    pub fn has_fields(&self) -> bool {
        match self {
            Self::Json(json) => json.has_fields(),
            Self::Form(form) => form.has_fields(),
        }
    }

    /// The body, filled in, and its content type.
    ///
    /// # Errors
    ///
    /// Where fields are missing or have no value, or it is too long.
    pub fn render(&self, merge: &Merge) -> Result<(Bytes, &'static str), RenderError> {
        match self {
            Self::Json(json) => Ok((json.render(merge)?, "application/json")),
            Self::Form(form) => Ok((form.render(merge)?, "application/x-www-form-urlencoded")),
        }
    }
}

impl Serialize for BodyTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut body = serializer.serialize_map(Some(1))?;
        match self {
            Self::Json(json) => body.serialize_entry("json", json)?,
            Self::Form(form) => body.serialize_entry("form", form)?,
        }
        body.end()
    }
}

impl<'de> Deserialize<'de> for BodyTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BodySeed(&mut Builder::default()).deserialize(deserializer)
    }
}

struct BodySeed<'builder>(&'builder mut Builder);

impl<'de> DeserializeSeed<'de> for BodySeed<'_> {
    type Value = BodyTemplate;

    fn deserialize<D: Deserializer<'de>>(self, body: D) -> Result<BodyTemplate, D::Error> {
        body.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for BodySeed<'_> {
    type Value = BodyTemplate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with either `json` or `form`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<BodyTemplate, A::Error> {
        let kind: Option<String> = members.next_key()?;
        let body = match kind.as_deref() {
            Some("json") => BodyTemplate::Json(members.next_value_seed(JsonSeed(self.0))?),
            Some("form") => BodyTemplate::Form(members.next_value_seed(FormSeed(self.0))?),
            _ => return Err(A::Error::custom("expected an object with either `json` or `form`")),
        };
        if members.next_key::<String>()?.is_some() {
            return Err(A::Error::custom("a body is either `json` or `form`, and nothing else"));
        }
        Ok(body)
    }
}
