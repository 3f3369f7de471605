//! Payloads as people read them: laid out, in part where they are long, with what was searched for
//! marked.
//!
//! What is laid out is the text: nothing is parsed into a tree, so members keep their order, repeat
//! where they were repeated, and numbers are written as they were.

use super::text::Text;

/// How many bytes of a payload a page shows.
pub(super) const SHOWN_BYTES_MAX: usize = 64 << 10;
/// How deep lines are indented: deeper ones stand where these do, or the blanks before them would
/// be more than the payload.
const INDENTED_MAX: usize = 24;
/// How many characters there are on each side of what was searched for.
const AROUND_CHARS: usize = 60;

/// The beginning of a text.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) text: Text,
    pub(super) is_whole: bool,
}

/// A place in a payload at which what was searched for stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Excerpt {
    pub(super) before: Text,
    pub(super) hit: Text,
    pub(super) after: Text,
}

/// The text as it came, as far as it is shown.
pub(super) fn verbatim(text: &str) -> Part {
    let end = text.floor_char_boundary(SHOWN_BYTES_MAX);
    Part { text: text[..end].into(), is_whole: end == text.len() }
}

/// JSON with a line for each value, as far as it is shown. What is no JSON comes out with blanks
/// moved, and nothing lost.
pub(super) fn laid_out(text: &str) -> Part {
    let mut layout = Layout::default();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if layout.text.len() > SHOWN_BYTES_MAX {
            break;
        }
        let token = &rest[..token_length(rest, first)];
        rest = rest[token.len()..].trim_start();
        layout.put(token, rest);
    }
    let end = layout.text.floor_char_boundary(SHOWN_BYTES_MAX);
    let is_whole = rest.is_empty() && end == layout.text.len();
    layout.text.truncate(end);
    Part { text: layout.text.into(), is_whole }
}

#[derive(Default)]
struct Layout {
    text: String,
    depth: usize,
}

impl Layout {
    fn put(&mut self, token: &str, rest: &str) {
        match token {
            "{" | "[" => {
                self.text.push_str(token);
                if !rest.starts_with(['}', ']']) {
                    self.depth += 1;
                    self.line();
                } else {
                    // What closes it takes one away again.
                    self.depth += 1;
                }
            }
            "}" | "]" => {
                self.depth = self.depth.saturating_sub(1);
                if !self.text.ends_with(['{', '[']) {
                    self.line();
                }
                self.text.push_str(token);
            }
            "," => {
                self.text.push(',');
                self.line();
            }
            ":" => self.text.push_str(": "),
            _ => {
                // As much of a long value as is shown, and no more.
                let end = token.floor_char_boundary(SHOWN_BYTES_MAX + 1);
                self.text.push_str(&token[..end]);
            }
        }
    }

    fn line(&mut self) {
        self.text.push('\n');
        self.text.extend(std::iter::repeat_n("  ", self.depth.min(INDENTED_MAX)));
    }
}

/// How long the token is that begins here.
fn token_length(rest: &str, first: char) -> usize {
    match first {
        '{' | '}' | '[' | ']' | ',' | ':' => 1,
        '"' => {
            let mut is_escaped = true;
            let end = rest.bytes().position(|byte| {
                let is_end = byte == b'"' && !is_escaped;
                is_escaped = byte == b'\\' && !is_escaped;
                is_end
            });
            // The first one begins it.
            end.map_or(rest.len(), |end| end + 1)
        }
        _ => {
            let is_end = |char: char| char.is_whitespace() || "{}[],:\"".contains(char);
            rest.find(is_end).unwrap_or(rest.len()).max(first.len_utf8())
        }
    }
}

/// Where the needle first stands in the text, without regard to case, as the search finds it: by the
/// full lowercase of each character.
pub(super) fn excerpt(text: &str, needle: &str) -> Option<Excerpt> {
    let (begin, end) = find(text, &needle.to_lowercase_each())?;
    let from = text[..begin].char_indices().rev().take(AROUND_CHARS).last();
    let from = from.map_or(begin, |(at, _)| at);
    let to = text[end..].char_indices().nth(AROUND_CHARS).map_or(text.len(), |(at, _)| end + at);
    let cut = |is_cut: bool| if is_cut { "…" } else { "" };
    Some(Excerpt {
        before: format!("{}{}", cut(from > 0), &text[from..begin]).into(),
        hit: text[begin..end].into(),
        after: format!("{}{}", &text[end..to], cut(to < text.len())).into(),
    })
}

/// The lowercase of each character by itself: what a word ends with has no form of its own.
trait LowercaseEach {
    fn to_lowercase_each(&self) -> String;
}

impl LowercaseEach for str {
    fn to_lowercase_each(&self) -> String {
        if self.is_ascii() {
            return self.to_ascii_lowercase();
        }
        self.chars().flat_map(char::to_lowercase).collect()
    }
}

/// From where to where the folded needle stands in the text.
fn find(text: &str, folded: &str) -> Option<(usize, usize)> {
    let at = text.to_lowercase_each().find(folded)?;
    if text.is_ascii() {
        return Some((at, at + folded.len()));
    }
    // Lowercase may be longer or shorter: it is walked through to where that is.
    let (mut walked, mut begin) = (0, 0);
    for (place, char) in text.char_indices() {
        if walked <= at {
            begin = place;
        }
        if walked >= at + folded.len() {
            return Some((begin, place));
        }
        walked += char.to_lowercase().map(char::len_utf8).sum::<usize>();
    }
    Some((begin, text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_laid_out_has_lost_nothing() {
        let text = r#" {"a":1.50e+2,"a":[ ],"b":{"c":["x, {y}\"",null]} , "é":{}} "#;
        let part = laid_out(text);
        assert!(part.is_whole);
        let expected = "{\n  \"a\": 1.50e+2,\n  \"a\": [],\n  \"b\": {\n    \"c\": [\n      \
                        \"x, {y}\\\"\",\n      null\n    ]\n  },\n  \"é\": {}\n}";
        assert_eq!(part.text.raw(), expected);
        for text in ["", "{", "\"open", "é\u{a0}", "a b", "]]]"] {
            let blank = |text: &str| text.split_whitespace().collect::<String>();
            assert_eq!(blank(laid_out(text).text.raw()), blank(text));
        }
    }

    #[test]
    fn what_is_long_or_deep_is_cut() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(400_000), "]".repeat(400_000));
        let long = format!("{{\"a\":\"{}\"}}", "é".repeat(400_000));
        for text in [&deep, &long] {
            for part in [laid_out(text), verbatim(text)] {
                assert!(!part.is_whole && part.text.raw().len() <= SHOWN_BYTES_MAX);
                assert!(part.text.raw().len() > SHOWN_BYTES_MAX - 64);
            }
        }
    }

    #[test]
    fn what_was_searched_for_is_found_as_it_is_written() {
        let of = |text: &str, needle: &str| {
            excerpt(text, needle).map(|it| [it.before, it.hit, it.after].map(|it| it.to_string()))
        };
        let some = |parts: [&str; 3]| Some(parts.map(str::to_owned));
        assert_eq!(of(r#"{"a":"ACME"}"#, "acme"), some(["{\"a\":\"", "ACME", "\"}"]));
        assert_eq!(of("İx ÉCLAIR!", "éclair"), some(["İx ", "ÉCLAIR", "!"]));
        assert_eq!(of("abc", "d"), None);
        let long = "x".repeat(1_000) + "Hit" + &"y".repeat(1_000);
        let [before, hit, after] = of(&long, "hit").unwrap();
        assert_eq!((before.chars().count(), hit.as_str(), after.chars().count()), (61, "Hit", 61));
        assert!(before.starts_with('…') && after.ends_with('…'));
    }
}
