//! The body of a request: a run, as an engine is told of it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp as Time;
use ploy_webhooks::trigger::{Job, Prompt, RunError};
use ploy_webhooks::{
    Action, EndpointId, EventId, EventType, PloybookName, RunId, Task, Timestamp, Trigger,
    WorkspaceId,
};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

#[derive(Serialize)]
struct Request<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    /// When there was a run: the same in every attempt.
    timestamp: Rfc3339,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    run_id: RunId,
    attempt: u32,
    event_id: EventId,
    event_type: Option<&'a EventType>,
    endpoint_id: Option<EndpointId>,
    workspace_id: WorkspaceId,
    received_at: Rfc3339,
    ploybook: &'a PloybookName,
    instructions: &'a str,
    /// What the endpoint names in the payload; left out where it names nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Box<RawValue>>,
    /// All of it as one text, for engines that hand it on to an agent.
    prompt: String,
    #[serde(flatten)]
    payload: Payload<'a>,
}

#[derive(Serialize)]
enum Payload<'a> {
    #[serde(rename = "payload")]
    Json(&'a RawValue),
    /// An app may publish what is not JSON.
    #[serde(rename = "payload_base64")]
    Other(String),
}

/// What the engine is sent.
///
/// # Errors
///
/// When the job is to decide what is run: that is nothing to send.
pub(super) fn body(job: &Job) -> Result<Vec<u8>, RunError> {
    let Trigger::Task(Task { action: Action::Ploybook(name), .. }) = &job.trigger else {
        return Err(RunError::permanent(
            "the run is not one of a Ploybook: put `Ploybooks` around the runner",
        ));
    };
    let event = &job.event;
    let request = Request {
        kind: "ploybook.run",
        timestamp: Rfc3339(job.run.timestamp()),
        data: Data {
            run_id: job.run,
            attempt: job.attempt.get(),
            event_id: event.id,
            event_type: event.event_type.as_ref(),
            endpoint_id: event.endpoint,
            workspace_id: event.workspace,
            received_at: Rfc3339(event.received_at()),
            ploybook: name,
            instructions: job.ploybook.as_ref().map_or("", |ploybook| &ploybook.instructions),
            fields: (!job.fields.is_empty()).then(|| {
                RawValue::from_string(job.fields.to_json()).expect("fields are written as JSON")
            }),
            prompt: Prompt::of(job).text(),
            payload: serde_json::from_slice(&event.payload)
                .map_or_else(|_| Payload::Other(STANDARD.encode(&event.payload)), Payload::Json),
        },
    };
    Ok(serde_json::to_vec(&request).expect("there is nothing in it that JSON cannot hold"))
}

/// A time that is written as RFC 3339: UTC, milliseconds.
#[derive(Clone, Copy)]
struct Rfc3339(Timestamp);

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Ids reach to the year 10889, RFC 3339 to 9999.
        let time = i64::try_from(self.0.as_millis())
            .ok()
            .and_then(|millis| Time::from_millisecond(millis).ok())
            .unwrap_or(Time::MAX);
        serializer.collect_str(&time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ"))
    }
}
