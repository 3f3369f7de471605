//! The filters and tests of expressions. Each pays for what it makes.

use std::borrow::Cow;

use jiff::Timestamp;
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, State, Value};
use thiserror::Error as ThisError;

use super::expression::Lookup;
use super::output::{Output, is_null, write_json, write_text};
use super::tree::Null;

/// What is wrong with a value, in words that hold none of it.
#[derive(Clone, Copy, Debug, ThisError)]
#[error("{0}")]
pub(super) struct Fault(pub(super) &'static str);

type Filtered = Result<Value, Error>;

pub(super) fn add_to(engine: &mut Environment<'static>) {
    engine
        .add_filter("capitalize", |state: &State, value: Value| by_text(state, &value, capitalize));
    engine.add_filter("date", date);
    engine.add_filter("default", default);
    engine.add_filter("first", |state: &State, value: Value| end(state, &value, End::First));
    engine.add_filter("float", float);
    engine.add_filter("int", int);
    engine.add_filter("join", join);
    engine.add_filter("last", |state: &State, value: Value| end(state, &value, End::Last));
    engine.add_filter("length", length);
    engine.add_filter("lower", |state: &State, value: Value| {
        by_text(state, &value, |text| text.to_lowercase())
    });
    engine.add_filter("round", round);
    engine
        .add_filter("string", |state: &State, value: Value| by_text(state, &value, str::to_owned));
    engine.add_filter("title", |state: &State, value: Value| by_text(state, &value, title));
    engine.add_filter("tojson", to_json);
    engine.add_filter("trim", |state: &State, value: Value| {
        by_text(state, &value, |text| text.trim().to_owned())
    });
    engine.add_filter("upper", |state: &State, value: Value| {
        by_text(state, &value, |text| text.to_uppercase())
    });
    add_tests(engine);
}

fn add_tests(engine: &mut Environment<'static>) {
    engine.add_test("defined", |value: Value| !is_missing(&value));
    engine.add_test("undefined", |value: Value| is_missing(&value));
    engine.add_test("none", |value: Value| is_null(&value));
    engine.add_test("boolean", |value: Value| value.kind() == ValueKind::Bool);
    engine.add_test("number", |value: Value| value.is_number());
    engine.add_test("string", |value: Value| value.as_str().is_some());
    engine.add_test("mapping", |value: Value| value.kind() == ValueKind::Map);
    engine.add_test("sequence", |value: Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
    });
}

fn is_missing(value: &Value) -> bool {
    value.is_undefined() || value.downcast_object_ref() == Some(&Null::Missing)
}

fn default(value: Value, stand_in: Option<Value>, also_for_nothing: Option<bool>) -> Value {
    if is_missing(&value) || (also_for_nothing == Some(true) && !value.is_true()) {
        stand_in.unwrap_or_else(|| Value::from(""))
    } else {
        value
    }
}

fn by_text(state: &State, value: &Value, change: impl Fn(&str) -> String) -> Filtered {
    let text = text_of(value)?;
    pay(state, text.len())?;
    made(state, change(&text))
}

fn capitalize(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(characters.as_str().chars().flat_map(char::to_lowercase)).collect()
}

fn title(text: &str) -> String {
    let mut is_inside = false;
    let mut titled = String::with_capacity(text.len());
    for c in text.chars() {
        if is_inside {
            titled.extend(c.to_lowercase());
        } else {
            titled.extend(c.to_uppercase());
        }
        is_inside = c.is_alphanumeric() || c == '\'' || c == '’';
    }
    titled
}

fn date(state: &State, value: Value, format: Value) -> Filtered {
    const FORMAT_BYTES_MAX: usize = 64;
    let text = text_of(&value)?;
    let format = text_of(&format)?;
    if format.len() > FORMAT_BYTES_MAX {
        return Err(fault("the format of a date has at most 64 bytes"));
    }
    let time = match text.parse::<Timestamp>() {
        Ok(time) => time,
        Err(_) => text
            .parse::<jiff::civil::Date>()
            .and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC))
            .map_err(|_| fault("it is no date: RFC 3339 is expected"))?
            .timestamp(),
    };
    let date = jiff::fmt::strtime::format(&*format, time)
        .map_err(|_| fault("the format of the date is none of strftime's"))?;
    made(state, date)
}

#[derive(Clone, Copy)]
enum End {
    First,
    Last,
}

/// The first or last item, or character. Nothing of what is empty.
fn end(state: &State, value: &Value, end: End) -> Filtered {
    if let Some(text) = value.as_str() {
        let character = match end {
            End::First => text.chars().next(),
            End::Last => text.chars().next_back(),
        };
        return Ok(character.map_or(Value::UNDEFINED, Value::from));
    }
    let length = list_length(value)?;
    pay(state, length)?;
    let place = match end {
        End::First => 0,
        End::Last => length.saturating_sub(1),
    };
    // What an expression makes of lists has items in a row alone.
    Ok(value.try_iter()?.nth(place).unwrap_or_default())
}

fn length(state: &State, value: Value) -> Filtered {
    if let Some(text) = value.as_str() {
        pay(state, text.len())?;
        return Ok(Value::from(text.chars().count()));
    }
    value.len().map(Value::from).ok_or_else(|| refused(&value, "it has no length"))
}

fn join(state: &State, value: Value, between: Option<Value>) -> Filtered {
    let between = between.as_ref().map_or(Ok(Cow::Borrowed("")), text_of)?;
    pay(state, list_length(&value)?)?;
    let mut joined = Output::default();
    for (place, item) in value.try_iter()?.enumerate() {
        if place > 0 {
            joined.push(&between).map_err(|_| too_long())?;
        }
        write_text(&item, &mut joined).map_err(|_| too_long())?;
    }
    made(state, joined.into_text())
}

fn round(value: Value, digits: Option<i32>) -> Filtered {
    if value.is_integer() {
        return Ok(value);
    }
    let number = f64::try_from(value.clone()).map_err(|_| refused(&value, "it is no number"))?;
    let scale = 10_f64.powi(digits.unwrap_or(0).clamp(0, 15));
    let rounded = (number * scale).round() / scale;
    Ok(Value::from(if rounded.is_finite() { rounded } else { number }))
}

fn int(value: Value) -> Filtered {
    if value.is_integer() {
        return Ok(value);
    }
    if let ValueKind::Bool = value.kind() {
        return Ok(Value::from(i64::from(value.is_true())));
    }
    if let Some(number) = value.as_str().and_then(|text| text.trim().parse::<i64>().ok()) {
        return Ok(Value::from(number));
    }
    #[expect(clippy::cast_possible_truncation, reason = "that is what is asked for")]
    let whole = |number: f64| number.trunc() as i64;
    as_float(&value)
        .filter(|number| number.abs() < 1e18)
        .map(whole)
        .map(Value::from)
        .ok_or_else(|| refused(&value, "it is no number, or too large for one without a fraction"))
}

fn float(value: Value) -> Filtered {
    as_float(&value).map(Value::from).ok_or_else(|| refused(&value, "it is no number"))
}

fn as_float(value: &Value) -> Option<f64> {
    let number = match value.as_str() {
        Some(text) => text.trim().parse().ok()?,
        None => f64::try_from(value.clone()).ok()?,
    };
    number.is_finite().then_some(number)
}

fn to_json(state: &State, value: Value) -> Filtered {
    if value.is_undefined() {
        return Err(ErrorKind::UndefinedError.into());
    }
    let mut json = Output::default();
    write_json(&value, &mut json).map_err(|_| too_long())?;
    made(state, json.into_text())
}

/// A value as text, up to what a template may write.
fn text_of(value: &Value) -> Result<Cow<'_, str>, Error> {
    if value.is_undefined() {
        return Err(ErrorKind::UndefinedError.into());
    }
    if let Some(text) = value.as_str() {
        return Ok(Cow::Borrowed(text));
    }
    let mut text = Output::default();
    write_text(value, &mut text).map_err(|_| too_long())?;
    Ok(Cow::Owned(text.into_text()))
}

fn list_length(value: &Value) -> Result<usize, Error> {
    let is_list = matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable);
    value.len().filter(|_| is_list).ok_or_else(|| refused(value, "it is no list"))
}

fn made(state: &State, text: String) -> Filtered {
    pay(state, text.len())?;
    Ok(Value::from(text))
}

fn pay(state: &State, bytes: usize) -> Result<(), Error> {
    let is_paid = Lookup::of(state).is_some_and(|lookup| lookup.pay(bytes));
    if is_paid { Ok(()) } else { Err(ErrorKind::OutOfFuel.into()) }
}

fn refused(value: &Value, message: &'static str) -> Error {
    if value.is_undefined() { ErrorKind::UndefinedError.into() } else { fault(message) }
}

fn too_long() -> Error {
    fault("a text in it has more than a MiB")
}

fn fault(message: &'static str) -> Error {
    Error::from(ErrorKind::InvalidOperation).with_source(Fault(message))
}
