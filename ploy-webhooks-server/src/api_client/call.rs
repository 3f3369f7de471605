//! One call of the management API: what is asked, before anybody is asked.

use std::fmt::{self, Write};

use form_urlencoded::byte_serialize;
use http::Method;

/// A method, a path, a query and a body. `Debug` prints nothing of the body, which may hold a secret.
#[derive(Clone)]
pub(crate) struct Call {
    pub(super) method: Method,
    /// Path and query, from `/api/v1` on.
    pub(super) target: String,
    pub(super) body: Option<String>,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.target)
    }
}

impl Call {
    /// `GET` of the path that these segments make up, whatever is in them.
    pub(crate) fn get(segments: &[&str]) -> Self {
        Self::new(Method::GET, segments)
    }

    /// `POST`, likewise.
    pub(crate) fn post(segments: &[&str]) -> Self {
        Self::new(Method::POST, segments)
    }

    /// `PATCH`, likewise.
    pub(crate) fn patch(segments: &[&str]) -> Self {
        Self::new(Method::PATCH, segments)
    }

    /// `DELETE`, likewise.
    pub(crate) fn delete(segments: &[&str]) -> Self {
        Self::new(Method::DELETE, segments)
    }

    fn new(method: Method, segments: &[&str]) -> Self {
        Self { method, target: path("/api/v1", segments), body: None }
    }

    /// With that parameter.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.target.push(if self.target.contains('?') { '&' } else { '?' });
        self.target.push_str(name);
        self.target.push('=');
        self.target.extend(byte_serialize(value.as_bytes()));
        self
    }

    /// With that parameter, where there is a value.
    pub(crate) fn with_some(self, name: &str, value: &str) -> Self {
        if value.is_empty() { self } else { self.with(name, value) }
    }

    /// With that text, which is JSON, as its body.
    pub(crate) fn json(self, body: impl Into<String>) -> Self {
        Self { body: Some(body.into()), ..self }
    }
}

/// The path below `root` that these segments make up: what is in a segment stays in it.
pub(crate) fn path(root: &str, segments: &[&str]) -> String {
    segments.iter().fold(root.to_owned(), |mut path, segment| {
        path.push('/');
        path.push_str(&encoded(segment));
        path
    })
}

/// A segment of a path, or a part of a query, with all that is not unreserved percent-encoded
/// (RFC 3986 §2.3).
pub(crate) fn encoded(segment: &str) -> String {
    segment.bytes().fold(String::with_capacity(segment.len()), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("a string takes whatever is written to it");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_segment_stays_in_it() {
        let call = Call::get(&["ploybooks", "a/b ?c#é"]).with("x", "1&y=2").with_some("z", "");
        assert_eq!(call.target, "/api/v1/ploybooks/a%2Fb%20%3Fc%23%C3%A9?x=1%26y%3D2");
    }
}
