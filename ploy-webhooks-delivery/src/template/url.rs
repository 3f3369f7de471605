//! [`UrlTemplate`]: a URL with merge fields in its path and its query.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::LINE_BYTES_MAX;
use super::TEXT_BYTES_MAX;
use super::error::{RenderError, TemplateError};
use super::expression::{Field, Rendering};
use super::output::{Output, write_text};
use super::scan::{Piece, pieces};
use super::scope::Merge;

/// A URL with merge fields in its path and its query: [what they may say](super).
///
/// What a field says is percent-encoded but for the unreserved characters (RFC 3986 §2.3), so it
/// is always a part of the segment or parameter that it stands in. A segment that a field would make
/// empty, `.` or `..` is refused.
///
/// `Debug` shows scheme, host and port alone: there may be secrets in the rest.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UrlTemplate(Arc<Form>);

/// The URL that is a template, taken apart.
struct Form {
    source: Box<str>,
    /// With a text in the place of every field.
    example: Url,
    /// Scheme, host and port.
    origin: Box<str>,
    /// The segments of the path, each without the slash before it.
    segments: Vec<Vec<Part>>,
    query: Option<Vec<Part>>,
}

enum Part {
    Literal(Box<str>),
    Field(Field),
}

impl UrlTemplate {
    /// The URL, as it was set.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.source
    }

    /// Scheme, host and port, which are the same whatever is filled in: what may be shown of it.
    #[must_use]
    pub fn origin(&self) -> String {
        self.0.example.origin().ascii_serialization()
    }

    /// Whether there are merge fields in it.
    #[must_use]
    pub fn has_fields(&self) -> bool {
        let is_field = |part: &Part| matches!(part, Part::Field(_));
        self.0.segments.iter().chain(&self.0.query).flatten().any(is_field)
    }

    /// The URL, filled in.
    ///
    /// # Errors
    ///
    /// Where fields are missing, have no value or would change the form of the path, or it is too
    /// long.
    pub fn render(&self, merge: &Merge) -> Result<Url, RenderError> {
        if !self.has_fields() {
            return Ok(self.0.example.clone());
        }
        let mut rendering = Rendering::of(&merge.scope);
        let mut output = Output::of_at_most(LINE_BYTES_MAX);
        output.push(&self.0.origin)?;
        for segment in &self.0.segments {
            output.push("/")?;
            write_segment(segment, &mut rendering, &mut output)?;
        }
        if let Some(query) = &self.0.query {
            output.push("?")?;
            for part in query {
                part.write(&mut rendering, &mut output)?;
            }
        }
        // What is missing is said before the hole that it leaves.
        let text = rendering.finish(output.into_text())?;
        let url = Url::parse(&text).map_err(|_| RenderError::UrlForm)?;
        if self.0.is_form_of(&url) { Ok(url) } else { Err(RenderError::UrlForm) }
    }
}

impl Part {
    fn write(&self, rendering: &mut Rendering<'_>, output: &mut Output) -> Result<(), RenderError> {
        match self {
            Self::Literal(text) => output.push(text),
            Self::Field(field) => {
                let mut value = Output::of_at_most(LINE_BYTES_MAX);
                write_text(&field.value(rendering)?, &mut value)?;
                push_encoded(value.text_from(0), output)
            }
        }
    }
}

fn write_segment(
    segment: &[Part],
    rendering: &mut Rendering<'_>,
    output: &mut Output,
) -> Result<(), RenderError> {
    let start = output.len();
    let mut last = None;
    for part in segment {
        part.write(rendering, output)?;
        if let Part::Field(field) = part {
            last = Some(field);
        }
    }
    match last {
        Some(field) if !rendering.has_missed() && leads_elsewhere(output.text_from(start)) => {
            Err(RenderError::UrlSegment { written: field.written().to_owned() })
        }
        _ => Ok(()),
    }
}

/// Whether a segment is empty, `.` or `..`, be it encoded.
fn leads_elsewhere(segment: &str) -> bool {
    segment.is_empty() || is_dots(segment)
}

fn is_dots(segment: &str) -> bool {
    // `%2e%2e` is the longest spelling.
    segment.len() <= 6 && matches!(&*segment.to_ascii_lowercase().replace("%2e", "."), "." | "..")
}

fn push_encoded(value: &str, output: &mut Output) -> Result<(), RenderError> {
    let is_unreserved =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    value.bytes().try_for_each(|byte| {
        if is_unreserved(byte) {
            output.push(char::from(byte).encode_utf8(&mut [0; 4]))
        } else {
            output.push(&format!("%{byte:02X}"))
        }
    })
}

impl Form {
    fn of(source: &str) -> Result<Self, TemplateError> {
        if source.len() > TEXT_BYTES_MAX {
            return Err(TemplateError::TextTooLong);
        }
        let pieces = pieces(source)?;
        let example = example(&pieces)?;
        let mut form = Self {
            source: source.into(),
            example,
            origin: "".into(),
            segments: Vec::new(),
            query: None,
        };
        let mut pieces = pieces.into_iter();
        match pieces.next() {
            Some(Piece::Literal(first)) => form.begin(first)?,
            Some(Piece::Field(_)) => return Err(TemplateError::UrlOrigin),
            None => return Err(TemplateError::UrlForm),
        }
        for piece in pieces {
            form.add(piece)?;
        }
        form.refuse_dots()?;
        Ok(form)
    }

    /// Takes the origin off the first literal, which has to have all of it.
    fn begin(&mut self, first: &str) -> Result<(), TemplateError> {
        let authority = first.find("://").ok_or(TemplateError::UrlForm)? + "://".len();
        let end = first[authority..].find(['/', '?']).map(|found| authority + found);
        let is_whole = first.len() == self.source.len();
        let Some(end) = end.or(is_whole.then_some(first.len())) else {
            return Err(TemplateError::UrlOrigin);
        };
        self.origin = first[..end].into();
        // Parsers forgive `https:///`, and take the first segment for the host.
        let origin = Url::parse(&self.origin).map_err(|_| TemplateError::UrlOrigin)?;
        if origin.origin() != self.example.origin() {
            return Err(TemplateError::UrlOrigin);
        }
        if first[end..].starts_with('?') {
            // The path of a URL is never empty.
            self.segments.push(Vec::new());
        }
        self.add(Piece::Literal(&first[end..]))
    }

    fn add(&mut self, piece: Piece<'_>) -> Result<(), TemplateError> {
        match piece {
            Piece::Literal(text) => self.add_literal(text),
            Piece::Field(scanned) => {
                let field = Field::compile(scanned)?;
                self.last_part().push(Part::Field(field));
            }
        }
        Ok(())
    }

    fn add_literal(&mut self, text: &str) {
        if self.query.is_some() {
            self.last_part().push(Part::Literal(text.into()));
            return;
        }
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (text, None),
        };
        for (place, segment) in path.split('/').enumerate() {
            if place > 0 {
                self.segments.push(Vec::new());
            }
            if !segment.is_empty() {
                self.last_part().push(Part::Literal(segment.into()));
            }
        }
        if let Some(query) = query {
            self.query = Some(vec![Part::Literal(query.into())]);
        }
    }

    /// Where the next part goes.
    fn last_part(&mut self) -> &mut Vec<Part> {
        match &mut self.query {
            Some(query) => query,
            None => self.segments.last_mut().expect("the path begins with the origin's end"),
        }
    }

    fn refuse_dots(&self) -> Result<(), TemplateError> {
        let are_dots =
            |segment: &Vec<Part>| matches!(&segment[..], [Part::Literal(text)] if is_dots(text));
        let has_dots = self.segments.iter().any(are_dots);
        if has_dots { Err(TemplateError::UrlDots) } else { Ok(()) }
    }

    /// Whether a URL differs from the template in what is filled in alone.
    fn is_form_of(&self, url: &Url) -> bool {
        let segments = |url: &Url| url.path_segments().map(Iterator::count);
        let pairs = |url: &Url| url.query().map(|query| query.split('&').count());
        url.origin() == self.example.origin()
            && segments(url) == segments(&self.example)
            && pairs(url) == pairs(&self.example)
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    }
}

/// The URL with a text in the place of every field.
fn example(pieces: &[Piece<'_>]) -> Result<Url, TemplateError> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => {
                check(literal)?;
                text.push_str(literal);
            }
            Piece::Field(_) => text.push('x'),
        }
    }
    let url = Url::parse(&text).map_err(|_| TemplateError::UrlForm)?;
    let scheme = text.split("://").next().unwrap_or_default();
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(TemplateError::UrlForm);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(TemplateError::UrlCredentials);
    }
    Ok(url)
}

/// Refuses what a parser of URLs drops or takes for something else.
fn check(literal: &str) -> Result<(), TemplateError> {
    if literal.contains('#') {
        return Err(TemplateError::UrlFragment);
    }
    if literal.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err(TemplateError::UrlCharacter);
    }
    Ok(())
}

impl FromStr for UrlTemplate {
    type Err = TemplateError;

    fn from_str(source: &str) -> Result<Self, TemplateError> {
        Form::of(source).map(|form| Self(Arc::new(form)))
    }
}

impl TryFrom<String> for UrlTemplate {
    type Error = TemplateError;

    fn try_from(source: String) -> Result<Self, TemplateError> {
        source.parse()
    }
}

impl From<UrlTemplate> for String {
    fn from(template: UrlTemplate) -> Self {
        template.as_str().to_owned()
    }
}

impl PartialEq for UrlTemplate {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for UrlTemplate {}

impl fmt::Debug for UrlTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UrlTemplate").field("origin", &self.origin()).finish_non_exhaustive()
    }
}
