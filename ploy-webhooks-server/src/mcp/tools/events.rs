//! Events: listed, searched, shown, replayed.

use std::collections::BTreeMap;

use rmcp::handler::server::wrapper::Parameters;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Page;
use super::runs::{run_shown, words_of};
use crate::api_client::Call;
use crate::mcp::Tools;
use crate::mcp::answer::{Answer, cut, failed, page, pick, with_untrusted};

/// What an agent is shown of an event in a list.
const SHOWN: [&str; 5] = ["id", "endpoint_id", "received_at", "type", "size"];

/// So much of a payload is shown where nobody says how much.
const USUAL_PAYLOAD_CHARS: usize = 8_000;
/// More of it is not shown at once.
const PAYLOAD_CHARS_MAX: usize = 100_000;
/// So much of each header.
const HEADER_CHARS_MAX: usize = 200;

#[derive(Debug, Deserialize, JsonSchema)]
struct ListEvents {
    #[serde(flatten)]
    which: Which,
    #[serde(flatten)]
    page: Page,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct SearchEvents {
    /// What stands in the payload, letter by letter; upper and lower case are one.
    contains: String,
    #[serde(flatten)]
    which: Which,
    #[serde(flatten)]
    page: Page,
}

/// Conditions on events: all that are given hold.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    /// Only those of this endpoint: ep_…
    endpoint: Option<String>,
    /// Only those of this type.
    #[serde(rename = "type")]
    event_type: Option<String>,
    /// Only those received at this time or later, in RFC 3339: 2026-01-31T12:00:00Z
    from: Option<String>,
    /// Only those received before this time, likewise.
    to: Option<String>,
}

impl Which {
    fn of(&self, call: Call) -> Call {
        let given = |value: &Option<String>| value.clone().unwrap_or_default();
        call.with_some("endpoint", &given(&self.endpoint))
            .with_some("type", &given(&self.event_type))
            .with_some("from", &given(&self.from))
            .with_some("to", &given(&self.to))
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GetEvent {
    /// The id of the event: evt_…
    event: String,
    /// How many characters of the payload are shown at most. Default: 8000.
    #[schemars(range(max = 100_000))]
    payload_chars: Option<usize>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OneEvent {
    /// The id of the event: evt_…
    event: String,
}

#[tool_router(router = event_tools, vis = "pub(in crate::mcp)")]
impl Tools {
    /// Lists events, the newest first: id, endpoint, time, type, size. See get_event for payloads.
    #[tool(annotations(title = "List events", read_only_hint = true, open_world_hint = false))]
    async fn list_events(&self, Parameters(given): Parameters<ListEvents>) -> Answer {
        let call = given.which.of(given.page.of(Call::get(&["events"])));
        self.answer(call, events).await
    }

    /// Finds events whose payload contains a text, the newest first. A page may be empty while
    /// next_cursor is there: go on with it.
    #[tool(annotations(title = "Search events", read_only_hint = true, open_world_hint = false))]
    async fn search_events(&self, Parameters(given): Parameters<SearchEvents>) -> Answer {
        let call = given.which.of(given.page.of(Call::get(&["events"])));
        self.answer(call.with("contains", &given.contains), events).await
    }

    /// Shows one event: its headers and payload, as they were sent, and its runs.
    #[tool(annotations(title = "Get an event", read_only_hint = true, open_world_hint = false))]
    async fn get_event(&self, Parameters(given): Parameters<GetEvent>) -> Answer {
        let chars = given.payload_chars.unwrap_or(USUAL_PAYLOAD_CHARS).min(PAYLOAD_CHARS_MAX);
        let event: Event = match self.api.read(Call::get(&["events", &given.event])).await {
            Ok(event) => event,
            Err(error) => return Ok(failed(&error)),
        };
        let mut known = pick(&Value::Object(event.rest), &SHOWN);
        known["runs"] = event.runs.iter().map(run_shown).collect();
        let mut words = Vec::new();
        for (name, value) in &event.headers {
            words.push((format!("header {name}"), cut(value, HEADER_CHARS_MAX)));
        }
        let payload = event.payload.as_deref().map_or("", RawValue::get);
        words.push(("payload".to_owned(), cut(payload, chars)));
        event.runs.iter().for_each(|run| words.extend(words_of(run)));
        Ok(with_untrusted(&known, &words))
    }

    /// Runs once more all that is wired to an event, as new runs. The event stays as it is.
    #[tool(annotations(
        title = "Replay an event",
        destructive_hint = true,
        idempotent_hint = false,
        open_world_hint = true
    ))]
    async fn replay_event(&self, Parameters(given): Parameters<OneEvent>) -> Answer {
        let call = Call::post(&["events", &given.event, "replay"]);
        self.answer(call, |replay| {
            let runs = replay["runs"].as_array().map(Vec::as_slice).unwrap_or_default();
            serde_json::json!({"runs": runs.iter().map(run_shown).collect::<Vec<_>>()})
        })
        .await
    }
}

/// An event as the API shows it; its payload as it was sent.
#[derive(Debug, Deserialize)]
struct Event {
    headers: BTreeMap<String, String>,
    payload: Option<Box<RawValue>>,
    runs: Vec<Value>,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

fn events(list: &Value) -> Value {
    page(list, "events", |event| pick(event, &SHOWN))
}
