//! Cookies: read from a request, written for an answer.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use super::ROOT;

/// The value of a cookie that is sent once; several of one name are somebody else's doing.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(sent, _)| *sent == name)
        .map(|(_, value)| value);
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

/// Whether a cookie goes over plain http too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Any,
    Https,
}

/// A cookie that no script reads and that no other site has sent. Over https its path is `/`, since
/// browsers take a name with `__Host-` for no other; elsewhere it is of the console alone. Without a
/// value it is taken back.
pub(super) fn set(name: &str, value: &str, seconds: u64, over: Over) -> HeaderValue {
    let (path, secure) = match over {
        Over::Https => ("/", "; Secure"),
        Over::Any => (ROOT, ""),
    };
    let text = format!(
        "{name}={value}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    );
    let mut header = HeaderValue::try_from(text).expect("names and base64 are visible ASCII");
    header.set_sensitive(true);
    header
}
