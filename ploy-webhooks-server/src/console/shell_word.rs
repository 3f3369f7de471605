//! Words of a POSIX shell, for commands that are shown to be pasted.

use std::fmt::Write;

use super::text::is_control;

/// A word that a shell takes as it is.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A command whose output is exactly that text, in which nothing is hidden from who pastes it:
/// what cannot be seen is written by its bytes.
pub(super) fn printed(text: &str) -> String {
    let mut format = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '%' => format.push_str("%%"),
            '\\' => format.push_str(r"\\"),
            char if is_control(char) => {
                let mut bytes = [0; 4];
                for byte in char.encode_utf8(&mut bytes).bytes() {
                    write!(format, "\\{byte:03o}").expect("a string takes what is written to it");
                }
            }
            char => format.push(char),
        }
    }
    format!("printf {}", quoted(&format))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_prints_what_was_meant() {
        for text in
            ["", "a b", "it's", "$(x) `y` \"z\" !\\n", "%s 100%", "a\u{202e}b\u{1b}[1m\r\n\t\\0"]
        {
            let said = |command: &str| {
                let output = Command::new("sh").args(["-c", command]).output().unwrap();
                String::from_utf8(output.stdout).unwrap()
            };
            assert_eq!(said(&format!("printf %s {}", quoted(text))), text);
            assert_eq!(said(&printed(text)), text);
            assert!(!printed(text).contains(is_control), "{text:?}");
        }
    }
}
