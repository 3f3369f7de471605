//! What is written of values, as text and as JSON, up to a bound.

use std::io;

use minijinja::Value;
use minijinja::value::{ValueIter, ValueKind};

use super::OUTPUT_BYTES_MAX;
use super::error::RenderError;
use super::tree::{Items, Members, Null};

/// A text that stops at a bound.
#[derive(Debug)]
pub(super) struct Output {
    text: Vec<u8>,
    bytes_max: usize,
}

impl Default for Output {
    fn default() -> Self {
        Self::of_at_most(OUTPUT_BYTES_MAX)
    }
}

impl Output {
    pub(super) const fn of_at_most(bytes_max: usize) -> Self {
        Self { text: Vec::new(), bytes_max }
    }

    pub(super) fn push(&mut self, text: &str) -> Result<(), RenderError> {
        if text.len() > self.bytes_max - self.text.len() {
            return Err(self.too_long());
        }
        self.text.extend_from_slice(text.as_bytes());
        Ok(())
    }

    /// Writes a text as a JSON string.
    pub(super) fn push_json_string(&mut self, text: &str) -> Result<(), RenderError> {
        serde_json::to_writer(&mut *self, text).map_err(|_| self.too_long())
    }

    pub(super) const fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn text_from(&self, start: usize) -> &str {
        std::str::from_utf8(&self.text[start..]).expect("texts alone are written, each in whole")
    }

    pub(super) fn into_text(self) -> String {
        String::from_utf8(self.text).expect("texts alone are written, each in whole")
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.text
    }

    const fn too_long(&self) -> RenderError {
        RenderError::TooLong { bytes_max: self.bytes_max }
    }
}

/// For serde_json, which writes texts alone.
impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.bytes_max - self.text.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a value as text: a text as it is, what is not there as nothing, all else as JSON.
pub(super) fn write_text(value: &Value, output: &mut Output) -> Result<(), RenderError> {
    match value.as_str() {
        Some(text) => output.push(text),
        None if is_null(value) => Ok(()),
        None => write_json(value, output),
    }
}

/// Writes a value as JSON, members in their order. What JSON has no number for (infinity) is null.
pub(super) fn write_json(value: &Value, output: &mut Output) -> Result<(), RenderError> {
    if let Some(text) = value.as_str() {
        return output.push_json_string(text);
    }
    if let Some(members) = value.downcast_object_ref::<Members>() {
        return write_members(members, output);
    }
    if let Some(items) = value.downcast_object_ref::<Items>() {
        return write_items(items.items().iter().cloned(), output);
    }
    match value.kind() {
        ValueKind::Bool => output.push(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => write_number(value, output),
        ValueKind::Seq | ValueKind::Iterable => write_items(iterate(value), output),
        ValueKind::Map => write_map(value, output),
        _ => output.push("null"),
    }
}

/// Whether it is JSON's null, or stands for what is not there.
pub(super) fn is_null(value: &Value) -> bool {
    value.is_none() || value.is_undefined() || value.downcast_object_ref::<Null>().is_some()
}

fn write_number(value: &Value, output: &mut Output) -> Result<(), RenderError> {
    if value.is_integer() {
        return output.push(&value.to_string());
    }
    let number = f64::try_from(value.clone()).unwrap_or(f64::NAN);
    serde_json::to_writer(&mut *output, &number).map_err(|_| output.too_long())
}

fn write_members(members: &Members, output: &mut Output) -> Result<(), RenderError> {
    output.push("{")?;
    for (place, (name, value)) in members.entries().iter().enumerate() {
        if place > 0 {
            output.push(",")?;
        }
        output.push_json_string(name)?;
        output.push(":")?;
        write_json(value, output)?;
    }
    output.push("}")
}

fn write_items(items: impl Iterator<Item = Value>, output: &mut Output) -> Result<(), RenderError> {
    output.push("[")?;
    for (place, item) in items.enumerate() {
        if place > 0 {
            output.push(",")?;
        }
        write_json(&item, output)?;
    }
    output.push("]")
}

/// An object that an expression makes.
fn write_map(map: &Value, output: &mut Output) -> Result<(), RenderError> {
    output.push("{")?;
    for (place, name) in iterate(map).enumerate() {
        if place > 0 {
            output.push(",")?;
        }
        let mut text = Output::default();
        write_text(&name, &mut text)?;
        output.push_json_string(text.text_from(0))?;
        output.push(":")?;
        write_json(&map.get_item(&name).unwrap_or_default(), output)?;
    }
    output.push("}")
}

fn iterate(value: &Value) -> impl Iterator<Item = Value> + use<> {
    value.try_iter().into_iter().flat_map(|values: ValueIter| values)
}
