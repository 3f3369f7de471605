//! No text and no payload breaks a condition, and its verdict on an event is one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ploy_webhooks::{
    Condition, Event, EventId, Facts, Fields, NewEvent, Timestamp, Verdict, WorkspaceId,
};

fuzz_target!(|input: (&str, &[u8])| {
    let (text, payload) = input;
    let Ok(condition) = Condition::compile(text) else {
        return;
    };
    assert!(text.len() <= Condition::TEXT_BYTES_MAX);
    let id = EventId::mint(Timestamp::from_millis(0));
    let event: Event =
        NewEvent::published(id, WorkspaceId::DEFAULT, payload.to_vec().into()).into();
    let fields = Fields::default();
    let facts = Facts { event: &event, fields: &fields };
    let verdict = condition.judge(&facts);
    assert_eq!(condition.judge(&facts), verdict);
    if let Verdict::Unclear(reason) = verdict {
        assert!(!reason.is_empty() && reason.len() < 2_048, "{reason}");
    }
});
