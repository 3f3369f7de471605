//! Who may use the API: whoever shows the root token.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use ploy_webhooks::SecretDigest;

use super::Api;
use super::problem::Problem;

pub(super) async fn require_root(
    State(api): State<Api>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let token = bearer(request.headers())?;
    // Digests compare in constant time.
    if SecretDigest::of(token) == api.parts.root {
        Ok(next.run(request).await)
    } else {
        Err(Problem::Unauthorized("the token is not valid"))
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (Some(value), None) => value,
        (None, _) => return Err(Problem::Unauthorized("Authorization is missing")),
        (Some(_), Some(_)) => {
            return Err(Problem::Unauthorized("Authorization is given more than once"));
        }
    };
    value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token)
        .ok_or(Problem::Unauthorized("Authorization is not `Bearer <token>`"))
}
