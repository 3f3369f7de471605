//! A run as callers see it, with what was tried.

use std::borrow::Cow;

use ploy_webhooks::{Attempt, EventId, Outcome, Run, RunId, RunState, Trigger};
use ploy_webhooks_delivery::Record;
use schemars::JsonSchema;
use serde::Serialize;

use super::openapi::nouns;
use super::time::Rfc3339;

/// A run with its attempts, in order.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Run")]
pub(super) struct RunView<'a> {
    #[schemars(with = "nouns::RunId")]
    id: RunId,
    #[schemars(with = "nouns::EventId")]
    event_id: EventId,
    #[schemars(with = "nouns::RunState")]
    state: RunState,
    #[schemars(with = "nouns::Trigger")]
    trigger: &'a Trigger,
    created_at: Rfc3339,
    attempts: Vec<AttemptView<'a>>,
}

/// All that tells of its end is `null` while it is under way, and for good where its worker was
/// lost.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Attempt")]
struct AttemptView<'a> {
    number: u32,
    started_at: Rfc3339,
    worker: &'a str,
    ended_at: Option<Rfc3339>,
    /// `succeeded`, `retry` (it failed and was to be tried again), `held` (nothing was tried, since
    /// it could not be at that time) or `failed` (and was given up).
    #[schemars(extend("enum" = ["succeeded", "retry", "held", "failed", null]))]
    outcome: Option<&'static str>,
    output: Option<Cow<'a, str>>,
    error: Option<Cow<'a, str>>,
    /// What is on record of an attempt to deliver, in place of the output.
    #[schemars(with = "nouns::Record")]
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<Record>,
}

impl<'a> RunView<'a> {
    pub(super) fn of(run: &'a Run) -> Self {
        Self {
            id: run.id,
            event_id: run.event,
            state: run.state,
            trigger: &run.trigger,
            created_at: Rfc3339(run.created_at),
            attempts: match run.trigger.destination() {
                Some(_) => run.attempts.iter().map(AttemptView::of_delivery).collect(),
                None => run.attempts.iter().map(AttemptView::of).collect(),
            },
        }
    }
}

impl<'a> AttemptView<'a> {
    fn of(attempt: &'a Attempt) -> Self {
        let (outcome, output, error) = match attempt.end.as_ref().map(|end| &end.outcome) {
            // Whatever bytes it is, JSON has text.
            Some(Outcome::Succeed { output }) => {
                (Some("succeeded"), Some(String::from_utf8_lossy(output)), None)
            }
            Some(Outcome::Retry { error, .. }) => {
                (Some("retry"), None, Some(error.as_str().into()))
            }
            Some(Outcome::Fail { error }) => (Some("failed"), None, Some(error.as_str().into())),
            None => (None, None, None),
        };
        Self {
            number: attempt.number.get(),
            started_at: Rfc3339(attempt.started_at),
            worker: attempt.worker.as_str(),
            ended_at: attempt.end.as_ref().map(|end| Rfc3339(end.at)),
            outcome,
            output,
            error,
            delivery: None,
        }
    }

    /// What came of a delivery is a record; what ended otherwise, as by a worker that was stopped, is
    /// shown as it is.
    fn of_delivery(attempt: &'a Attempt) -> Self {
        let view = Self::of(attempt);
        let said = view.output.as_deref().or(view.error.as_deref());
        let Some(record) = said.and_then(Record::of_text) else { return view };
        let outcome = match view.outcome {
            Some("retry") if record.held => Some("held"),
            outcome => outcome,
        };
        let error = record.error.clone().map(Cow::Owned);
        Self { outcome, output: None, error, delivery: Some(record), ..view }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ploy_webhooks::{AttemptEnd, Timestamp};
    use serde_json::json;

    use super::*;

    #[test]
    fn attempts_are_shown_with_what_came_of_them() {
        let at = |seconds| Timestamp::from_millis(1_700_000_000_000 + seconds * 1_000);
        let attempt = |number: u32, outcome: Option<Outcome>| Attempt {
            number: number.try_into().unwrap(),
            started_at: at(u64::from(number)),
            worker: "node-1:4711".parse().unwrap(),
            end: outcome.map(|outcome| AttemptEnd { at: at(u64::from(number) + 1), outcome }),
        };
        let trigger = Trigger::ploybook("enrich".parse().unwrap());
        let id = RunId::from_bytes([0; 16]);
        let mut run = Run::queued(id, EventId::from_bytes([0; 16]), trigger, at(0));
        let retry = Outcome::Retry { error: "502 \u{0}".to_owned(), after: Duration::ZERO };
        run.state = RunState::Retrying;
        run.attempts = vec![
            attempt(1, Some(retry)),
            attempt(2, None),
            attempt(3, Some(Outcome::Fail { error: String::new() })),
            attempt(4, Some(Outcome::Succeed { output: vec![b'a', 0xff].into() })),
        ];

        let shown = serde_json::to_value(RunView::of(&run)).unwrap();
        assert_eq!(shown["state"], "retrying");
        assert_eq!(
            shown["attempts"],
            json!([
                {
                    "number": 1,
                    "started_at": "2023-11-14T22:13:21.000Z",
                    "worker": "node-1:4711",
                    "ended_at": "2023-11-14T22:13:22.000Z",
                    "outcome": "retry",
                    "output": null,
                    "error": "502 \u{0}",
                },
                {
                    "number": 2,
                    "started_at": "2023-11-14T22:13:22.000Z",
                    "worker": "node-1:4711",
                    "ended_at": null,
                    "outcome": null,
                    "output": null,
                    "error": null,
                },
                {
                    "number": 3,
                    "started_at": "2023-11-14T22:13:23.000Z",
                    "worker": "node-1:4711",
                    "ended_at": "2023-11-14T22:13:24.000Z",
                    "outcome": "failed",
                    "output": null,
                    "error": "",
                },
                {
                    "number": 4,
                    "started_at": "2023-11-14T22:13:24.000Z",
                    "worker": "node-1:4711",
                    "ended_at": "2023-11-14T22:13:25.000Z",
                    "outcome": "succeeded",
                    "output": "a\u{fffd}",
                    "error": null,
                },
            ])
        );
    }
}
