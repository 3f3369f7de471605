//! An event as callers see it, its payload as it was sent.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ploy_webhooks::{
    EndpointId, Event, EventId, EventSummary, EventType, KeptHeaders, Run, WorkspaceId,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::openapi::nouns;
use crate::api::run::RunView;
use crate::api::time::Rfc3339;

/// An event in a list.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "EventSummary")]
pub(super) struct SummaryView {
    #[schemars(with = "nouns::EventId")]
    id: EventId,
    /// `null` for what the app has published.
    #[schemars(with = "Option<nouns::EndpointId>")]
    endpoint_id: Option<EndpointId>,
    #[schemars(with = "nouns::WorkspaceId")]
    workspace_id: WorkspaceId,
    received_at: Rfc3339,
    #[serde(rename = "type")]
    #[schemars(with = "Option<nouns::EventType>")]
    event_type: Option<EventType>,
    /// How many bytes the payload has.
    size: u64,
    source: Option<IpAddr>,
}

/// An event by itself.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Event")]
pub(super) struct EventView<'a> {
    #[serde(flatten)]
    summary: SummaryView,
    headers: BTreeMap<&'a str, String>,
    /// As it was sent; `null` where what the app has published is no JSON.
    #[schemars(with = "serde_json::Value")]
    payload: Option<&'a RawValue>,
    runs: Vec<RunView<'a>>,
}

impl SummaryView {
    pub(super) fn of(event: EventSummary, workspace: WorkspaceId) -> Self {
        Self {
            id: event.id,
            endpoint_id: event.endpoint,
            workspace_id: workspace,
            received_at: Rfc3339(event.received_at()),
            event_type: event.event_type,
            size: event.size,
            source: event.source,
        }
    }
}

impl<'a> EventView<'a> {
    pub(super) fn of(event: &'a Event, runs: &'a [Run]) -> Self {
        Self {
            summary: SummaryView::of(EventSummary::from(event), event.workspace),
            headers: headers(&event.headers),
            // Whatever the pipeline took is JSON; an app that publishes something else finds it
            // at `/payload`.
            payload: serde_json::from_slice(&event.payload).ok(),
            runs: runs.iter().map(RunView::of).collect(),
        }
    }
}

/// An event in an export: a line.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ExportedEvent")]
pub(super) struct LineView<'a> {
    #[serde(flatten)]
    summary: SummaryView,
    headers: BTreeMap<&'a str, String>,
    /// As it was sent, but that a line break between its parts is a space; `null` where what the app
    /// has published is no JSON.
    #[schemars(with = "serde_json::Value")]
    payload: Option<&'a RawValue>,
    /// What the app has published that is no JSON, in base64 (RFC 4648 §4).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "&str")]
    payload_base64: Option<String>,
}

impl<'a> LineView<'a> {
    /// The event with its payload, in which no line breaks any more.
    pub(super) fn of(event: &'a Event, payload: &'a [u8]) -> Self {
        let json = serde_json::from_slice(payload).ok();
        Self {
            summary: SummaryView::of(EventSummary::from(event), event.workspace),
            headers: headers(&event.headers),
            payload: json,
            payload_base64: json.is_none().then(|| STANDARD.encode(&event.payload)),
        }
    }
}

/// Several values of one header are joined as RFC 9110 §5.2 joins them.
fn headers(kept: &KeptHeaders) -> BTreeMap<&str, String> {
    let mut headers = BTreeMap::<_, String>::new();
    for (name, value) in kept.iter() {
        let text = String::from_utf8_lossy(value);
        headers
            .entry(name)
            .and_modify(|joined| {
                joined.push_str(", ");
                joined.push_str(&text);
            })
            .or_insert_with(|| text.into_owned());
    }
    headers
}
