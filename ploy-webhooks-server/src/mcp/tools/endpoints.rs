//! Endpoints: what takes events in.

use rmcp::handler::server::wrapper::Parameters;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::page_of;
use crate::api_client::Call;
use crate::mcp::Tools;
use crate::mcp::answer::{Answer, failed, known, page, pick};

/// What an agent is shown of an endpoint; the key or secret where it was just made.
const SHOWN: [&str; 9] = [
    "id",
    "description",
    "status",
    "url",
    "auth",
    "trigger",
    "created_at",
    "api_key",
    "signing_secret",
];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListEndpoints {
    /// How many at most: 1 to 200. Default: 20.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u16>,
    /// Where to go on: next_cursor of the page before.
    cursor: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateEndpoint {
    /// What it is for, such as "Clay enrichment".
    description: String,
    /// The Ploybook that every event runs, by its name. Left out: events are stored only.
    ploybook: Option<String>,
    /// How senders prove themselves: "api-key" (the default, a bearer token), or the name of a
    /// signature scheme such as "stripe", "github", "clay" or "standard-webhooks".
    scheme: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OneEndpoint {
    /// The id of the endpoint: ep_…
    endpoint: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RotateEndpoint {
    /// The id of the endpoint: ep_…
    endpoint: String,
    /// For how many seconds the old key or secret is good still. Default: 0, it is no good at once.
    overlap_seconds: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SetTrigger {
    /// The id of the endpoint: ep_…
    endpoint: String,
    /// The Ploybook that every event is to run, by its name.
    ploybook: String,
}

#[tool_router(router = endpoint_tools, vis = "pub(in crate::mcp)")]
impl Tools {
    /// Lists the endpoints: id, description, status, URL, trigger.
    #[tool(annotations(title = "List endpoints", read_only_hint = true, open_world_hint = false))]
    async fn list_endpoints(&self, Parameters(given): Parameters<ListEndpoints>) -> Answer {
        let call = page_of(Call::get(&["endpoints"]), given.limit, given.cursor.as_deref());
        self.answer(call, |list| page(list, "endpoints", |endpoint| pick(endpoint, &SHOWN))).await
    }

    /// Makes an endpoint, and shows its URL and, this once, its key or signing secret.
    #[tool(annotations(
        title = "Create an endpoint",
        destructive_hint = false,
        idempotent_hint = false,
        open_world_hint = false
    ))]
    async fn create_endpoint(&self, Parameters(given): Parameters<CreateEndpoint>) -> Answer {
        let mut form = Map::from_iter([("description".to_owned(), given.description.into())]);
        if let Some(ploybook) = given.ploybook {
            form.insert("trigger".to_owned(), json!({"ploybook": ploybook}));
        }
        if let Some(scheme) = given.scheme {
            form.insert("auth".to_owned(), json!({"scheme": scheme}));
        }
        let call = Call::post(&["endpoints"]).json(Value::Object(form).to_string());
        self.answer(call, shown).await
    }

    /// Pauses an endpoint: its senders are refused with 403 from now on. Events are kept.
    #[tool(annotations(
        title = "Pause an endpoint",
        destructive_hint = true,
        idempotent_hint = true,
        open_world_hint = false
    ))]
    async fn pause_endpoint(&self, Parameters(given): Parameters<OneEndpoint>) -> Answer {
        self.change(&given.endpoint, &json!({"status": "paused"})).await
    }

    /// Has a paused endpoint take events again, with the keys that it had.
    #[tool(annotations(
        title = "Resume an endpoint",
        destructive_hint = false,
        idempotent_hint = true,
        open_world_hint = false
    ))]
    async fn resume_endpoint(&self, Parameters(given): Parameters<OneEndpoint>) -> Answer {
        self.change(&given.endpoint, &json!({"status": "active"})).await
    }

    /// Gives an endpoint a new key or signing secret, shown this once. The old one is no good any
    /// more, at once or after the overlap.
    #[tool(annotations(
        title = "Rotate the key of an endpoint",
        destructive_hint = true,
        idempotent_hint = false,
        open_world_hint = false
    ))]
    async fn rotate_endpoint(&self, Parameters(given): Parameters<RotateEndpoint>) -> Answer {
        let body = json!({"overlap_seconds": given.overlap_seconds.unwrap_or_default()});
        let call = Call::post(&["endpoints", &given.endpoint, "rotate"]).json(body.to_string());
        self.answer(call, shown).await
    }

    /// Has every event of an endpoint run a Ploybook from now on.
    #[tool(annotations(
        title = "Set the trigger of an endpoint",
        destructive_hint = true,
        idempotent_hint = true,
        open_world_hint = false
    ))]
    async fn set_trigger(&self, Parameters(given): Parameters<SetTrigger>) -> Answer {
        self.change(&given.endpoint, &json!({"trigger": {"ploybook": given.ploybook}})).await
    }

    /// Has the events of an endpoint run no Ploybook any more: they are stored only.
    #[tool(annotations(
        title = "Clear the trigger of an endpoint",
        destructive_hint = true,
        idempotent_hint = true,
        open_world_hint = false
    ))]
    async fn clear_trigger(&self, Parameters(given): Parameters<OneEndpoint>) -> Answer {
        self.change(&given.endpoint, &json!({"trigger": null})).await
    }

    /// Lists the Ploybooks that a trigger can name.
    #[tool(annotations(title = "List Ploybooks", read_only_hint = true, open_world_hint = false))]
    async fn list_ploybooks(&self, Parameters(given): Parameters<ListEndpoints>) -> Answer {
        let call = page_of(Call::get(&["ploybooks"]), given.limit, given.cursor.as_deref());
        let shown = |ploybook: &Value| pick(ploybook, &["name", "description", "enabled"]);
        self.answer(call, |list| page(list, "ploybooks", shown)).await
    }
}

impl Tools {
    /// Makes the call, and answers what `show` makes of it.
    pub(super) async fn answer(&self, call: Call, show: impl Fn(&Value) -> Value) -> Answer {
        Ok(match self.api.read::<Value>(call).await {
            Ok(answer) => known(&show(&answer)),
            Err(error) => failed(&error),
        })
    }

    async fn change(&self, endpoint: &str, changes: &Value) -> Answer {
        let call = Call::patch(&["endpoints", endpoint]).json(changes.to_string());
        self.answer(call, shown).await
    }
}

fn shown(endpoint: &Value) -> Value {
    pick(endpoint, &SHOWN)
}
