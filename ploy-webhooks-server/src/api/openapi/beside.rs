//! What the server answers beside the API: the intake, and whoever watches it.

use http::{Method, StatusCode};
use schemars::{JsonSchema, SchemaGenerator, json_schema};

use super::nouns::{SentPayload, Slug, Stored};
use super::operation::{Operation, call, call_on};

/// A call that is not in the table of the API, with its whole path.
#[derive(Debug)]
pub(super) struct Beside {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) operation: Operation,
}

/// What the intake refuses with.
const REFUSALS: &[u16] = &[400, 401, 403, 404, 408, 413, 415, 429, 503];

const INTAKE: &str = "The body is kept byte for byte: a JSON object in UTF-8.";
const OWN_ANSWER: &str = "Stored, for an endpoint whose answer has this status; or the reply to what a \
    sender asks before it sends, of which no event comes.";

/// The state of the server, in a word.
struct Live;
struct Ready;

macro_rules! states {
    ($($name:ident = $text:literal;)*) => {$(
        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> schemars::Schema {
                json_schema!({
                    "type": "object",
                    "properties": {"status": {"const": $text}},
                    "required": ["status"],
                })
            }
        }
    )*};
}

states! {
    Live = "live";
    Ready = "ready";
}

pub(super) fn beside() -> [Beside; 4] {
    let get = |path, operation| Beside { method: Method::GET, path, operation };
    [
        Beside {
            method: Method::POST,
            path: "/api/v1/webhook/{slug}",
            operation: call_on::<Slug>("send_event", "Send an event to an endpoint.")
                .accepts::<Stored>()
                .details(INTAKE)
                .takes::<SentPayload>()
                .or(StatusCode::OK, OWN_ANSWER)
                .or(StatusCode::NO_CONTENT, "The reply to what a sender asks before it sends.")
                .for_senders(REFUSALS),
        },
        get(
            "/health/live",
            call("is_live", "Whether the process answers.")
                .answers::<Live>()
                .open()
                .refuses_alone(&[]),
        ),
        get(
            "/health/ready",
            call("is_ready", "Whether the store answers.")
                .answers::<Ready>()
                .open()
                .refuses_alone(&[503]),
        ),
        get(
            "/metrics",
            call("show_metrics", "The figures of this process, as Prometheus reads them.")
                .answers_any("application/openmetrics-text", "The text format of OpenMetrics.")
                .open()
                .refuses_alone(&[]),
        ),
    ]
}
