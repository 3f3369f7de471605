//! What is wrong with a template, and what an event lacks to fill it in.

use thiserror::Error;

use super::{
    BODY_BYTES_MAX, EXPRESSION_BYTES_MAX, EXPRESSION_FIELDS_MAX, JSON_DEPTH_MAX, JSON_VALUES_MAX,
    TEXT_BYTES_MAX,
};

/// What is wrong with a template, for who sets it. Characters are counted from 1.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateError {
    /// A text is too long.
    #[error("a text with merge fields has at most {TEXT_BYTES_MAX} bytes")]
    TextTooLong,
    /// A field has no end.
    #[error("the `{{{{` at character {at} has no `}}}}` after it")]
    Unclosed {
        /// Where it begins.
        at: usize,
    },
    /// Jinja has more than expressions; templates here do not.
    #[error(
        "`{written}` at character {at}: there are no statements, comments or blank control, only \
         `{{{{ … }}}}`; to have it in the text, write `{{{{ \"{written}\" }}}}`"
    )]
    NotAField {
        /// Where it is.
        at: usize,
        /// What is there.
        written: &'static str,
    },
    /// An expression is none.
    #[error("`{{{{{written}}}}}` at character {at} is no expression: {fault}")]
    Syntax {
        /// Where the field begins.
        at: usize,
        /// What stands in it, or how that begins.
        written: String,
        /// What is wrong with it.
        fault: String,
    },
    /// An expression is too long.
    #[error("the expression at character {at} has more than {EXPRESSION_BYTES_MAX} bytes")]
    ExpressionTooLong {
        /// Where its field begins.
        at: usize,
    },
    /// An expression reads too many fields.
    #[error("the expression at character {at} reads more than {EXPRESSION_FIELDS_MAX} fields")]
    TooManyFields {
        /// Where its field begins.
        at: usize,
    },
    /// There is no such filter.
    #[error("no filter is called `{name}` (character {at})")]
    UnknownFilter {
        /// Where it is named.
        at: usize,
        /// What it is called.
        name: String,
    },
    /// There is no such test.
    #[error("no test is called `{name}` (character {at})")]
    UnknownTest {
        /// Where it is named.
        at: usize,
        /// What it is called.
        name: String,
    },
    /// Something is called.
    #[error("`{name}(…)` at character {at}: there are no functions and no methods, only filters")]
    Call {
        /// Where it is named.
        at: usize,
        /// What is called.
        name: String,
    },
    /// `*` and `**` would make texts longer than anything.
    #[error("`*` at character {at}: there is no multiplication in templates")]
    Multiplication {
        /// Where it is.
        at: usize,
    },
    /// An event and a delivery have no such member.
    #[error("there is no `{name}` (character {at}): there are {known}")]
    UnknownName {
        /// Where it is named.
        at: usize,
        /// What is written there.
        name: String,
        /// What there is.
        known: &'static str,
    },
    /// A URL is none.
    #[error("not an http or https URL")]
    UrlForm,
    /// A URL has credentials in it, which would be shown wherever the URL is.
    #[error("a URL with a user name or a password in it is not taken")]
    UrlCredentials,
    /// A field is where the receiver would depend on it.
    #[error(
        "merge fields are for the path and the query of a URL: scheme, host and port are written \
         out, with a `/` or a `?` after them"
    )]
    UrlOrigin,
    /// A fragment is not sent, so it is a mistake.
    #[error("a URL that is sent to has no fragment: write `%23` for `#`")]
    UrlFragment,
    /// A URL has what browsers drop or turn into something else.
    #[error("a URL has no blanks, control characters or backslashes: write them with `%`")]
    UrlCharacter,
    /// Where a URL leads must be plain to see.
    #[error("a URL with merge fields has no segments `.` and `..`")]
    UrlDots,
    /// A header has what none may have.
    #[error("a header has visible ASCII characters, blanks and tabs only")]
    HeaderCharacter,
    /// A body is no JSON, or not of the form that a body has.
    #[error("not a template of a body: {0}")]
    Form(String),
    /// An object of a body has a name twice.
    #[error("the name {name:?} is there twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// The name of a member is the same for all events.
    #[error("there are no merge fields in names: {name:?} has one")]
    FieldInName {
        /// The name.
        name: String,
    },
    /// A body is too long.
    #[error("the names and strings of a body's template have at most {BODY_BYTES_MAX} bytes")]
    BodyTooLong,
    /// A body is too deep.
    #[error("objects and arrays stand in each other {JSON_DEPTH_MAX} times at most")]
    TooDeep,
    /// A body has too many values.
    #[error("the template of a body has at most {JSON_VALUES_MAX} values")]
    TooManyValues,
    /// Something is wrong with a part of a body.
    #[error("at {place}: {fault}")]
    Within {
        /// Which one: a JSON Pointer.
        place: String,
        /// What is wrong with it.
        #[source]
        fault: Box<Self>,
    },
}

impl TemplateError {
    /// The same, in a part of a body.
    pub(super) fn within(self, place: impl Into<String>) -> Self {
        Self::Within { place: place.into(), fault: Box::new(self) }
    }
}

/// Why an event does not fill in a template. Another attempt goes the same way.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RenderError {
    /// The payload lacks fields, as the template writes them: 16 at most are named.
    #[error("the payload has no {}", list(names))]
    Missing {
        /// Which ones.
        names: Vec<String>,
    },
    /// The template has fields, and the payload is no JSON or nests too deeply.
    #[error("the template has merge fields, and the {what} cannot be read as JSON")]
    NotJson {
        /// What is not: `payload` or `fields`.
        what: &'static str,
    },
    /// An expression has no value.
    #[error("`{{{{{written}}}}}` has no value: {fault}")]
    Expression {
        /// The expression as written.
        written: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The expressions read and make more than they may.
    #[error("`{{{{{written}}}}}` is too much work: the values are too large for what it does")]
    TooMuchWork {
        /// The expression that went over the limit.
        written: String,
    },
    /// What comes out is too long.
    #[error("filled in, the template has more than {bytes_max} bytes")]
    TooLong {
        /// How many it may have.
        bytes_max: usize,
    },
    /// A segment of a URL would be empty, `.` or `..`, which leads elsewhere.
    #[error("`{{{{{written}}}}}` makes a segment of the URL empty, `.` or `..`")]
    UrlSegment {
        /// The field.
        written: String,
    },
    /// A URL would lead elsewhere than the template says. No payload is known that does this.
    #[error("filled in, the URL does not have the form of its template")]
    UrlForm,
    /// A header would have characters that none may have.
    #[error(
        "the value of `{{{{{written}}}}}` has characters that no header may have: only visible \
         ASCII, blanks and tabs are sent"
    )]
    HeaderCharacter {
        /// The field.
        written: String,
    },
}

fn list(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
