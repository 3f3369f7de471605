//! JSON in and out, strictly: unknown fields are refused by name, `null` is not absence.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::problem::Problem;

/// The longest instructions of a Ploybook are 64 KiB, and six times as long where every character
/// is escaped.
const BODY_BYTES_MAX: usize = 512 << 10;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// An answer in JSON.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.0).expect("answers have string keys only");
        let mut response = body.into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// A request's body in JSON.
#[derive(Debug)]
pub(super) struct JsonBody<T>(pub(super) T);

/// A request's body in JSON that may be left out.
#[derive(Debug)]
pub(super) struct OptionalJsonBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        parse(&read_json(request, BODY_BYTES_MAX).await?).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalJsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        let body = read(body, BODY_BYTES_MAX).await?;
        if body.is_empty() {
            return Ok(Self(T::default()));
        }
        require_json(&head.headers)?;
        parse(&body).map(Self)
    }
}

/// For a field whose `null` says something: absent is `None`, `null` is `Some(None)`.
pub(super) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// For a field that may be absent and is never `null`.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let is_json = headers.get(CONTENT_TYPE).is_some_and(|value| {
        let media_type = value.as_bytes().split(|&byte| byte == b';').next();
        let media_type = media_type.unwrap_or_default().trim_ascii();
        media_type.eq_ignore_ascii_case(b"application/json")
    });
    is_json.then_some(()).ok_or(Problem::UnsupportedMediaType)
}

/// A request's body that is said to be JSON, and has so many bytes at most.
pub(super) async fn read_json(request: Request, bytes_max: usize) -> Result<Bytes, Problem> {
    let (head, body) = request.into_parts();
    require_json(&head.headers)?;
    read(body, bytes_max).await
}

async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let collected = Limited::new(body, bytes_max).collect();
    match tokio::time::timeout(BODY_TIMEOUT, collected).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Problem::PayloadTooLarge(bytes_max))
        }
        Ok(Err(_)) => Err(Problem::InvalidJson("it ended too early".to_owned())),
        Err(_) => Err(Problem::RequestTimeout),
    }
}

/// First whether it is JSON at all, so that what is malformed is never called invalid.
pub(super) fn parse<'body, T: Deserialize<'body>>(body: &'body [u8]) -> Result<T, Problem> {
    serde_json::from_slice::<IgnoredAny>(body)
        .map_err(|error| Problem::InvalidJson(error.to_string()))?;
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    // Also where it calls it a fault of syntax, as an object in the place of a name.
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| invalid(&error))
}

/// What these members make up.
pub(super) fn of_members<T: DeserializeOwned>(members: Map<String, Value>) -> Result<T, Problem> {
    serde_path_to_error::deserialize(Value::Object(members)).map_err(|error| invalid(&error))
}

/// Says which member is at fault, where it is not the whole.
fn invalid(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let why = without_the_text(&error.inner().to_string());
    Problem::ValidationFailed(match error.path().iter().next() {
        Some(_) => format!("`{}`: {why}", error.path()),
        None => why,
    })
}

/// What is wrong without the text that is wrong there: it may be a secret in another's place.
fn without_the_text(why: &str) -> String {
    for begin in ["invalid type: string ", "invalid value: string "] {
        if let Some((before, quoted)) = why.split_once(&format!("{begin}\"")) {
            let mut is_escaped = false;
            let end = quoted.find(|char| {
                let is_end = char == '"' && !is_escaped;
                is_escaped = char == '\\' && !is_escaped;
                is_end
            });
            let after = end.map_or("", |end| &quoted[end + 1..]);
            return format!("{before}{}{after}", begin.trim_end());
        }
    }
    why.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_in_the_place_of_another_value_is_not_repeated() {
        let why = |text: &str| {
            let body = serde_json::to_vec(text).unwrap();
            parse::<u64>(&body).unwrap_err().to_string()
        };
        for text in
            ["hunter2", "\"hunter2", "a\"hunter2", r#"a\"hunter2"#, r#"\\"hunter2\"#, "\n\"hunter2"]
        {
            let why = why(text);
            assert!(why.starts_with("invalid type: string, expected u64"), "{why}");
            assert!(!why.contains("hunter2"), "{why}");
        }
    }
}
