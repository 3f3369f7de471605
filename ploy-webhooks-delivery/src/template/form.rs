//! [`FormTemplate`]: the body of a form, with merge fields.

use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};

use super::OUTPUT_BYTES_MAX;
use super::error::RenderError;
use super::expression::Rendering;
use super::json::Builder;
use super::output::Output;
use super::scope::Merge;
use super::text::TextTemplate;

/// The body of a form: names, each with a text with merge fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormTemplate {
    inputs: Vec<(Box<str>, TextTemplate)>,
}

impl FormTemplate {
    pub(super) fn has_fields(&self) -> bool {
        self.inputs.iter().any(|(_, text)| text.has_fields())
    }

    pub(super) fn render(&self, merge: &Merge) -> Result<Bytes, RenderError> {
        let mut rendering = Rendering::of(&merge.scope);
        let mut form = form_urlencoded::Serializer::new(String::new());
        let mut left = OUTPUT_BYTES_MAX;
        for (name, text) in &self.inputs {
            let mut value = Output::of_at_most(left);
            text.write(&mut rendering, &mut value).map_err(of_all)?;
            left -= value.len();
            form.append_pair(name, value.text_from(0));
        }
        let form = form.finish();
        if form.len() > OUTPUT_BYTES_MAX {
            return Err(RenderError::TooLong { bytes_max: OUTPUT_BYTES_MAX });
        }
        rendering.finish(form.into())
    }
}

/// The bound is that of the whole form, whatever was left of it for a value.
fn of_all(error: RenderError) -> RenderError {
    match error {
        RenderError::TooLong { .. } => RenderError::TooLong { bytes_max: OUTPUT_BYTES_MAX },
        error => error,
    }
}

impl Serialize for FormTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.inputs.iter().map(|(name, text)| (name, text)))
    }
}

pub(super) struct FormSeed<'builder>(pub(super) &'builder mut Builder);

impl<'de> DeserializeSeed<'de> for FormSeed<'_> {
    type Value = FormTemplate;

    fn deserialize<D: Deserializer<'de>>(self, form: D) -> Result<FormTemplate, D::Error> {
        form.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for FormSeed<'_> {
    type Value = FormTemplate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts: the names and values of a form")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<FormTemplate, A::Error> {
        let mut inputs: Vec<(Box<str>, TextTemplate)> = Vec::new();
        let mut names = self.0.names();
        while let Some(name) = members.next_key::<Box<str>>()? {
            self.0.enter(&name, &mut names)?;
            let source: String = members.next_value()?;
            inputs.push((name, self.0.text(&source)?));
            self.0.leave();
        }
        Ok(FormTemplate { inputs })
    }
}
