//! What is run, how, and on what terms.

use schemars::JsonSchema;

use super::text::{Description, HTTP_URL, PloybookName, Revision, may_be_left_out};

/// What is run, how, and on what terms.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Ploybook {
    #[serde(default)]
    #[schemars(with = "Description")]
    description: String,
    /// Whether it may be run. What is wired to one that may not fails, and says so.
    #[serde(default = "yes")]
    enabled: bool,
    run: Means,
    /// What whoever carries it out is told to do: at most 65536 bytes.
    #[serde(default)]
    #[schemars(length(max = 65_536))]
    instructions: String,
    /// How long one attempt may take.
    #[serde(default = "a_minute")]
    #[schemars(range(min = 1, max = 86_400))]
    time_limit_seconds: u64,
    #[serde(default)]
    retry: RetryPolicy,
    /// Whether a payload of the form `{"data":{"message":…,"context":…}}` is a request, with its
    /// context as data.
    #[serde(default = "yes")]
    takes_requests: bool,
}

/// A Ploybook and its name.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct NewPloybook {
    name: PloybookName,
    #[serde(flatten)]
    ploybook: Ploybook,
}

/// A Ploybook and its name.
#[derive(JsonSchema)]
#[schemars(rename = "Ploybook")]
pub(in crate::api) struct PloybookView {
    name: PloybookName,
    revision: Revision,
    #[serde(flatten)]
    ploybook: Ploybook,
}

const fn yes() -> bool {
    true
}

const fn a_minute() -> u64 {
    60
}

/// How a Ploybook is run.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Means {
    /// A function of the app, by a name that the app has given it.
    Function(#[schemars(length(min = 1, max = 100), regex(pattern = "^[!-~]*$"))] String),
    /// A program with its arguments, where the server allows it. For the root token alone.
    Command {
        #[schemars(length(min = 1, max = 64), inner(length(max = 4_096)))]
        argv: Vec<String>,
        /// The folder that it is run in; left out, that of the server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(length(max = 4_096))]
        folder: Option<String>,
    },
    /// A POST to an engine.
    Http {
        /// An http or https URL.
        #[schemars(length(max = 2_048), regex(pattern = HTTP_URL))]
        url: String,
        /// The variable of the server's environment that holds the secret which signs it. For the
        /// root token alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(length(min = 1, max = 100), regex(pattern = "^[!-~]*$"))]
        secret_env: Option<String>,
        /// Whether it reaches public addresses alone: always so for what a tenant defines.
        #[serde(default, skip_serializing_if = "may_be_left_out")]
        public_only: bool,
    },
}

/// How often something is tried, and how long apart: by a rule or, in `gaps_seconds`, one by one.
#[derive(Default, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("anyOf" = [
    {"properties": {"gaps_seconds": {"type": "null"}}},
    {"properties": {
        "attempts_max": {"type": "null"},
        "first_gap_seconds": {"type": "null"},
        "gap_max_seconds": {"type": "null"},
    }},
]))]
pub(super) struct RetryPolicy {
    /// Attempts in all, the first included: 4 where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    attempts_max: Option<u16>,
    /// 5 where nothing is said. Each gap is twice the one before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 86_400))]
    first_gap_seconds: Option<u32>,
    /// 3600 where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 86_400))]
    gap_max_seconds: Option<u32>,
    /// The gaps, and so one attempt more than there are of them. Stands alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 99), inner(range(max = 86_400)))]
    gaps_seconds: Option<Vec<u32>>,
}
