//! [`HeaderTemplate`]: the value of a header, with merge fields.

use std::str::FromStr;

use reqwest::header::HeaderValue;
use serde::{Deserialize, Serialize};

use super::LINE_BYTES_MAX;
use super::error::{RenderError, TemplateError};
use super::expression::Rendering;
use super::output::{Output, write_text};
use super::scope::Merge;
use super::text::{Part, TextTemplate};

/// The value of a header, with merge fields: [what it may say](super).
///
/// What is sent has visible ASCII characters, blanks and tabs. RFC 9110 §5.5 gives all other
/// characters no meaning that receivers agree on, so a value that has them is refused, not turned
/// into something else. `Debug` does not show it: there may be secrets beside the fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HeaderTemplate(TextTemplate);

impl HeaderTemplate {
    /// The value, as it was set.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether there are merge fields in it.
    #[must_use]
    pub fn has_fields(&self) -> bool {
        self.0.has_fields()
    }

    /// The value, filled in.
    ///
    /// # Errors
    ///
    /// Where fields are missing, have no value or one that no header may have, or it is too long.
    pub fn render(&self, merge: &Merge) -> Result<HeaderValue, RenderError> {
        let mut rendering = Rendering::of(&merge.scope);
        let mut output = Output::of_at_most(LINE_BYTES_MAX);
        for part in self.0.parts() {
            match part {
                Part::Literal(text) => output.push(text)?,
                Part::Field(field) => {
                    let start = output.len();
                    write_text(&field.value(&mut rendering)?, &mut output)?;
                    if !is_header_text(output.text_from(start)) {
                        let written = field.written().to_owned();
                        return Err(RenderError::HeaderCharacter { written });
                    }
                }
            }
        }
        let value = HeaderValue::from_maybe_shared(bytes::Bytes::from(output.into_bytes()));
        rendering.finish(value.expect("every part has characters of headers alone"))
    }
}

fn is_header_text(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
}

impl FromStr for HeaderTemplate {
    type Err = TemplateError;

    fn from_str(source: &str) -> Result<Self, TemplateError> {
        let text: TextTemplate = source.parse()?;
        let is_header = text.parts().iter().all(|part| match part {
            Part::Literal(text) => is_header_text(text),
            Part::Field(_) => true,
        });
        if is_header { Ok(Self(text)) } else { Err(TemplateError::HeaderCharacter) }
    }
}

impl TryFrom<String> for HeaderTemplate {
    type Error = TemplateError;

    fn try_from(source: String) -> Result<Self, TemplateError> {
        source.parse()
    }
}

impl From<HeaderTemplate> for String {
    fn from(template: HeaderTemplate) -> Self {
        template.0.into()
    }
}
