//! Forms and queries as they come in, and bodies of calls as they go out.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::Console;
use super::fault::Fault;
use super::refusal::Refusal;
use super::same_origin::{Provenance, provenance};
use super::visitor::Visitor;

/// The longest form: instructions of 64 KiB, and three times as long where they are encoded.
const BYTES_MAX: usize = 512 << 10;
/// More fields than the longest form has: each endpoint that is chosen is one.
const FIELDS_MAX: usize = 1_024;
const TIMEOUT: Duration = Duration::from_secs(10);
/// The field that ties a form to its session.
const TOKEN: &str = "form_token";

/// The fields of a form, or the parameters of a query. `Debug` prints their names alone: some hold
/// secrets.
#[derive(Clone, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Fields {
    /// The text of a field; empty where it is absent.
    pub(super) fn get(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// The text without blanks around it.
    pub(super) fn trimmed(&self, name: &str) -> &str {
        self.get(name).trim()
    }

    /// The texts of all fields of that name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(sent, _)| sent == name).map(|(_, value)| value.as_str())
    }

    /// Whether a box is ticked.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(sent, _)| sent == name)
    }

    fn parse(text: &[u8]) -> Self {
        let fields = form_urlencoded::parse(text).map(|(name, value)| {
            // Browsers send the lines of a text as the lines of a mail.
            (name.into_owned(), value.replace("\r\n", "\n"))
        });
        Self(fields.collect())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Fields {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default().as_bytes()))
    }
}

/// A form of a page, sent by who looks at it.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) visitor: Visitor,
    pub(super) fields: Fields,
}

impl FromRequest<Console> for Posted {
    type Rejection = Refusal;

    async fn from_request(request: Request, console: &Console) -> Result<Self, Refusal> {
        let (mut head, body) = request.into_parts();
        // Whoever is sent here from elsewhere does not learn whether somebody has signed in.
        if provenance(console, &head) == Provenance::Foreign {
            return Err(foreign());
        }
        let visitor = Visitor::from_request_parts(&mut head, console).await?;
        let fields = read(&head.headers, body, BYTES_MAX).await?;
        match visitor.session.has_made(fields.get(TOKEN)) {
            true => Ok(Self { visitor, fields }),
            false => Err(Refusal::Form(
                StatusCode::FORBIDDEN,
                "The form is of another session: go back, load the page again, and send it again.",
            )),
        }
    }
}

pub(super) fn foreign() -> Refusal {
    Refusal::Form(
        StatusCode::FORBIDDEN,
        "The form was sent from another site. Open the console by the address that it is served \
         at, and send it from there.",
    )
}

/// The fields of a form, as a browser sends them, in so many bytes at most.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<Fields, Refusal> {
    let refused = |status, why| Err(Refusal::Form(status, why));
    let media_type = headers.get(CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    let media_type = media_type.split(|&byte| byte == b';').next().unwrap_or_default();
    if !media_type.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
        return refused(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "A form is sent as application/x-www-form-urlencoded.",
        );
    }
    let text = match tokio::time::timeout(TIMEOUT, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(_)) => {
            return refused(
                StatusCode::PAYLOAD_TOO_LARGE,
                "The form is longer than any that is sent there, or ended too early.",
            );
        }
        Err(_) => return refused(StatusCode::REQUEST_TIMEOUT, "The form did not arrive in time."),
    };
    // Counted before they are taken apart: an empty field costs far more than its one byte.
    match text.iter().filter(|&&byte| byte == b'&').count() < FIELDS_MAX {
        true => Ok(Fields::parse(&text)),
        false => refused(StatusCode::PAYLOAD_TOO_LARGE, "The form has more than 1,024 fields."),
    }
}

/// The body of a call, in JSON; what is JSON already stays as it is written. `Debug` prints names
/// alone.
#[derive(Default, Serialize)]
#[serde(transparent)]
pub(super) struct Members(BTreeMap<&'static str, Box<RawValue>>);

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Members {
    pub(super) fn set(&mut self, name: &'static str, value: impl Serialize) {
        let value = to_raw_value(&value).expect("what forms hold has string keys only");
        self.0.insert(name, value);
    }

    /// Sets it where there is a text.
    pub(super) fn set_some(&mut self, name: &'static str, text: &str) {
        if !text.is_empty() {
            self.set(name, text);
        }
    }

    /// Sets what a field has as JSON; empty is `null`.
    pub(super) fn set_json(&mut self, name: &'static str, text: &str) -> Result<(), Fault> {
        let text = if text.trim().is_empty() { "null" } else { text };
        let value = RawValue::from_string(text.to_owned())
            .map_err(|error| Fault::at_member(name, &format!("it is not JSON: {error}")))?;
        self.0.insert(name, value);
        Ok(())
    }

    /// Each by its name, in JSON.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &RawValue)> {
        self.0.iter().map(|(name, value)| (*name, &**value))
    }

    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("members have string keys only")
    }
}

/// The whole number in a field; `None` where it is empty.
pub(super) fn number(member: &str, text: &str) -> Result<Option<u64>, Fault> {
    match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| Fault::at_member(member, "not a whole number")),
    }
}

/// The entries of a list that is written one a line: an entry may hold a comma.
pub(super) fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|entry| !entry.is_empty()).collect()
}

/// The entries of a list that is written with lines or commas between them.
pub(super) fn entries(text: &str) -> Vec<&str> {
    text.split(['\n', ',']).map(str::trim).filter(|entry| !entry.is_empty()).collect()
}

/// Whether that is the option that is chosen.
pub(super) fn is(value: &(impl AsRef<str> + ?Sized), chosen: &(impl AsRef<str> + ?Sized)) -> bool {
    value.as_ref() == chosen.as_ref()
}
