//! The parameters of a query string, strictly: what is unknown or given twice is refused by name.

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::problem::Problem;

/// The parameters of a query string. [`take`](Self::take) each that is known, then
/// [`finish`](Self::finish).
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Takes a parameter out and parses it. An error of `parse` says what was expected.
    pub(super) fn take<T, E: std::fmt::Display>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        let Some(place) = self.0.iter().position(|(known, _)| known == name) else {
            return Ok(None);
        };
        let (_, value) = self.0.swap_remove(place);
        if self.0.iter().any(|(known, _)| known == name) {
            let detail = format!("the parameter `{name}` is given more than once");
            return Err(Problem::ValidationFailed(detail));
        }
        parse(&value).map(Some).map_err(|error| {
            Problem::ValidationFailed(format!("the parameter `{name}` is {error}"))
        })
    }

    /// Refuses what nobody took.
    pub(super) fn finish(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                Err(Problem::ValidationFailed(format!("unknown parameter `{name}`")))
            }
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        Ok(Self(form_urlencoded::parse(query).into_owned().collect()))
    }
}

/// For an address that takes no parameters.
#[derive(Debug)]
pub(super) struct NoParameters;

impl<S: Send + Sync> FromRequestParts<S> for NoParameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let parameters = Parameters::from_request_parts(parts, state).await?;
        parameters.finish().map(|()| Self)
    }
}
