//! Conditions: what must hold of an event, in CEL (<https://cel.dev>).
//!
//! A condition is written by whoever sets up a workspace and is judged on what any sender may
//! send: neither may cost more than its bound, and neither may bring the process down.
//!
//! # What a condition reads
//!
//! | variable | what it is |
//! | --- | --- |
//! | `payload` | the payload |
//! | `fields` | the fields that the endpoint names, nested: `fields.contact.email` |
//! | `event` | `id`, `type` and `endpoint` (texts; `null` where there is none), and `received_at` (milliseconds since 1970-01-01T00:00:00Z) |
//!
//! There are the operators of CEL, `has`, the macros `all`, `exists`, `exists_one`, `map` and
//! `filter`, and the functions `size`, `contains`, `startsWith`, `endsWith`, `int`, `uint`,
//! `double`, `string`, `bool` and `type`. There are no regexes, no times and no optionals.
//!
//! Numbers compare with numbers however they are written (`80 == 80.0`), and with nothing else.
//! Arithmetic is CEL's: between two whole numbers or between two that are not (`double(x) + 1.5`).
//! A whole number that no 64 bits hold is read as a fraction.
//!
//! # What is bounded, and why it holds
//!
//! - *The text*: 2,048 bytes, with brackets 12 deep. The parser descends for each bracket, and
//!   takes up to 260 KiB of stack for one in a build without optimisations (9 KiB with), and less
//!   for each link of a chain. It runs on a thread of its own, with twice the stack that the worst
//!   text within these bounds takes. The slowest takes it some 20 ms.
//! - *The expression*: 24 operations deep, what pays for work (below) included. Evaluation
//!   descends for each of them, on the stack of whoever asks: up to 40 KiB, 1 MiB in all (1.5 KiB
//!   and 36 KiB with optimisations).
//! - *The payload*: only the members that the condition names are read, 127 deep.
//! - *The work*: 2,000,000 steps, whatever the condition and the payload. A step is a value or 16
//!   bytes of text that is read, copied or looked through, or an operation in the body of a loop.
//!   Loops pay for all their rounds before the first of them, and what costs as much as its operand
//!   is large (`==`, `<`, `in`, `+`, lists, functions) pays for the operand before it begins; see
//!   `check`. So nothing that grows with the payload, however it is nested or doubled, gets further
//!   than what is left. The worst that is known takes 150 ms of a processor and 100 MiB of memory
//!   (measured with optimisations); what people write on payloads of a KiB takes microseconds.

use std::fmt;
use std::thread;

use cel::common::types::CelBool;
use cel::parser::Expression;
use cel::{Context, Value};
use thiserror::Error;

use crate::event::Event;
use crate::fields::Fields;

use self::check::{Checked, Reads};
use self::work::Work;

mod check;
mod reason;
mod tree;
mod work;

/// What must hold of an event. Compiled once, judged as often as there are events.
pub struct Condition {
    text: Box<str>,
    expression: Expression,
    reads: Reads,
}

/// What a condition is judged on.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "whoever judges a condition builds it from its parts"
)]
pub struct Facts<'event> {
    /// The event, with its payload.
    pub event: &'event Event,
    /// The fields that its endpoint names.
    pub fields: &'event Fields,
}

/// What came of judging a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
#[expect(clippy::exhaustive_enums, reason = "whoever judges a condition acts on each of these")]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It does not.
    Fails,
    /// It cannot be judged on this event, and so does not hold. The text says why, for whoever set
    /// the condition, and has nothing of the payload in it but names.
    Unclear(String),
}

impl Verdict {
    /// Whether the condition holds.
    #[must_use]
    pub const fn holds(&self) -> bool {
        matches!(self, Self::Holds)
    }
}

/// Where in a condition something is: both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The character in it.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// What is wrong with a condition, for who sets it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConditionError {
    /// The text is too long.
    #[error("a condition has at most 2048 bytes")]
    TooLong,
    /// Brackets, or choices (`a ? b : c`), stand too deep inside each other.
    #[error("{0}: brackets stand at most 12 deep inside each other, and choices 20")]
    TooNested(Place),
    /// Operations stand too deep inside each other.
    #[error("a condition is at most 24 operations deep: a chain such as `a + b + c` is two")]
    TooDeep,
    /// The text is not CEL.
    #[error("{place}: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser has against it.
        message: String,
    },
    /// A variable that there is not.
    #[error("{place}: there is no variable `{name}`, only `payload`, `fields` and `event`")]
    Variable {
        /// Where.
        place: Place,
        /// Its name.
        name: String,
    },
    /// A function that there is not, or not with that many arguments.
    #[error("{place}: there is no function `{name}` that is called like this")]
    Function {
        /// Where.
        place: Place,
        /// Its name.
        name: String,
    },
    /// A variable of a loop that would hide one that there is.
    #[error("{place}: the variable of a loop cannot be named `{name}`")]
    Hides {
        /// Where.
        place: Place,
        /// Its name.
        name: String,
    },
    /// A part of CEL that conditions do without.
    #[error("{place}: conditions have no {what}")]
    Unsupported {
        /// Where.
        place: Place,
        /// What it is.
        what: &'static str,
    },
    /// It cannot be read now: the operating system gives no thread for it.
    #[error("the condition cannot be read now: there is no thread for it")]
    NoThread,
}

impl Condition {
    /// How many bytes a condition has at most.
    pub const TEXT_BYTES_MAX: usize = 2_048;
    /// How deep brackets stand inside each other at most.
    pub const NESTING_MAX: usize = 12;
    /// How deep operations stand inside each other at most.
    pub const DEPTH_MAX: usize = 24;
    /// How many steps one judgement takes at most.
    pub const WORK_MAX: u32 = 2_000_000;

    /// Twice the stack that the parser needs, without optimisations, for brackets at their deepest
    /// and for the longest chain that a text has room for. Pages that are not used cost nothing.
    const PARSER_STACK: usize = 32 << 20;

    /// The condition with that text. Takes a third of a millisecond for most texts and 20 ms at worst,
    /// and a thread for as long.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and where.
    pub fn compile(text: &str) -> Result<Self, ConditionError> {
        if text.len() > Self::TEXT_BYTES_MAX {
            return Err(ConditionError::TooLong);
        }
        check::nesting(text)?;
        let Checked { expression, reads } = thread::scope(|scope| {
            let parser = thread::Builder::new().stack_size(Self::PARSER_STACK);
            let parser = parser.spawn_scoped(scope, || check::parse(text));
            let parsed = parser.map_err(|_| ConditionError::NoThread)?.join();
            // A parser that panics has met a text that it does not know how to refuse.
            parsed.unwrap_or_else(|_| {
                let message = "this cannot be read".to_owned();
                Err(ConditionError::Syntax { place: Place { line: 1, column: 1 }, message })
            })
        })?;
        Ok(Self { text: text.into(), expression, reads })
    }

    /// The text that it was compiled from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it holds of an event. Waits for nothing, but may compute for 150 ms where condition
    /// and payload are made for it: see the bound on the work.
    pub fn judge(&self, facts: &Facts<'_>) -> Verdict {
        let work = Work::new(Self::WORK_MAX);
        let verdict = self.evaluate(facts, &work);
        // A condition may go on after an error (`… || true`): what has cost too much is not taken
        // from it all the same.
        if work.is_exhausted() {
            return Verdict::Unclear("it takes too much work on this payload".to_owned());
        }
        match verdict {
            Ok(true) => Verdict::Holds,
            Ok(false) => Verdict::Fails,
            Err(reason) => Verdict::Unclear(reason),
        }
    }

    fn evaluate(&self, facts: &Facts<'_>, work: &Work) -> Result<bool, String> {
        // Values are dropped after the context that borrows them.
        let fields = if self.reads.fields { facts.fields.to_json() } else { String::new() };
        let mut context = Context::with_env(work::environment());
        work.register(&mut context);
        if self.reads.payload.is_some() {
            let payload = std::str::from_utf8(&facts.event.payload)
                .map_err(|_| "the payload is no text in UTF-8".to_owned())?;
            let payload = tree::read(payload, self.reads.payload.as_ref(), work)
                .map_err(|fault| format!("the payload cannot be read: {fault}"))?;
            context.add_variable_as_val("payload", payload);
        }
        if self.reads.fields {
            let fields = tree::read(&fields, None, work)
                .map_err(|fault| format!("the fields cannot be read: {fault}"))?;
            context.add_variable_as_val("fields", fields);
        }
        if self.reads.event {
            context.add_variable_as_val("event", tree::event(facts.event));
        }
        let value =
            Value::resolve_val(&self.expression, &context).map_err(|error| reason::of(&error))?;
        match value.downcast_ref::<CelBool>() {
            Some(holds) => Ok(*holds.inner()),
            None => Err(format!(
                "a condition is true or false, and this is {}",
                reason::kind(value.get_type().name())
            )),
        }
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.text).finish()
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
