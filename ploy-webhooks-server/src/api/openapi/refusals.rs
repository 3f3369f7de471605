//! The answers that are no success, each by its status.

use serde_json::{Value, json};

/// What every call may be refused with that a token opens.
pub(super) const OPENED_BY_TOKEN: &[u16] = &[401, 403, 404, 422, 503];

/// What a call may be refused with that needs none.
pub(super) const OPEN: &[u16] = &[422];

/// What a call may be refused with that takes a body.
pub(super) const WITH_BODY: &[u16] = &[400, 408, 413, 415];

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    pub(super) name: &'static str,
    description: &'static str,
    header: Option<(&'static str, &'static str)>,
}

const fn plain(status: u16, name: &'static str, description: &'static str) -> Refusal {
    Refusal { status, name, description, header: None }
}

const RETRY_AFTER: Option<(&str, &str)> = Some(("Retry-After", "After how many seconds."));

const REFUSALS: &[Refusal] = &[
    plain(400, "BadRequest", "The body is not well-formed JSON."),
    Refusal {
        header: Some(("WWW-Authenticate", "How to prove who you are.")),
        ..plain(401, "Unauthorized", "Nothing that opens this was shown, or it is not valid.")
    },
    plain(403, "Forbidden", "What was shown does not open this."),
    plain(404, "NotFound", "There is nothing of that name, or it is another workspace's."),
    plain(408, "RequestTimeout", "The body did not arrive in time."),
    plain(409, "Conflict", "It does not go with how things are."),
    plain(413, "PayloadTooLarge", "The body is too large."),
    plain(415, "UnsupportedMediaType", "The body is not said to be JSON."),
    plain(422, "ValidationFailed", "Something is out of bounds or unknown: the detail names it."),
    Refusal {
        header: RETRY_AFTER,
        ..plain(429, "TooManyRequests", "More than the endpoint takes at the moment.")
    },
    Refusal {
        header: RETRY_AFTER,
        ..plain(503, "Unavailable", "The store did not answer; nothing was stored.")
    },
];

/// The answer of that status.
pub(super) fn refusal(status: u16) -> &'static Refusal {
    let found = REFUSALS.iter().find(|refusal| refusal.status == status);
    found.expect("every status that a call is refused with is described here")
}

/// All of them, by their names.
pub(super) fn responses() -> Value {
    let responses = REFUSALS.iter().map(|Refusal { name, description, header, .. }| {
        let mut response = json!({
            "description": description,
            "content": {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}},
            },
        });
        if let Some((name, description)) = header {
            response["headers"] =
                json!({*name: {"description": description, "schema": {"type": "string"}}});
        }
        ((*name).to_owned(), response)
    });
    Value::Object(responses.collect())
}
