//! What others said, as it is shown to people: harmless, and no more than it takes.

use std::error::Error;

/// The text with everything escaped by which its writer could steer a terminal or reorder what it
/// shows.
pub(crate) fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() || is_direction(char) {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown
}

/// Why something failed, from the cause of `error` down to the root. `error` itself says no more
/// than what was tried.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    if causes.is_empty() {
        causes.push(error.to_string());
    }
    harmless(&causes.join(": "))
}

/// Marks, embeddings, overrides and isolates of the bidirectional algorithm (UAX #9).
const fn is_direction(char: char) -> bool {
    matches!(
        char,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_a_terminal() {
        assert_eq!(harmless("né \u{1b}[2J\r\n\u{202e}x"), "né \\u{1b}[2J\\r\\n\\u{202e}x");
    }
}
