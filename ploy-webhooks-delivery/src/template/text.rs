//! [`TextTemplate`]: a text with merge fields.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::TEXT_BYTES_MAX;
use super::error::{RenderError, TemplateError};
use super::expression::{Field, Rendering};
use super::output::{Output, write_text};
use super::scan::{Piece, pieces};
use super::scope::Merge;

/// A text with merge fields: [what it may say](super).
///
/// In JSON it is the text. `Debug` does not show it: there may be secrets beside the fields.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TextTemplate(Arc<Text>);

struct Text {
    source: Box<str>,
    parts: Vec<Part>,
}

/// A part of a text.
pub(super) enum Part {
    Literal(Box<str>),
    Field(Field),
}

impl TextTemplate {
    /// The text, as it was set.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.source
    }

    /// Whether there are merge fields in it.
    #[must_use]
    pub fn has_fields(&self) -> bool {
        self.0.parts.iter().any(|part| matches!(part, Part::Field(_)))
    }

    /// The text, filled in.
    ///
    /// # Errors
    ///
    /// Where fields are missing or have no value, or it is too long.
    pub fn render(&self, merge: &Merge) -> Result<String, RenderError> {
        let mut rendering = Rendering::of(&merge.scope);
        let mut output = Output::default();
        self.write(&mut rendering, &mut output)?;
        rendering.finish(output.into_text())
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.0.parts
    }

    /// The field that is all of the text.
    pub(super) fn alone(&self) -> Option<&Field> {
        match self.parts() {
            [Part::Field(field)] => Some(field),
            _ => None,
        }
    }

    pub(super) fn write(
        &self,
        rendering: &mut Rendering<'_>,
        output: &mut Output,
    ) -> Result<(), RenderError> {
        self.parts().iter().try_for_each(|part| match part {
            Part::Literal(text) => output.push(text),
            Part::Field(field) => write_text(&field.value(rendering)?, output),
        })
    }
}

impl FromStr for TextTemplate {
    type Err = TemplateError;

    fn from_str(source: &str) -> Result<Self, TemplateError> {
        if source.len() > TEXT_BYTES_MAX {
            return Err(TemplateError::TextTooLong);
        }
        let part = |piece| match piece {
            Piece::Literal(text) => Ok(Part::Literal(text.into())),
            Piece::Field(scanned) => Field::compile(scanned).map(Part::Field),
        };
        let parts = pieces(source)?.into_iter().map(part).collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Text { source: source.into(), parts })))
    }
}

impl TryFrom<String> for TextTemplate {
    type Error = TemplateError;

    fn try_from(source: String) -> Result<Self, TemplateError> {
        source.parse()
    }
}

impl From<TextTemplate> for String {
    fn from(template: TextTemplate) -> Self {
        template.as_str().to_owned()
    }
}

impl PartialEq for TextTemplate {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for TextTemplate {}

impl fmt::Debug for TextTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextTemplate")
            .field("bytes", &self.as_str().len())
            .field("parts", &self.parts().len())
            .finish()
    }
}
