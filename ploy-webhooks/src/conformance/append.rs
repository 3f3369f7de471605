//! Promises about what is kept of an event.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::EventsFixture;
use super::scene::{
    LONG, all_ids, checked_at, endpoint, event, event_type, everything, find, keyed, look_up,
    published, run, store_one,
};
use crate::endpoint::{Endpoint, Revision};
use crate::event::{EventSummary, KeptHeaders, NewEvent};
use crate::store::{Appended, EventStore, StoreErrorKind};

/// The bytes of a payload come back as they were appended: nothing is parsed, reordered, trimmed
/// or re-encoded, however odd the JSON is.
pub async fn payloads_are_kept_verbatim<F: EventsFixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    for payload in odd_payloads() {
        let id = store_one(&*store, event(&endpoint, payload.clone())).await;
        let kept = look_up(&*store, &endpoint.workspace, &id).await;
        let kept = kept.expect("an event that was stored is there");
        assert!(
            kept.payload == payload,
            "the payload {:?} came back as {:?}",
            excerpt(&payload),
            excerpt(&kept.payload),
        );
    }
}

pub(super) fn odd_payloads() -> Vec<Vec<u8>> {
    let small = [
        r#"{}"#,
        "{ }",
        " \t\r\n{\"white\" :\t1 } \r\n",
        r#"{"z":1,"a":2,"m":{"y":1,"b":2}}"#,
        r#"{"twice":1,"twice":2,"twice":1}"#,
        r#"{"zero":"\u0000","in the middle":"a\u0000b"}"#,
        r#"{"lone":"\ud800","other":"\udfff","pair":"\ud83d\ude00","turned":"\ude00\ud83d"}"#,
        r#"{"huge":1e999,"tiny":1E-999,"minus":-0,"point":1.50,"long":123456789012345678901234567890}"#,
        r#"{"escaped":"\u00e9\/\b\f\n\r\t\"\\","plain":"é/ß漢😀"}"#,
        "{\"line separators\":\"\u{2028}\u{2029}\u{feff}\u{7f}\u{85}\"}",
        r#"{"":"","null":null,"'; DROP TABLE events; --":"%_$1?'\"`"}"#,
    ];
    let mut payloads: Vec<Vec<u8>> = small.map(|text| text.as_bytes().to_vec()).into();
    payloads.push(format!("{}{}", r#"{"a":"#.repeat(5_000), "1").into_bytes());
    if let Some(deep) = payloads.last_mut() {
        deep.extend("}".repeat(5_000).bytes());
    }
    payloads.push(mebibyte());
    payloads
}

/// One JSON object of exactly 1,048,576 bytes, which no compression makes small.
fn mebibyte() -> Vec<u8> {
    let mut payload = br#"{"filled":""#.to_vec();
    let mut random = fastrand::Rng::with_seed(1);
    payload.extend((payload.len()..(1 << 20) - 2).map(|_| random.alphanumeric() as u8));
    payload.extend(br#""}"#);
    payload
}

fn excerpt(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(&payload[..payload.len().min(200)]).into_owned();
    format!("{text} ({} bytes)", payload.len())
}

/// What is known of an event besides its payload comes back too: its endpoint, type, headers and
/// source, from a look-up and, without the headers, from a search.
pub async fn what_is_known_of_an_event_is_kept<F: EventsFixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    for event in varied_events(&endpoint) {
        let id = store_one(&*store, event.clone()).await;
        let kept = look_up(&*store, &endpoint.workspace, &id).await;
        let summary = EventSummary::from(&event);
        assert_eq!(
            kept.expect("an event that was stored is there"),
            event.into(),
            "the event came back otherwise than it was appended"
        );
        let mut query = everything(endpoint.workspace);
        query.from = Some(id.timestamp());
        let found = find(&*store, &query).await;
        assert_eq!(
            found.iter().find(|found| found.id == id),
            Some(&summary),
            "a search shows the event otherwise than it was appended"
        );
    }
}

pub(super) fn varied_events(endpoint: &Endpoint) -> Vec<NewEvent> {
    let lines =
        b"user-agent: curl/8\r\nx-twice: one\r\nx-twice: two\r\nx-empty: \r\nx-obs: \xe9\xff\r\n";
    let headers = KeptHeaders::from_lines(lines).expect("these are header lines");
    let sources: [IpAddr; 4] = [
        [192, 0, 2, 7].into(),
        [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x2a].into(),
        [0, 0, 0, 0, 0, 0xffff, 0xc000, 0x207].into(),
        [0; 4].into(),
    ];
    let mut events = vec![
        event(endpoint, "{}"),
        published(endpoint.workspace, "{}"),
        NewEvent { headers, ..event(endpoint, r#"{"has":"headers"}"#) },
        NewEvent {
            event_type: Some(event_type("invoice.paid")),
            ..published(endpoint.workspace, r#"{"is":"published"}"#)
        },
        NewEvent {
            event_type: Some(event_type(&"ü".repeat(128))),
            ..event(endpoint, r#"{"has":"a long type"}"#)
        },
    ];
    events.extend(sources.map(|source| NewEvent {
        source: Some(source),
        ..event(endpoint, r#"{"has":"a source"}"#)
    }));
    events
}

/// An id that the workspace never had finds nothing.
pub async fn an_unknown_event_is_none<F: EventsFixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let never_appended = event(&endpoint, "{}").id;
    let found = look_up(&*store, &endpoint.workspace, &never_appended).await;
    assert_eq!(found, None, "an event that was never appended was found");
}

/// Events that are appended at the same time share a commit at most, never a fate: each of them
/// is stored, a duplicate or fenced by itself alone, and only those that are said to be stored
/// are there.
pub async fn a_refused_event_does_not_harm_its_neighbours<F: EventsFixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let first = store_one(&*store, keyed(event(&endpoint, "{}"), 1, LONG)).await;
    let mut appends = JoinSet::new();
    for number in 0..96 {
        let good = event(&endpoint, format!(r#"{{"number":{number}}}"#));
        let (event, expected) = match number % 6 {
            0 => (checked_at(good, Revision::new(999)), "fenced"),
            1 => (keyed(good, 1, LONG), "duplicate"),
            _ => (good, "stored"),
        };
        let store = Arc::clone(&store);
        appends.spawn(async move { (event.id, expected, store.append(event).await) });
    }
    let mut stored = vec![first];
    while let Some(done) = appends.join_next().await {
        let (id, expected, outcome) = done.expect("no append panics");
        match (expected, &outcome) {
            ("stored", Ok(Appended::Stored)) => stored.push(id),
            ("duplicate", Ok(Appended::Duplicate(of))) if *of == first => {}
            ("fenced", Ok(Appended::Fenced(event))) if event.id == id => {}
            _ => panic!("an event that should be {expected} is {outcome:?}"),
        }
    }
    stored.sort();
    let kept: Vec<_> = all_ids(&*store, endpoint.workspace).await.into_iter().collect();
    assert_eq!(kept, stored, "left: what is there; right: what was said to be stored");
}

/// A store without runs says that an event with runs is a misuse, and stores nothing of it:
/// it does not drop what is owed.
///
/// Only for stores of events alone; the others store the runs
/// ([`owed_runs_are_stored_with_their_event`](super::owed_runs_are_stored_with_their_event)).
pub async fn owed_runs_are_not_dropped<F: EventsFixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with(vec![endpoint.clone()]).await;
    let event = NewEvent { owes: vec![run("enrich")], ..event(&endpoint, "{}") };
    let id = event.id;
    match store.append(event).await {
        Err(error) if error.kind() == StoreErrorKind::Misuse => {}
        other => panic!("a store without runs must say `Misuse` to an event with one: {other:?}"),
    }
    let kept = look_up(&*store, &endpoint.workspace, &id).await;
    assert_eq!(kept, None, "the event was refused and is there all the same");
}
