//! Takes a text apart into what stands as it is and merge fields, and these into paths and what is
//! done with them.
//!
//! An expression is handed to the engine with every name in it replaced (`f0`, `f1`, …), so the
//! engine resolves none: what a path leads to, and what is there without one, is decided here. For
//! the same reason this knows every filter, test and call in it before it is ever evaluated.

use super::engine::{FILTERS, TESTS};
use super::error::TemplateError;
use super::path::{Path, Step};
use super::{EXPRESSION_BYTES_MAX, EXPRESSION_FIELDS_MAX};

/// The name by which an expression has `null`.
pub(super) const NULL: &str = "n";
/// What an expression calls its fields, with a number after it.
pub(super) const FIELD: &str = "f";

/// A part of a template.
#[derive(Debug)]
pub(super) enum Piece<'text> {
    Literal(&'text str),
    Field(Scanned<'text>),
}

/// What stands between `{{` and `}}`.
#[derive(Debug)]
pub(super) struct Scanned<'text> {
    /// Without the blanks around it.
    pub(super) written: &'text str,
    /// The character at which the field begins, from 1.
    pub(super) at: usize,
    /// The expression for the engine.
    pub(super) code: String,
    pub(super) paths: Vec<Path>,
    /// How many operators and the like there are.
    pub(super) operators: usize,
    /// Whether an `if` has no `else`, so that the whole may be nothing.
    pub(super) may_be_nothing: bool,
}

impl Scanned<'_> {
    /// Whether it is a path and nothing else.
    pub(super) const fn is_path(&self) -> bool {
        self.operators == 0 && self.paths.len() == 1
    }
}

/// The parts of a text.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut from = 0;
    while let Some(brace) = text[from..].find('{').map(|found| from + found) {
        let mark = &text[brace..];
        if let Some(written) = ["{%", "{#", "{{-", "{{+"].into_iter().find(|m| mark.starts_with(m))
        {
            return Err(TemplateError::NotAField { at: character(text, brace), written });
        }
        if !mark.starts_with("{{") {
            from = brace + 1;
            continue;
        }
        if brace > start {
            pieces.push(Piece::Literal(&text[start..brace]));
        }
        let (field, end) = Scanner::new(text, brace).field()?;
        pieces.push(Piece::Field(field));
        start = end;
        from = end;
    }
    if start < text.len() {
        pieces.push(Piece::Literal(&text[start..]));
    }
    Ok(pieces)
}

/// Counts characters from 1.
pub(super) fn character(text: &str, byte: usize) -> usize {
    text[..byte].chars().count() + 1
}

/// What the token before was, as far as it says what a name means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Pipe,
    Is,
    Dot,
    Other,
}

struct Scanner<'text> {
    text: &'text str,
    start: usize,
    at: usize,
    before: Before,
    depth: usize,
    ifs: usize,
    elses: usize,
    code: String,
    paths: Vec<Path>,
    operators: usize,
}

impl<'text> Scanner<'text> {
    fn new(text: &'text str, start: usize) -> Self {
        Self {
            text,
            start,
            at: start + "{{".len(),
            before: Before::Other,
            depth: 0,
            ifs: 0,
            elses: 0,
            code: String::new(),
            paths: Vec::new(),
            operators: 0,
        }
    }

    /// The field that begins here, and where it ends.
    fn field(mut self) -> Result<(Scanned<'text>, usize), TemplateError> {
        if let Some((words, end)) = self.words() {
            self.add_path(Path::from(words))?;
            return Ok((self.finish(end), end + "}}".len()));
        }
        loop {
            self.skip_blanks();
            if self.depth == 0 && self.rest().starts_with("}}") {
                let end = self.at;
                if end - self.start > EXPRESSION_BYTES_MAX {
                    return Err(TemplateError::ExpressionTooLong { at: self.place(self.start) });
                }
                return Ok((self.finish(end), end + "}}".len()));
            }
            let Some(next) = self.rest().chars().next() else {
                return Err(TemplateError::Unclosed { at: self.place(self.start) });
            };
            self.token(next)?;
        }
    }

    fn finish(self, end: usize) -> Scanned<'text> {
        Scanned {
            written: self.text[self.start + "{{".len()..end].trim(),
            at: self.place(self.start),
            code: self.code,
            paths: self.paths,
            operators: self.operators,
            may_be_nothing: self.ifs > self.elses,
        }
    }

    /// Several words with blanks between them, none of which means anything in an expression, and
    /// where the field ends.
    fn words(&self) -> Option<(&'text str, usize)> {
        let end = self.at + self.rest().find("}}")?;
        let words = self.text[self.at..end].trim();
        let is_word =
            |word: &str| word.chars().all(is_inside_name) && !is_operator(word) && !word.is_empty();
        let is_name =
            words.contains(' ') && words.split(' ').all(|word| word.is_empty() || is_word(word));
        is_name.then_some((words, end))
    }

    fn token(&mut self, next: char) -> Result<(), TemplateError> {
        match next {
            '"' | '\'' => self.string(next),
            _ if next.is_ascii_digit() => {
                let number = self.number();
                self.literal(number);
                Ok(())
            }
            _ if is_name_start(next) => self.name(),
            '*' => Err(TemplateError::Multiplication { at: self.place(self.at) }),
            _ => {
                self.operator(next);
                Ok(())
            }
        }
    }

    fn operator(&mut self, sign: char) {
        match sign {
            '{' => self.depth += 1,
            '}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.before = match sign {
            '|' => Before::Pipe,
            '.' => Before::Dot,
            _ => Before::Other,
        };
        self.operators += 1;
        self.code.push(sign);
        self.at += sign.len_utf8();
    }

    fn string(&mut self, quote: char) -> Result<(), TemplateError> {
        match string_end(self.rest(), quote) {
            Some(end) => {
                let string = &self.rest()[..end];
                self.literal(string);
                Ok(())
            }
            None => Err(TemplateError::Unclosed { at: self.place(self.start) }),
        }
    }

    /// A number, or what looks like one: what is one the engine knows.
    fn number(&self) -> &'text str {
        let rest = self.rest();
        let mut end = 0;
        let mut before = ' ';
        for next in rest.chars() {
            let is_fraction =
                next == '.' && rest[end + 1..].starts_with(|after: char| after.is_ascii_digit());
            let is_sign =
                matches!(next, '+' | '-') && matches!(before, 'e' | 'E') && !rest.starts_with("0x");
            if !(next.is_ascii_alphanumeric() || next == '_' || is_fraction || is_sign) {
                break;
            }
            before = next;
            end += next.len_utf8();
        }
        &rest[..end]
    }

    fn literal(&mut self, literal: &str) {
        self.code.push_str(literal);
        self.at += literal.len();
        self.before = Before::Other;
        // So that it is no path alone, and its bytes are paid for as those of an operator.
        self.operators += 1;
    }

    fn name(&mut self) -> Result<(), TemplateError> {
        let name = take_name(self.rest());
        let at = self.at;
        let before = std::mem::replace(&mut self.before, Before::Other);
        self.at += name.len();
        match before {
            Before::Dot => self.member(name, at),
            Before::Pipe if FILTERS.contains(&name) => {
                self.keep(name);
                Ok(())
            }
            Before::Pipe => {
                Err(TemplateError::UnknownFilter { at: self.place(at), name: name.to_owned() })
            }
            Before::Is if name == "not" => {
                self.keep(name);
                self.before = Before::Is;
                Ok(())
            }
            Before::Is if TESTS.contains(&name) => {
                self.keep(name);
                Ok(())
            }
            Before::Is => {
                Err(TemplateError::UnknownTest { at: self.place(at), name: name.to_owned() })
            }
            Before::Other if is_operator(name) => {
                self.word(name);
                Ok(())
            }
            Before::Other => self.value(name, at),
        }
    }

    /// `if`, `and` and the like.
    fn word(&mut self, word: &str) {
        match word {
            "is" => self.before = Before::Is,
            "if" => self.ifs += 1,
            "else" => self.elses += 1,
            _ => {}
        }
        self.keep(word);
    }

    /// A member of what is no path, such as `(a or b).c`.
    fn member(&mut self, name: &str, at: usize) -> Result<(), TemplateError> {
        self.refuse_call(name, at)?;
        self.keep(name);
        Ok(())
    }

    fn value(&mut self, name: &'text str, at: usize) -> Result<(), TemplateError> {
        match name {
            "true" | "false" | "True" | "False" => self.keep(name),
            "none" | "None" => self.keep(NULL),
            _ => {
                let mut path = Path::from(name);
                self.steps(&mut path);
                path.written = self.text[at..self.at].into();
                self.refuse_call(&path.written, at)?;
                self.refuse_argument(name)?;
                path.is_optional = self.is_optional();
                if let Some(known) = path.wrong_name() {
                    let name = path.written.into();
                    return Err(TemplateError::UnknownName { at: self.place(at), name, known });
                }
                self.add_path(path)?;
            }
        }
        Ok(())
    }

    /// Follows `.name`, `.0`, `[0]` and `["name"]`. What else is in brackets is for the engine.
    fn steps(&mut self, path: &mut Path) {
        while let Some((step, length)) = step(self.rest()) {
            path.steps.push(step);
            self.at += length;
        }
    }

    fn add_path(&mut self, path: Path) -> Result<(), TemplateError> {
        if self.paths.len() == EXPRESSION_FIELDS_MAX {
            return Err(TemplateError::TooManyFields { at: self.place(self.start) });
        }
        self.code.push_str(&format!("{FIELD}{}", self.paths.len()));
        self.paths.push(path);
        Ok(())
    }

    /// Whether what follows is there for the case that there is nothing.
    fn is_optional(&self) -> bool {
        let rest = self.rest().trim_start();
        if let Some(filter) = rest.strip_prefix('|') {
            return take_name(filter.trim_start()) == "default";
        }
        let mut words = rest.split_whitespace().map(take_name);
        let test = match (words.next(), words.next()) {
            (Some("is"), Some("not")) => words.next(),
            (Some("is"), test) => test,
            _ => None,
        };
        matches!(test, Some("defined" | "undefined"))
    }

    fn refuse_call(&self, name: &str, at: usize) -> Result<(), TemplateError> {
        if self.rest().trim_start().starts_with('(') {
            return Err(TemplateError::Call { at: self.place(at), name: name.to_owned() });
        }
        Ok(())
    }

    fn refuse_argument(&self, name: &str) -> Result<(), TemplateError> {
        let rest = self.rest().trim_start();
        if rest.starts_with('=') && !rest.starts_with("==") {
            return Err(TemplateError::Syntax {
                at: self.place(self.start),
                written: excerpt(self.text[self.start + "{{".len()..].trim_start()),
                fault: format!("there are no named arguments, and `{name}=` begins one"),
            });
        }
        Ok(())
    }

    /// Hands a word on to the engine as it is.
    fn keep(&mut self, word: &str) {
        self.operators += 1;
        self.code.push_str(word);
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        let blanks = rest.len() - rest.trim_start().len();
        if blanks > 0 {
            self.code.push(' ');
            self.at += blanks;
        }
    }

    fn rest(&self) -> &'text str {
        &self.text[self.at..]
    }

    fn place(&self, byte: usize) -> usize {
        character(self.text, byte)
    }
}

/// The beginning of what stands in a field, for a message.
pub(super) fn excerpt(written: &str) -> String {
    const CHARACTERS_MAX: usize = 80;
    match written.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &written[..end]),
        None => written.to_owned(),
    }
}

/// The step that a text begins with, and its length.
fn step(text: &str) -> Option<(Step, usize)> {
    if let Some(rest) = text.strip_prefix('.') {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits > 0 {
            return Some((Step::Item(rest[..digits].parse().ok()?), 1 + digits));
        }
        let name = take_name(rest);
        return (!name.is_empty()).then(|| (Step::Member(name.into()), 1 + name.len()));
    }
    let inside = text.strip_prefix('[')?.trim_start();
    let (step, rest) = match inside.chars().next()? {
        quote @ ('"' | '\'') => {
            let end = string_end(inside, quote)?;
            let name = &inside[1..end - 1];
            if name.contains('\\') {
                return None;
            }
            (Step::Member(name.into()), &inside[end..])
        }
        _ => {
            let end = inside.find(|c: char| !c.is_ascii_digit() && c != '-')?;
            (Step::Item(inside[..end].parse().ok()?), &inside[end..])
        }
    };
    let rest = rest.trim_start().strip_prefix(']')?;
    Some((step, text.len() - rest.len()))
}

/// Where the string that a text begins with ends, quotes included.
fn string_end(text: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    for (at, next) in text.char_indices().skip(1) {
        match next {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if next == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn take_name(text: &str) -> &str {
    if !text.starts_with(is_name_start) {
        return "";
    }
    &text[..text.find(|c| !is_inside_name(c)).unwrap_or(text.len())]
}

fn is_name_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_inside_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_operator(word: &str) -> bool {
    ["if", "else", "and", "or", "not", "in", "is"].contains(&word)
}
