//! The content is `application/json`: in any case, with any parameters, and if a charset is
//! named, utf-8 (RFC 9110 §8.3).

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::ingest::Refusal;
use crate::ingest::refusal::MediaTypeFault;

pub(in crate::ingest) fn check(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let fault = match (values.next(), values.next()) {
        (None, _) => MediaTypeFault::Missing,
        (Some(_), Some(_)) => MediaTypeFault::Repeated,
        (Some(value), None) => match is_json(value.as_bytes()) {
            Ok(()) => return Ok(()),
            Err(fault) => fault,
        },
    };
    Err(Refusal::UnsupportedMediaType(fault))
}

/// Whether the bytes are a media type, and this one.
pub(crate) fn is_json(value: &[u8]) -> Result<(), MediaTypeFault> {
    if value == b"application/json" {
        return Ok(());
    }
    let (essence, mut rest) = split_at_semicolon(trim(value));
    let (kind, subtype) = split_once(essence, b'/').ok_or(MediaTypeFault::Malformed)?;
    if !is_token(kind) || !is_token(subtype) {
        return Err(MediaTypeFault::Malformed);
    }
    let mut charset = None;
    while let Some(parameters) = rest {
        let (parameter, after) = next_parameter(parameters)?;
        rest = after;
        if let Some((_, value)) =
            parameter.filter(|(name, _)| name.eq_ignore_ascii_case(b"charset"))
        {
            // RFC 9110 has no rule for a second one; what is unclear is not utf-8.
            if charset.replace(value).is_some() {
                return Err(MediaTypeFault::Charset);
            }
        }
    }
    let is_json =
        kind.eq_ignore_ascii_case(b"application") && subtype.eq_ignore_ascii_case(b"json");
    if !is_json {
        return Err(MediaTypeFault::Other);
    }
    match charset {
        Some(charset) if !charset.is_text(b"utf-8") => Err(MediaTypeFault::Charset),
        _ => Ok(()),
    }
}

/// A parameter's value as it is written.
#[derive(Clone, Copy)]
enum Value<'a> {
    Token(&'a [u8]),
    /// What stands between the quotes, escapes included.
    Quoted(&'a [u8]),
}

impl Value<'_> {
    fn is_text(self, expected: &[u8]) -> bool {
        match self {
            Self::Token(text) => text.eq_ignore_ascii_case(expected),
            Self::Quoted(text) => {
                let mut escaped = false;
                let unescaped = text.iter().filter(|&&byte| {
                    escaped = byte == b'\\' && !escaped;
                    !escaped
                });
                unescaped.map(u8::to_ascii_lowercase).eq(expected.iter().copied())
            }
        }
    }
}

type Parameter<'a> = (&'a [u8], Value<'a>);

/// The first parameter of the list, and what follows its semicolon. There may be nothing
/// between two semicolons (RFC 9110 §5.6.6).
fn next_parameter(list: &[u8]) -> Result<(Option<Parameter<'_>>, Option<&[u8]>), MediaTypeFault> {
    let list = trim_start(list);
    if list.is_empty() {
        return Ok((None, None));
    }
    if let Some(after) = list.strip_prefix(b";") {
        return Ok((None, Some(after)));
    }
    let (name, value) = split_once(list, b'=').ok_or(MediaTypeFault::Malformed)?;
    if !is_token(name) {
        return Err(MediaTypeFault::Malformed);
    }
    let (value, after) = match value.strip_prefix(b"\"") {
        Some(quoted) => {
            let end = closing_quote(quoted).ok_or(MediaTypeFault::Malformed)?;
            (Value::Quoted(&quoted[..end]), trim_start(&quoted[end + 1..]))
        }
        None => {
            let end = value.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(value.len());
            if end == 0 {
                return Err(MediaTypeFault::Malformed);
            }
            (Value::Token(&value[..end]), trim_start(&value[end..]))
        }
    };
    match after.split_first() {
        None => Ok((Some((name, value)), None)),
        Some((b';', after)) => Ok((Some((name, value)), Some(after))),
        Some(_) => Err(MediaTypeFault::Malformed),
    }
}

fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut place = 0;
    while let Some(byte) = text.get(place) {
        match byte {
            b'"' => return Some(place),
            b'\\' => place += 2,
            _ => place += 1,
        }
    }
    None
}

fn split_at_semicolon(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match split_once(text, b';') {
        Some((before, after)) => (trim(before), Some(after)),
        None => (text, None),
    }
}

fn split_once(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let place = text.iter().position(|&byte| byte == separator)?;
    Some((&text[..place], &text[place + 1..]))
}

const fn trim(text: &[u8]) -> &[u8] {
    text.trim_ascii()
}

const fn trim_start(text: &[u8]) -> &[u8] {
    text.trim_ascii_start()
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().copied().all(is_token_byte)
}

/// RFC 9110 §5.6.2.
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn json_in_every_spelling() {
        for value in [
            "application/json",
            "Application/JSON",
            " application/json ",
            "application/json;",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            "application/json ; CharSet=\"utf-8\"",
            "application/json; charset=\"ut\\f-8\"",
            "application/json; a=\"x;charset=latin1\"; charset=utf-8",
            "application/json;; version=1 ; q=\"\"",
        ] {
            assert_eq!(is_json(value.as_bytes()), Ok(()), "{value}");
        }
    }

    #[test]
    fn anything_else() {
        use MediaTypeFault::{Charset, Malformed, Other};
        for (value, fault) in [
            ("", Malformed),
            ("json", Malformed),
            ("/json", Malformed),
            ("application/", Malformed),
            ("application/json, application/json", Malformed),
            ("application/json; charset", Malformed),
            ("application/json; charset=", Malformed),
            ("application/json; charset=\"utf-8", Malformed),
            ("application/json; charset=utf-8, text/plain", Malformed),
            ("application/json; charset =utf-8", Malformed),
            ("application/json charset=utf-8", Malformed),
            ("text/json", Other),
            ("application/vnd.api+json", Other),
            ("application/jsonp", Other),
            ("multipart/form-data; boundary=x", Other),
            ("application/json; charset=latin1", Charset),
            ("application/json; charset=utf8", Charset),
            ("application/json; charset=utf-16", Charset),
            ("application/json; charset=utf-8; charset=utf-8", Charset),
        ] {
            assert_eq!(is_json(value.as_bytes()), Err(fault), "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(value in "[a-z/;=\"\\\\ ]{0,24}") {
            let _ = is_json(value.as_bytes());
            let _ = is_json(format!("application/json;{value}").as_bytes());
        }
    }
}
