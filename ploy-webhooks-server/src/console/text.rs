//! Text from outside, whose control characters are shown and do nothing.
//!
//! What a sender writes may turn the reading direction of what stands around it, or hide in it. Here
//! such a character is a sign of its own; markup is a matter of the templates, which escape.

use std::fmt;

use serde::Deserialize;

/// A text as it came. `Display` shows control characters as signs; templates escape what it shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct Text(String);

/// A part of a text that is shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Plain(&'a str),
    /// The sign of a control character.
    Control(String),
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Text {
    /// The text as it came: to be compared, to be sent, to stand in a field of a form.
    pub(super) fn raw(&self) -> &str {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text in pieces, for a template that sets signs apart.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        pieces(&self.0)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        pieces(&self.0).try_for_each(|piece| match piece {
            Piece::Plain(text) => f.write_str(text),
            Piece::Control(sign) => f.write_str(&sign),
        })
    }
}

/// The name of a state, which has a colour.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct State(Text);

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl State {
    pub(super) fn is(&self, name: &str) -> bool {
        self.0.raw() == name
    }

    pub(super) fn raw(&self) -> &str {
        self.0.raw()
    }

    /// The class of its colour.
    pub(super) fn tone(&self) -> &'static str {
        match self.0.raw() {
            "active" | "succeeded" | "enabled" => "good",
            "failed" | "disabled" => "bad",
            "running" | "retrying" | "retry" | "held" | "unverified" => "busy",
            _ => "quiet",
        }
    }
}

impl From<&str> for State {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

/// A text in pieces.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let end = match is_control(first) {
            true => first.len_utf8(),
            false => rest.find(is_control).unwrap_or(rest.len()),
        };
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(if is_control(first) { Piece::Control(sign(first)) } else { Piece::Plain(piece) })
    })
}

/// Whether a character does something to what stands around it, or cannot be seen. What joins
/// letters in scripts that are written so (U+200C, U+200D) is none.
pub(super) fn is_control(char: char) -> bool {
    match char {
        '\n' | '\t' => false,
        char if char.is_control() => true,
        '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}

/// The picture that Unicode has of it, or its number.
fn sign(char: char) -> String {
    match u32::from(char) {
        code @ 0..=0x1f => char::from_u32(0x2400 + code).unwrap_or('\u{fffd}').to_string(),
        0x7f => '\u{2421}'.to_string(),
        code => format!("U+{code:04X}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_signs_and_the_rest_is_as_it_came() {
        let shown = |text: &str| Text::from(text).to_string();
        assert_eq!(shown("a\u{1b}[31mb\0\r\nc\td"), "a␛[31mb␀␍\nc\td");
        assert_eq!(shown("x\u{202e}y\u{2066}\u{feff}"), "xU+202EyU+2066U+FEFF");
        assert_eq!(shown("é👩\u{200d}🔬 العربية"), "é👩\u{200d}🔬 العربية");
        let sign = Piece::Control("U+202E".to_owned());
        let pieces: Vec<_> = pieces("ab\u{202e}c").collect();
        assert_eq!(pieces, [Piece::Plain("ab"), sign, Piece::Plain("c")]);
    }
}
