//! Events to fill templates in from.

use std::num::NonZeroU32;

use bytes::Bytes;
use ploy_webhooks::{EndpointId, Event, EventId, FieldMap, Fields, NewEvent, WorkspaceId};
use ploy_webhooks_delivery::template::{Merge, MergeParts, Missing};

pub(crate) fn event(payload: impl Into<Bytes>) -> Event {
    let id = EventId::from_bytes([1; 16]);
    let mut event: Event = NewEvent::published(id, WorkspaceId::DEFAULT, payload.into()).into();
    event.endpoint = Some(EndpointId::from_bytes([2; 16]));
    event.event_type = Some("lead.new".to_owned().try_into().unwrap());
    event
}

pub(crate) fn merge_of(payload: impl Into<Bytes>, fields: &Fields, missing: Missing) -> Merge {
    let attempt = NonZeroU32::new(3).unwrap();
    Merge::new(MergeParts {
        event: &event(payload),
        fields,
        delivery_id: "dlv_1",
        attempt,
        missing,
    })
}

/// What is missing is an error.
pub(crate) fn merge(payload: impl Into<Bytes>) -> Merge {
    merge_of(payload, &Fields::default(), Missing::Fail)
}

/// What is missing is empty.
pub(crate) fn lenient(payload: impl Into<Bytes>) -> Merge {
    merge_of(payload, &Fields::default(), Missing::Empty)
}

pub(crate) fn fields(map: &str, payload: &str) -> Fields {
    let map: FieldMap = serde_json::from_str(map).unwrap();
    map.take(payload).unwrap()
}
