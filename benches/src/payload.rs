//! Bodies as senders send them: JSON objects of an exact size, each with a number of its own.

use std::ops::Range;

use fastrand::Rng;

/// How a body is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "benches go through all of them")]
pub enum Shape {
    /// One object of texts and numbers, as forms and enrichment tools send.
    Flat,
    /// Objects in arrays in objects, as billing and CRM systems send.
    Nested,
    /// One long text of random hexadecimal digits: to a search index, the worst case.
    Hex,
}

impl Shape {
    /// The shape's name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::Nested => "nested",
            Self::Hex => "hex",
        }
    }
}

/// A JSON object of an exact size whose number can be written in place.
#[derive(Clone, Debug)]
pub struct Payload {
    text: Vec<u8>,
    number: Range<usize>,
}

impl Payload {
    /// The smallest payload in bytes.
    pub const BYTES_MIN: usize = 200;

    const NUMBER_DIGITS: usize = 12;

    /// A payload of exactly so many bytes, at least [`BYTES_MIN`](Self::BYTES_MIN). The same
    /// seed gives the same text.
    #[must_use]
    pub fn new(shape: Shape, bytes: usize, seed: u64) -> Self {
        let bytes = bytes.max(Self::BYTES_MIN);
        let mut rng = Rng::with_seed(seed);
        let mut text = String::with_capacity(bytes);
        text.push_str("{\"delivery\":\"");
        let number = text.len()..text.len() + Self::NUMBER_DIGITS;
        text.push_str("000000000000\",");
        match shape {
            Shape::Flat => flat(&mut text, bytes, &mut rng),
            Shape::Nested => nested(&mut text, bytes, &mut rng),
            Shape::Hex => close_with(&mut text, bytes, || digit(16, &mut rng)),
        }
        Self { text: text.into_bytes(), number }
    }

    /// Writes the payload's number into it. What follows the returned place stays as it was.
    pub fn set_number(&mut self, number: u64) -> usize {
        let mut rest = number;
        for digit in self.text[self.number.clone()].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        self.number.end
    }

    /// Writes a text over the end of the filler, so that it can be searched for.
    ///
    /// # Panics
    ///
    /// When the text is longer than 64 bytes.
    pub fn hide(&mut self, needle: &str) {
        assert!(needle.len() <= 64, "a needle fits into the smallest filler");
        let end = self.text.len() - "\"}".len();
        self.text[end - needle.len()..end].copy_from_slice(needle.as_bytes());
    }

    /// The payload.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The payload, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.text
    }
}

/// Payloads without end, each with a number of its own.
#[derive(Debug)]
pub struct Pool(Vec<Payload>);

/// So many different texts: making one for each event would cost more than storing it.
const POOL: u64 = 8 << 10;

impl Pool {
    /// The texts that all of them have.
    #[must_use]
    pub fn new(shape: Shape, bytes: usize) -> Self {
        Self((0..POOL).map(|seed| Payload::new(shape, bytes, seed)).collect())
    }

    /// The payload with that number.
    #[must_use]
    pub fn numbered(&self, number: u64) -> Payload {
        let mut payload = self.0[place(number)].clone();
        payload.set_number(number);
        payload
    }

    /// The payloads as they lie here, all with the same number, from this place on and round again:
    /// for who would spend more on a copy than on storing it.
    pub fn from(&self, number: u64) -> impl Iterator<Item = &[u8]> {
        self.0.iter().cycle().skip(place(number)).map(Payload::as_bytes)
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number % POOL).expect("the pool fits into memory")
}

/// What is kept free behind the repeated part of a body: room for the longest needle.
const FILLER_MIN: usize = 64;

fn flat(text: &mut String, bytes: usize, rng: &mut Rng) {
    text.push_str("\"email\":\"");
    email(text, rng);
    text.push_str("\",\"seats\":42,\"paid\":true,");
    let mut field = String::new();
    for place in 0.. {
        field.clear();
        field.push_str(&format!("\"field_{place}\":\""));
        words(&mut field, 5, rng);
        field.push_str("\",");
        if text.len() + field.len() + NOTES.len() + FILLER_MIN + 2 > bytes {
            break;
        }
        text.push_str(&field);
    }
    close_with_words(text, bytes, rng);
}

fn nested(text: &mut String, bytes: usize, rng: &mut Rng) {
    text.push_str("\"data\":{\"contact\":{\"email\":\"");
    email(text, rng);
    text.push_str("\"},\"rows\":[{}");
    let mut row = String::new();
    loop {
        row.clear();
        row.push_str(",{\"id\":");
        row.push_str(&rng.u32(..).to_string());
        row.push_str(",\"score\":0.875,\"active\":true,\"tags\":[\"");
        words(&mut row, 1, rng);
        row.push_str("\",\"");
        words(&mut row, 1, rng);
        row.push_str("\"],\"address\":{\"city\":\"");
        words(&mut row, 2, rng);
        row.push_str("\",\"geo\":[52.5163,13.3777]}}");
        if text.len() + row.len() + "]},".len() + NOTES.len() + FILLER_MIN + 2 > bytes {
            break;
        }
        text.push_str(&row);
    }
    text.push_str("]},");
    close_with_words(text, bytes, rng);
}

const NOTES: &str = "\"notes\":\"";

fn close_with_words(text: &mut String, bytes: usize, rng: &mut Rng) {
    let mut filler = String::new();
    words(&mut filler, (bytes - text.len()) / 3, rng);
    let mut filler = filler.chars();
    close_with(text, bytes, || filler.next().expect("a word has at least three letters"));
}

/// Fills the rest of the object with one text.
fn close_with(text: &mut String, bytes: usize, mut next: impl FnMut() -> char) {
    text.push_str(NOTES);
    while text.len() < bytes - 2 {
        text.push(next());
    }
    text.push_str("\"}");
}

fn email(text: &mut String, rng: &mut Rng) {
    words(text, 1, rng);
    text.push('.');
    for _ in 0..6 {
        text.push(digit(10, rng));
    }
    text.push_str("@acme.example");
}

fn digit(radix: u32, rng: &mut Rng) -> char {
    char::from_digit(rng.u32(..radix), radix).expect("a digit is below its radix")
}

/// So many words of three to nine letters, made of syllables: as many different ones as a
/// language has.
fn words(text: &mut String, count: usize, rng: &mut Rng) {
    const ONSETS: &[u8] = b"bcdfghklmnprstvw";
    const VOWELS: &[u8] = b"aeiou";
    const CODAS: &[u8] = b"lmnrst";
    for place in 0..count {
        if place > 0 {
            text.push(' ');
        }
        for _ in 0..rng.usize(1..=3) {
            for letters in [ONSETS, VOWELS, CODAS] {
                text.push(char::from(letters[rng.usize(..letters.len())]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn payloads_are_objects_of_the_size_that_was_asked_for() {
        for shape in [Shape::Flat, Shape::Nested, Shape::Hex] {
            for bytes in (Payload::BYTES_MIN..1_400).chain([16 << 10, 1 << 20]) {
                let mut payload = Payload::new(shape, bytes, bytes as u64);
                assert!(payload.set_number(31) < 64);
                payload.hide(&"x".repeat(64));
                assert_eq!(payload.as_bytes().len(), bytes, "{shape:?}");
                let value: Value = serde_json::from_slice(payload.as_bytes()).unwrap();
                assert_eq!(value["delivery"], "000000000031");
                assert!(value["notes"].as_str().unwrap().ends_with("xxxx"));
            }
        }
    }
}
