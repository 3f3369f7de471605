//! What an accepted request becomes: its headers, its type, its runs, and by what its repeats
//! are known.

use std::time::Duration;

use ploy_webhooks::ingest::{Settings, SettingsError, SourceAddress};
use ploy_webhooks::store::{MemoryStore, RunStore};
use ploy_webhooks::{
    DedupBy, DedupRule, EndpointConfig, EndpointTrigger, Ingest, PloybookName, Trigger,
    ValueSource, WorkspaceId,
};

use super::intake::{Answer, Intake, full};

fn deduplicated(by: DedupBy, required: bool) -> EndpointConfig {
    let mut rule = DedupRule::new(by);
    rule.required = required;
    EndpointConfig { dedup: Some(rule), ..EndpointConfig::default() }
}

async fn send(intake: &Intake, headers: &[(&str, &str)], body: &'static str) -> Answer {
    let mut request = intake.request();
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    intake.send(request.body(full(body)).expect("a request")).await
}

fn assert_repeats(answer: &Answer, first: &Answer) {
    assert_eq!(answer.id(), first.id(), "{answer:?}");
    assert_eq!(answer.json["duplicate"], true);
    assert_eq!(first.json.get("duplicate"), None, "a first event is no duplicate");
}

#[tokio::test]
async fn repeats_are_known_by_a_header() {
    let name = "idempotency-key";
    let by = DedupBy::Header(name.parse().expect("a name"));
    let intake = Intake::open(deduplicated(by, false)).await;
    let first = send(&intake, &[(name, "one")], r#"{"n":1}"#).await;
    assert_repeats(&send(&intake, &[(name, "one")], r#"{"n":2}"#).await, &first);
    for headers in [&[(name, "two")][..], &[(name, "One")], &[], &[]] {
        let other = send(&intake, headers, r#"{"n":1}"#).await;
        assert_ne!(other.id(), first.id(), "{headers:?}");
    }
    assert_eq!(intake.count().await, 5);
}

#[tokio::test]
async fn repeats_are_known_by_pointers() {
    let pointers = ["/email", "/company"].map(|text| text.parse().expect("a pointer"));
    let intake = Intake::open(deduplicated(DedupBy::Pointers(pointers.into()), false)).await;
    let first = send(&intake, &[], r#"{"email":"a@b.c","company":1,"n":1}"#).await;
    for same in [
        r#"{"email":"a@b.c","company":1,"n":2}"#,
        r#"{ "company" : 1 , "email" : "\u0061@b.c" }"#,
        r#"{"email":"x","email":"a@b.c","company":1}"#,
    ] {
        assert_repeats(&send(&intake, &[], same).await, &first);
    }
    for other in [
        r#"{"email":"a@b.c","company":"1"}"#,
        r#"{"email":"a@b.c","company":1.0}"#,
        r#"{"email":"a@b.c","company":null}"#,
        r#"{"email":"a@b.c1","company":""}"#,
        r#"{"email":"a@b.c"}"#,
        r#"{"company":1}"#,
        r#"{}"#,
        r#"{}"#,
    ] {
        let answer = send(&intake, &[], other).await;
        assert_eq!(answer.json.get("duplicate"), None, "{other} repeats nothing");
    }
}

#[tokio::test]
async fn repeats_are_known_by_every_byte_of_the_body() {
    let intake = Intake::open(deduplicated(DedupBy::Body, true)).await;
    let first = send(&intake, &[], r#"{"a":1,"b":2}"#).await;
    assert_repeats(&send(&intake, &[], r#"{"a":1,"b":2}"#).await, &first);
    for other in [r#"{"b":2,"a":1}"#, r#"{"a":1,"b":2} "#, r#"{"a":1,"b":2.0}"#] {
        assert_eq!(send(&intake, &[], other).await.json.get("duplicate"), None);
    }
}

#[tokio::test]
async fn a_key_that_is_required_and_missing_is_a_400() {
    let header = DedupBy::Header("webhook-id".parse().expect("a name"));
    let intake = Intake::open(deduplicated(header, true)).await;
    send(&intake, &[], "{}").await.assert_is(400, "deduplication_key_missing");
    assert_eq!(send(&intake, &[("webhook-id", "1")], "{}").await.status, 202);

    let pointers = DedupBy::Pointers(vec!["/id".parse().expect("a pointer")]);
    let intake = Intake::open(deduplicated(pointers, true)).await;
    send(&intake, &[], r#"{"no":"id"}"#).await.assert_is(400, "deduplication_key_missing");
    assert_eq!(send(&intake, &[], r#"{"id":null}"#).await.status, 202);
    assert_eq!(intake.count().await, 1);
}

#[tokio::test]
async fn a_repeat_of_another_endpoint_is_none() {
    let config = deduplicated(DedupBy::Body, true);
    let intake = Intake::open(config.clone()).await;
    intake.create("other", intake.key.clone(), config).await;
    let first = intake.post("{}").await;
    let request = intake.request().uri("/other").body(full("{}")).expect("a request");
    assert_ne!(intake.send(request).await.id(), first.id());
}

#[tokio::test]
async fn listed_headers_are_kept_and_no_secret_among_them() {
    let intake = Intake::open(EndpointConfig::default()).await;
    let headers = [
        ("user-agent", "Clay/1"),
        ("traceparent", "00-1-2-03"),
        ("cookie", "session=secret"),
        ("x-api-key", "secret"),
        ("x-other", "not listed"),
    ];
    let answer = send(&intake, &headers, "{}").await;
    let event = intake.event(&answer).await;
    let mut kept: Vec<_> = event.headers.iter().map(|(name, _)| name).collect();
    kept.sort_unstable();
    assert_eq!(kept, ["traceparent", "user-agent"]);

    for name in ["authorization", "cookie", "x-hub-signature-256", "proxy-authorization"] {
        let name: http::HeaderName = name.parse().expect("a name");
        let mut settings = Settings::default();
        settings.kept_headers.push(name.clone());
        let built = Ingest::builder(MemoryStore::new(), MemoryStore::new()).settings(settings);
        let fault = built.build().expect_err("a secret would be kept");
        assert_eq!(fault, SettingsError::SecretHeader(name));
    }
}

#[tokio::test]
async fn the_source_is_kept_where_it_is_known() {
    let intake = Intake::open(EndpointConfig::default()).await;
    assert_eq!(intake.event(&intake.post("{}").await).await.source, None);
    let mut request = intake.request().body(full("{}")).expect("a request");
    request.extensions_mut().insert(SourceAddress([192, 0, 2, 1].into()));
    let answer = intake.send(request).await;
    assert_eq!(intake.event(&answer).await.source, Some([192, 0, 2, 1].into()));
}

#[tokio::test]
async fn the_type_is_read_from_a_header_or_by_a_pointer() {
    let header = ValueSource::Header("x-event".parse().expect("a name"));
    let pointer = ValueSource::Pointer("/type".parse().expect("a pointer"));
    let long = "x".repeat(257);
    for (source, headers, body, expected) in [
        (&header, vec![("x-event", "paid")], r#"{"type":"due"}"#, Some("paid")),
        (&header, vec![], r#"{"type":"due"}"#, None),
        (&header, vec![("x-event", "")], "{}", None),
        (&header, vec![("x-event", long.as_str())], "{}", None),
        (&pointer, vec![("x-event", "paid")], r#"{"type":"due"}"#, Some("due")),
        (&pointer, vec![], r#"{"type":"d\u0075e"}"#, Some("due")),
        (&pointer, vec![], r#"{"type":7}"#, None),
        (&pointer, vec![], r#"{"type":""}"#, None),
        (&pointer, vec![], r#"{"type":"\ud800"}"#, None),
        (&pointer, vec![], r#"{"type":"a\nb"}"#, None),
        (&pointer, vec![], r#"{}"#, None),
    ] {
        let intake = Intake::open(EndpointConfig {
            event_type: Some(source.clone()),
            ..EndpointConfig::default()
        })
        .await;
        let answer = send(&intake, &headers, body).await;
        let event_type = intake.event(&answer).await.event_type;
        let shown = event_type.as_ref().map(|event_type| event_type.as_str());
        assert_eq!(shown, expected, "{source:?} {headers:?} {body}");
    }
}

#[tokio::test]
async fn a_trigger_is_a_run_that_the_event_owes() {
    let mut config = deduplicated(DedupBy::Body, true);
    let ploybook: PloybookName = "enrich".parse().unwrap();
    config.trigger = Some(EndpointTrigger { ploybook: ploybook.clone() });
    let intake = Intake::open(config).await;
    let answer = intake.post("{}").await;
    assert_repeats(&intake.post("{}").await, &answer);
    let store = &intake.watched.store;
    let runs = store.runs(&WorkspaceId::DEFAULT, &answer.id()).await;
    let runs = runs.expect("memory answers");
    let triggers: Vec<_> = runs.iter().map(|run| &run.trigger).collect();
    assert_eq!(triggers, [&Trigger::ploybook(ploybook)]);
    intake.configure(|config| config.trigger = None).await;
    let answer = intake.post("{ }").await;
    let runs = store.runs(&WorkspaceId::DEFAULT, &answer.id()).await;
    assert_eq!(runs.expect("memory answers"), []);
}

#[tokio::test]
async fn the_time_of_an_event_is_when_it_was_received() {
    let intake = Intake::open(EndpointConfig::default()).await;
    // Ids of one process ascend: a clock that is ahead of every other test shows its time.
    intake.clock.0.advance(Duration::from_secs(100 * 365 * 86_400));
    let now = ploy_webhooks::Clock::now(&intake.clock);
    let event = intake.event(&intake.post("{}").await).await;
    assert!(event.received_at() >= now);
}
