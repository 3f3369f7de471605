//! The body is one well-formed JSON object in UTF-8 (RFC 8259), found out in place: nothing is
//! built, nothing is changed, and nesting takes no stack.
//!
//! Duplicate names, any spelling of a number, `\u0000` and escapes of lone surrogates are
//! well-formed. A byte order mark is not (RFC 8259 §8.1).

use serde::de::IgnoredAny;

use crate::ingest::Refusal;
use crate::ingest::refusal::Expected;

pub(in crate::ingest) fn check(body: &[u8]) -> Result<&str, Refusal> {
    let text = std::str::from_utf8(body)
        .map_err(|fault| malformed(Expected::Utf8, position(&body[..fault.valid_up_to()])))?;
    let begin = body.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
    serde_json::from_str::<IgnoredAny>(text)
        .map_err(|fault| malformed(Expected::Json, (fault.line(), fault.column().max(1))))?;
    if body[begin] == b'{' {
        Ok(text)
    } else {
        let (line, column) = position(&body[..begin]);
        Err(Refusal::NotAnObject { line, column })
    }
}

fn malformed(expected: Expected, (line, column): (usize, usize)) -> Refusal {
    Refusal::InvalidJson { expected, line, column }
}

/// The line and column of what follows these bytes, from 1.
fn position(before: &[u8]) -> (usize, usize) {
    let line_begin = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |place| place + 1);
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    (line, before.len() - line_begin + 1)
}
