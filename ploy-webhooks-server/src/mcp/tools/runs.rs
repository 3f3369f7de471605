//! Runs: what events owe, and what came of it.

use rmcp::handler::server::wrapper::Parameters;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{page_of, with_given};
use crate::api_client::Call;
use crate::mcp::Tools;
use crate::mcp::answer::{Answer, cut, failed, page, pick, with_untrusted};

/// So much of what an attempt has put out is shown.
const WORDS_CHARS_MAX: usize = 2_000;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListRuns {
    /// Only those of this event: evt_…
    event: Option<String>,
    /// Only those in this state: queued, running, retrying, succeeded, failed or cancelled.
    state: Option<String>,
    /// Only deliveries to this destination: dst_…
    destination: Option<String>,
    /// How many at most: 1 to 200. Default: 20.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u16>,
    /// Where to go on: next_cursor of the page before.
    cursor: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OneRun {
    /// The id of the run: run_…
    run: String,
}

#[tool_router(router = run_tools, vis = "pub(in crate::mcp)")]
impl Tools {
    /// Lists runs, the newest first: id, event, state, what it runs, how many attempts there were.
    #[tool(annotations(title = "List runs", read_only_hint = true, open_world_hint = false))]
    async fn list_runs(&self, Parameters(given): Parameters<ListRuns>) -> Answer {
        let call = page_of(Call::get(&["runs"]), given.limit, given.cursor.as_deref());
        let call = with_given(
            call,
            &[
                ("event", &given.event),
                ("state", &given.state),
                ("destination", &given.destination),
            ],
        );
        self.answer(call, |list| page(list, "runs", run_shown)).await
    }

    /// Shows one run: its attempts, with their outputs and errors.
    #[tool(annotations(title = "Get a run", read_only_hint = true, open_world_hint = false))]
    async fn get_run(&self, Parameters(given): Parameters<OneRun>) -> Answer {
        Ok(match self.api.read::<Value>(Call::get(&["runs", &given.run])).await {
            Ok(run) => {
                let mut known = run_shown(&run);
                let times = ["number", "started_at", "ended_at", "outcome"];
                known["attempts"] =
                    attempts(&run).iter().map(|attempt| pick(attempt, &times)).collect();
                with_untrusted(&known, &words_of(&run))
            }
            Err(error) => failed(&error),
        })
    }

    /// Has a run tried once more, now: one that failed, was cancelled, or waits for its next attempt.
    #[tool(annotations(
        title = "Retry a run",
        destructive_hint = true,
        idempotent_hint = false,
        open_world_hint = true
    ))]
    async fn retry_run(&self, Parameters(given): Parameters<OneRun>) -> Answer {
        self.answer(Call::post(&["runs", &given.run, "retry"]), run_shown).await
    }
}

fn attempts(run: &Value) -> &[Value] {
    run["attempts"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// What is known of a run, without what it has said.
pub(super) fn run_shown(run: &Value) -> Value {
    let mut shown = pick(run, &["id", "event_id", "state", "trigger"]);
    shown["attempts"] = json!(attempts(run).len());
    shown
}

/// What the attempts of a run have said, each by its number.
pub(super) fn words_of(run: &Value) -> Vec<(String, String)> {
    let id = run["id"].as_str().unwrap_or_default();
    let mut words = Vec::new();
    for attempt in attempts(run) {
        for kind in ["output", "error"] {
            if let Some(said) = attempt[kind].as_str().filter(|said| !said.is_empty()) {
                let name = format!("{kind} of attempt {} of {id}", attempt["number"]);
                words.push((name, cut(said, WORDS_CHARS_MAX)));
            }
        }
    }
    words
}
