//! Templates: texts with merge fields, which an event fills in.
//!
//! A merge field is an expression between `{{` and `}}`: `{{ contact.email }}`,
//! `{{ first_name | default("there") }}`, `{{ 'hot' if score >= 90 else 'cold' }}`. There are four
//! kinds of template, by where the text goes: [`TextTemplate`], [`BodyTemplate`], [`UrlTemplate`]
//! and [`HeaderTemplate`]. Each is checked when it is set up, and filled in from a [`Merge`], once
//! for each attempt.
//!
//! # What fields see
//!
//! | name | what |
//! | --- | --- |
//! | `event` | `id`, `type`, `received_at` (RFC 3339), `endpoint_id`, `workspace_id` |
//! | `delivery` | `id`, `attempt` |
//! | `fields` | what the endpoint names in its payloads |
//! | `payload` | all of the payload |
//! | any other | that member of the payload |
//!
//! So `{{ contact.email }}` is `{{ payload.contact.email }}`, and a member that is called `event`
//! is `{{ payload.event }}`. Members follow with a dot, items with a number (`items[0]`,
//! `items[-1]`), and names that are no words in quotes: `{{ payload["Work-Email"] }}`. Words with
//! blanks between them are the member of that name, `{{ Work Email }}`, unless one of them is `if`,
//! `else`, `and`, `or`, `not`, `in` or `is`: that is an expression.
//!
//! Of a name that occurs twice in an object the last counts. Integers that fit into 64 bits are
//! exact. Other numbers are 64-bit floats, so they may come out rounded and in another spelling
//! (`1.10` as `1.1`, 2⁶⁴ as `1.8446744073709552e19`). What must stay as it is has to be text in the
//! payload.
//!
//! # What a field may say
//!
//! Expressions of Jinja, as [minijinja](https://docs.rs/minijinja) reads them, without `*`, `**`,
//! functions, methods and named arguments. There are no statements, so nothing is looped over,
//! defined or included.
//!
//! - filters: `capitalize`, `date(format)`, `default(value)`, `first`, `float`, `int`, `join(text)`,
//!   `last`, `length`, `lower`, `round(digits)`, `string`, `title`, `tojson`, `trim`, `upper`
//! - tests: `is defined`, `is undefined`, `is none`, `is boolean`, `is number`, `is string`,
//!   `is sequence`, `is mapping`
//!
//! `date` is by strftime and in UTC: `{{ event.received_at | date("%d.%m.%Y") }}`. To have `{{`,
//! `{%` or `{#` in the text, write it as a field: `{{ "{{" }}`.
//!
//! Values compare as in minijinja: a text is not equal to a number, and always greater. What comes
//! as a text is `{{ score | int >= 90 }}`.
//!
//! # What is not there
//!
//! [`Missing`] says what a field does that the payload does not have: fail, or be empty. A
//! `default(…)` or an `is defined` right after the field makes it optional either way. `null` is
//! there: it is JSON's `null` where a field is all of a JSON string, else an empty text;
//! `default("x", true)` stands in for it too.
//!
//! # What is safe to rely on
//!
//! What comes from a payload is data, wherever it goes: it adds no member to a JSON body, no field
//! to a form, no segment and no parameter to a URL, no line to a header, and it is never read as a
//! template. What would is written so that it does not, or refused.
//!
//! All is bounded. Without loops an expression takes fewer steps than it has characters
//! ([`EXPRESSION_BYTES_MAX`]), and the engine counts them. What grows is text: each byte that
//! a field reads or a filter makes is paid for, times the operators that may copy it, out of
//! [`WORK_BYTES_MAX`] for an attempt. What is written is bounded by [`OUTPUT_BYTES_MAX`]. Errors
//! name fields and places, never values.

mod body;
mod engine;
mod error;
mod expression;
mod filters;
mod form;
mod header;
mod json;
mod output;
mod path;
mod scan;
mod scope;
mod text;
mod tree;
mod url;
mod work;

pub use body::BodyTemplate;
pub use error::{RenderError, TemplateError};
pub use form::FormTemplate;
pub use header::HeaderTemplate;
pub use json::JsonTemplate;
pub use scope::{Merge, MergeParts, Missing};
pub use text::TextTemplate;
pub use url::UrlTemplate;

/// How many bytes a text with merge fields has at most: a URL, a header, a string in a body.
pub const TEXT_BYTES_MAX: usize = 8 << 10;

/// How many bytes all names and strings of a body's template have at most.
pub const BODY_BYTES_MAX: usize = 64 << 10;

/// How many values a JSON template has at most, objects and arrays among them.
pub const JSON_VALUES_MAX: usize = 4_096;

/// How deeply objects and arrays of a JSON template stand in each other at most.
pub const JSON_DEPTH_MAX: usize = 64;

/// How many bytes an expression has at most. It bounds how deep one nests, and its steps.
pub const EXPRESSION_BYTES_MAX: usize = 1 << 10;

/// How many fields an expression reads at most.
pub const EXPRESSION_FIELDS_MAX: usize = 32;

/// How many bytes a body or a text has at most, filled in.
pub const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// How many bytes a URL or a header has at most, filled in: about what servers take.
pub const LINE_BYTES_MAX: usize = 8 << 10;

/// How many bytes the expressions of an attempt read, copy and make at most, all together. A
/// field without operators and filters reads for nothing: only what is written counts for it.
pub const WORK_BYTES_MAX: usize = 16 << 20;
