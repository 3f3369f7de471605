//! What commands print: results to standard output, for people in tables.

use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, presets};

use super::Failure;

/// Prints a result. A reader that has gone away has read enough.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.trim_end_matches('\n').as_bytes())?;
    print_bytes(b"\n")
}

/// Prints a line of what has no end, and says whether anybody reads on.
pub(super) fn print_on(line: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::Failed(format!("cannot print: {error}"))),
    }
}

/// Prints bytes as they are.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("cannot print: {error}")))
        }
        _ => Ok(()),
    }
}

/// A table for people. Cells are made [`harmless`].
pub(super) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    finished(table, rows)
}

/// A table of names and values.
pub(super) fn sheet(rows: impl IntoIterator<Item = [String; 2]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    finished(table, rows)
}

fn finished<const N: usize>(
    mut table: Table,
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    for row in rows {
        table.add_row(row.map(|cell| harmless(&cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// The text with everything escaped by which a sender could steer a terminal or reorder what it
/// shows.
pub(super) fn harmless(text: &str) -> String {
    escape(text, |_| false)
}

/// As [`harmless`], over several lines.
pub(super) fn harmless_lines(text: &str) -> String {
    escape(text, |char| matches!(char, '\n' | '\t'))
}

fn escape(text: &str, is_kept: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if (char.is_control() && !is_kept(char)) || is_direction(char) {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown
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
    fn what_steers_a_terminal_is_escaped() {
        assert_eq!(harmless("a\u{1b}[2J\r\nb\u{9b}é"), r"a\u{1b}[2J\r\nb\u{9b}é");
        assert_eq!(harmless("\u{202e}gpj.exe"), r"\u{202e}gpj.exe");
        assert_eq!(harmless_lines("{\n\t\u{7f}}"), "{\n\t\\u{7f}}");
    }
}
