//! Events: listed, searched, shown, replayed.

use std::collections::BTreeMap;

use rmcp::handler::server::wrapper::Parameters;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::runs::{run_shown, words_of};
use super::{page_of, with_given};
use crate::api_client::Call;
use crate::mcp::Tools;
use crate::mcp::answer::{Answer, cut, failed, page, pick, with_untrusted};

/// What an agent is shown of an event in a list.
const SHOWN: [&str; 5] = ["id", "endpoint_id", "received_at", "type", "size"];

/// So much of a payload is shown where nobody says how much.
const USUAL_PAYLOAD_CHARS: usize = 8_000;
/// More of it is not shown at once.
const PAYLOAD_CHARS_MAX: usize = 100_000;
/// So much of each header, and of a type.
const HEADER_CHARS_MAX: usize = 200;
/// A longer type is none that a program makes up.
const TYPE_BYTES_MAX: usize = 64;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListEvents {
    /// Only those of this endpoint: ep_…
    endpoint: Option<String>,
    /// Only those of this type.
    #[serde(rename = "type")]
    event_type: Option<String>,
    /// Only those received at this time or later, in RFC 3339: 2026-01-31T12:00:00Z
    from: Option<String>,
    /// Only those received before this time, likewise.
    to: Option<String>,
    /// How many at most: 1 to 200. Default: 20.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u16>,
    /// Where to go on: next_cursor of the page before.
    cursor: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SearchEvents {
    /// What stands in the payload, letter by letter; upper and lower case are one.
    contains: String,
    /// Only those of this endpoint: ep_…
    endpoint: Option<String>,
    /// Only those of this type.
    #[serde(rename = "type")]
    event_type: Option<String>,
    /// Only those received at this time or later, in RFC 3339: 2026-01-31T12:00:00Z
    from: Option<String>,
    /// Only those received before this time, likewise.
    to: Option<String>,
    /// How many at most: 1 to 200. Default: 20.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u16>,
    /// Where to go on: next_cursor of the page before.
    cursor: Option<String>,
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
        let call = page_of(Call::get(&["events"]), given.limit, given.cursor.as_deref());
        let (of_type, endpoint) = (&given.event_type, &given.endpoint);
        self.events(filtered(call, endpoint, of_type, (&given.from, &given.to))).await
    }

    /// Finds events whose payload contains a text, the newest first. A page may be empty while
    /// next_cursor is there: go on with it.
    #[tool(annotations(title = "Search events", read_only_hint = true, open_world_hint = false))]
    async fn search_events(&self, Parameters(given): Parameters<SearchEvents>) -> Answer {
        let call = page_of(Call::get(&["events"]), given.limit, given.cursor.as_deref());
        let call = call.with("contains", &given.contains);
        let (of_type, endpoint) = (&given.event_type, &given.endpoint);
        self.events(filtered(call, endpoint, of_type, (&given.from, &given.to))).await
    }

    /// Shows one event: its headers and payload, as they were sent, and its runs.
    #[tool(annotations(title = "Get an event", read_only_hint = true, open_world_hint = false))]
    async fn get_event(&self, Parameters(given): Parameters<GetEvent>) -> Answer {
        let chars = given.payload_chars.unwrap_or(USUAL_PAYLOAD_CHARS).min(PAYLOAD_CHARS_MAX);
        let event: Event = match self.api.read(Call::get(&["events", &given.event])).await {
            Ok(event) => event,
            Err(error) => return Ok(failed(&error)),
        };
        let mut words = Vec::new();
        let mut known = event_shown(&Value::Object(event.rest), &mut words);
        known["runs"] = event.runs.iter().map(run_shown).collect();
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

impl Tools {
    /// Makes the call for a list of events, and answers it with their types apart where they are none
    /// that a program makes up.
    async fn events(&self, call: Call) -> Answer {
        let list: Value = match self.api.read(call).await {
            Ok(list) => list,
            Err(error) => return Ok(failed(&error)),
        };
        let mut words = Vec::new();
        let known = page(&list, "events", |event| event_shown(event, &mut words));
        Ok(with_untrusted(&known, &words))
    }
}

/// The call for the events of which all that is given holds.
fn filtered(
    call: Call,
    endpoint: &Option<String>,
    event_type: &Option<String>,
    (from, to): (&Option<String>, &Option<String>),
) -> Call {
    with_given(call, &[("endpoint", endpoint), ("type", event_type), ("from", from), ("to", to)])
}

/// What is known of an event. The sender has written its type: one that may hold a sentence goes to
/// the words, by the id of the event.
fn event_shown(event: &Value, words: &mut Vec<(String, String)>) -> Value {
    let mut shown = pick(event, &SHOWN);
    let Some(members) = shown.as_object_mut() else { return shown };
    let is_hostile = |kind: &Value| !kind.as_str().is_some_and(is_plain_type);
    if let Some(kind) = members.get("type").cloned().filter(is_hostile) {
        members.remove("type");
        let id = event["id"].as_str().unwrap_or_default();
        let kind = kind.as_str().unwrap_or_default();
        words.push((format!("type of {id}"), cut(kind, HEADER_CHARS_MAX)));
    }
    shown
}

/// Whether it is a type such as programs have: `invoice.paid`, `a:b/c_d-e`.
fn is_plain_type(kind: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/-".contains(&byte);
    (1..=TYPE_BYTES_MAX).contains(&kind.len()) && kind.bytes().all(is_plain)
}
