//! The same signed request again: where an endpoint takes what is signed once, and what presets
//! call a delivery.

use std::time::Duration;

use http::HeaderMap;
use ploy_webhooks::verify::{Preset, Scheme, SignatureScheme};
use ploy_webhooks::{Clock, DedupBy, DedupRule, EndpointConfig, SignatureAuth};
use std::sync::Arc;

use super::signed_intake::{SetUp, SignedIntake, Told};

#[track_caller]
fn assert_repeats(told: &Told, first: &Told) {
    assert!(told.is_duplicate(), "{told:?}");
    assert!(!first.is_duplicate(), "{first:?}");
    assert_eq!(told.id(), first.id());
}

fn with(headers: &HeaderMap, name: &str, value: &str) -> HeaderMap {
    let mut headers = headers.clone();
    let name: http::HeaderName = name.parse().expect("a name");
    headers.insert(name, value.parse().expect("a value"));
    headers
}

fn with_rule(by: DedupBy, window: Duration) -> EndpointConfig {
    let mut rule = DedupRule::new(by);
    rule.window = window;
    EndpointConfig { dedup: Some(rule), ..EndpointConfig::default() }
}

fn off() -> EndpointConfig {
    with_rule(DedupBy::Nothing, DedupRule::WINDOW_DEFAULT)
}

#[tokio::test]
async fn what_is_signed_is_taken_once_where_the_endpoint_says_so() {
    for preset in Preset::all() {
        for config in [EndpointConfig::default(), off()] {
            let name = preset.name();
            let once = SetUp::of(name).once().config(config).open().await;
            let headers = once.sign(b"{\"a\":1}");
            let first = once.send_as(&headers, b"{\"a\":1}").await;
            assert_repeats(&once.send_as(&headers, b"{\"a\":1}").await, &first);
            let other = once.post(r#"{"a":2}"#).await;
            // Of Standard Webhooks the id is the delivery's; the body does not make another.
            let by_id =
                once.endpoint().await.config.dedup.is_none() && preset.description().id.is_some();
            assert_eq!(other.is_duplicate(), by_id, "{name}");
        }
    }
}

#[tokio::test]
async fn without_that_the_same_is_taken_again() {
    for name in ["clay", "stripe", "slack", "square"] {
        let intake = SetUp::of(name).config(off()).open().await;
        let headers = intake.sign(b"{}");
        for _ in 0..3 {
            assert!(!intake.send_as(&headers, b"{}").await.is_duplicate(), "{name}");
        }
        assert_eq!(intake.count().await, 3);
    }
}

#[tokio::test]
async fn a_repeat_is_one_however_its_signature_is_written() {
    let intake = SetUp::of("stripe").once().open().await;
    let new = ploy_webhooks::Secret::mint_signing_secret();
    let sealed = intake.sealed(&new).await;
    let now = intake.clock.now();
    let mut both = intake.auth().await.rotated(sealed, Duration::from_secs(3_600), now);
    both.once = true;
    intake.set_auth(both).await;

    let header = "stripe-signature";
    let value = |secret| {
        let headers = intake.sign_with(secret, "", "", b"{}");
        headers[header].to_str().expect("text").to_owned()
    };
    let (by_old, by_new) = (value(&intake.secret), value(&new));
    let (time, _) = by_old.split_once(',').expect("the time comes first");
    let signature = |value: &str| value.split_once("v1=").expect("a signature").1.to_owned();
    let (old, new) = (signature(&by_old), signature(&by_new));
    let send =
        async |value: &str| intake.send_as(&with(&HeaderMap::new(), header, value), b"{}").await;
    let first = send(&format!("{time},v1={old},v1={new}")).await;
    for value in [
        by_old.clone(),
        by_new,
        format!("{time},v1={new},v1={old}"),
        format!("{time},v1=00,v1={old}"),
        format!("v1={old},{time}"),
        format!("{time}, v1={}", old.to_uppercase()),
        format!("x=1,{time},v0=1,v1={old}"),
    ] {
        assert_repeats(&send(&value).await, &first);
    }
    assert_eq!(intake.count().await, 1);
}

/// A header that is not signed can be changed by who has caught a request; what is signed cannot.
#[tokio::test]
async fn a_header_that_is_not_signed_makes_no_other_delivery() {
    let by = || DedupBy::Header("idempotency-key".parse().expect("a name"));
    for (name, header, config) in [
        ("github", "x-github-delivery", EndpointConfig::default()),
        ("shopify", "x-shopify-webhook-id", EndpointConfig::default()),
        ("linear", "linear-delivery", EndpointConfig::default()),
        ("gitlab", "idempotency-key", EndpointConfig::default()),
        ("clay", "idempotency-key", with_rule(by(), Duration::from_secs(60))),
        ("stripe", "idempotency-key", with_rule(by(), Duration::from_secs(60))),
    ] {
        let intake = SetUp::of(name).once().config(config).open().await;
        let headers = intake.sign(b"{}");
        let first = intake.send_as(&with(&headers, header, "one"), b"{}").await;
        for headers in [with(&headers, header, "two"), with(&headers, header, ""), headers] {
            assert_repeats(&intake.send_as(&headers, b"{}").await, &first);
        }
        assert_eq!(intake.count().await, 1, "{name}");
    }
}

/// What is signed again is another delivery where only the time tells, and the same where the
/// payload says so.
#[tokio::test]
async fn what_is_signed_anew_is_known_by_what_the_payload_says() {
    for (config, is_duplicate) in [(EndpointConfig::default(), true), (off(), false)] {
        let intake = SetUp::of("stripe").once().config(config).open().await;
        let body = r#"{"id":"evt_1","type":"paid"}"#;
        let first = intake.post(body).await;
        intake.clock.0.advance(Duration::from_secs(5));
        let again = intake.post(body).await;
        assert_eq!(again.is_duplicate(), is_duplicate);
        assert_eq!(again.id() == first.id(), is_duplicate);
    }
}

/// A time that lies ahead by the whole tolerance can be presented for twice as long.
#[tokio::test]
async fn what_is_signed_is_remembered_for_as_long_as_it_can_be_presented() {
    let intake = SetUp::of("stripe").once().config(off()).open().await;
    let ahead = intake.clock.now().after(Duration::from_secs(300));
    let headers = intake.sign_at(ahead, b"{}");
    let first = intake.send_as(&headers, b"{}").await;
    for seconds in [300, 299] {
        intake.clock.0.advance(Duration::from_secs(seconds));
        assert_repeats(&intake.send_as(&headers, b"{}").await, &first);
    }
    intake.clock.0.advance(Duration::from_secs(2));
    intake.send_as(&headers, b"{}").await.assert_is(401, "stale_timestamp");
    assert_eq!(intake.count().await, 1);
}

#[tokio::test]
async fn without_a_time_it_is_remembered_for_a_day() {
    let intake = SetUp::of("clay").once().config(off()).open().await;
    let headers = intake.sign(b"{}");
    let first = intake.send_as(&headers, b"{}").await;
    intake.clock.0.advance(Duration::from_millis(86_399_999));
    assert_repeats(&intake.send_as(&headers, b"{}").await, &first);
    intake.clock.0.advance(Duration::from_millis(1));
    assert!(!intake.send_as(&headers, b"{}").await.is_duplicate(), "the window has ended");
}

/// Of a rule and of what is taken once, the longer window holds.
#[tokio::test]
async fn the_longer_window_holds() {
    for (window, until) in [(10, 86_400), (90_000, 90_000)] {
        let config = with_rule(DedupBy::Body, Duration::from_secs(window));
        let intake = SetUp::of("clay").once().config(config).open().await;
        let first = intake.post("{}").await;
        intake.clock.0.advance(Duration::from_secs(until - 1));
        assert_repeats(&intake.post("{}").await, &first);
        intake.clock.0.advance(Duration::from_secs(1));
        assert!(!intake.post("{}").await.is_duplicate(), "{window} s");
    }
}

/// An event of one delivery, another of the same, another delivery.
async fn deliveries(preset: &str, config: EndpointConfig) -> (SignedIntake, [Told; 3]) {
    let intake = SetUp::of(preset).config(config).open().await;
    let source = intake.scheme.description().delivery.clone().expect("it has deliveries");
    let send = async |delivery: &str, noise: &str| match &source {
        ploy_webhooks::ValueSource::Header(name) => {
            let body = format!(r#"{{"noise":"{noise}"}}"#);
            let mut headers =
                intake.sign_with(&intake.secret, delivery, &intake.url(), body.as_bytes());
            headers.insert(name, delivery.parse().expect("a value"));
            intake.send_as(&headers, body.as_bytes()).await
        }
        ploy_webhooks::ValueSource::Pointer(pointer) => {
            let text = pointer.to_string();
            let name = text.strip_prefix('/').expect("a pointer into the top");
            intake.post(&format!(r#"{{"{name}":"{delivery}","noise":"{noise}"}}"#)).await
        }
        other => panic!("{other:?}"),
    };
    let told = [send("one", "a").await, send("one", "b").await, send("two", "b").await];
    (intake, told)
}

#[tokio::test]
async fn what_a_preset_calls_a_delivery_is_taken_once_a_day_without_configuration() {
    let with_deliveries = Preset::all().filter(|preset| preset.description().delivery.is_some());
    let mut count = 0;
    for preset in with_deliveries {
        let (intake, [first, again, other]) =
            deliveries(preset.name(), EndpointConfig::default()).await;
        assert_repeats(&again, &first);
        assert!(!other.is_duplicate(), "{}", preset.name());
        assert_eq!(intake.count().await, 2, "{}", preset.name());
        count += 1;
    }
    assert_eq!(count, 14);
}

#[tokio::test]
async fn the_window_of_a_delivery_is_a_day() {
    let intake = SetUp::of("stripe").open().await;
    let body = r#"{"id":"evt_1"}"#;
    let first = intake.post(body).await;
    intake.clock.0.advance(DedupRule::WINDOW_DEFAULT - Duration::from_secs(1));
    assert_repeats(&intake.post(body).await, &first);
    intake.clock.0.advance(Duration::from_secs(1));
    assert!(!intake.post(body).await.is_duplicate());
}

#[tokio::test]
async fn what_has_no_delivery_is_no_repeat() {
    for (preset, body) in [("stripe", r#"{"type":"paid"}"#), ("stripe", r#"{"ids":[1]}"#)] {
        let intake = SetUp::of(preset).open().await;
        for _ in 0..2 {
            assert!(!intake.post(body).await.is_duplicate(), "{preset}");
        }
    }
    let intake = SetUp::of("github").open().await;
    let headers = with(&intake.sign(b"{}"), "x-github-delivery", "");
    for _ in 0..2 {
        assert!(!intake.send_as(&headers, b"{}").await.is_duplicate(), "an empty one is none");
    }
}

#[tokio::test]
async fn deduplication_that_is_off_is_off_for_deliveries_too() {
    let config: EndpointConfig =
        serde_json::from_str(r#"{"dedup":{"off":true}}"#).expect("it is valid");
    for name in ["stripe", "github", "standard-webhooks"] {
        let (intake, told) = deliveries(name, config.clone()).await;
        assert!(told.iter().all(|told| !told.is_duplicate()), "{name}: {told:?}");
        assert_eq!(intake.count().await, 3);
    }
}

#[tokio::test]
async fn a_rule_of_the_operator_stands_in_the_place_of_deliveries() {
    let config = with_rule(DedupBy::Body, Duration::from_secs(60));
    let (_, [_, again, other]) = deliveries("stripe", config).await;
    assert!(!again.is_duplicate() && !other.is_duplicate());
}

#[tokio::test]
async fn the_type_is_known_without_configuration() {
    for (preset, header, body, expected) in [
        ("clay", None, r#"{"event":"enriched"}"#, Some("enriched")),
        ("crm", None, r#"{"type":"ContactCreate"}"#, Some("ContactCreate")),
        ("standard-webhooks", None, r#"{"type":"user.created"}"#, Some("user.created")),
        ("svix", None, r#"{"type":"user.created"}"#, Some("user.created")),
        ("stripe", None, r#"{"type":"invoice.paid"}"#, Some("invoice.paid")),
        ("github", Some(("x-github-event", "push")), r#"{"type":"x"}"#, Some("push")),
        ("shopify", Some(("x-shopify-topic", "orders/create")), "{}", Some("orders/create")),
        ("slack", None, r#"{"type":"event_callback","event":{"type":"message"}}"#, Some("message")),
        ("zoom", None, r#"{"event":"meeting.started"}"#, Some("meeting.started")),
        ("linear", None, r#"{"type":"Comment"}"#, Some("Comment")),
        ("paddle", None, r#"{"event_type":"customer.updated"}"#, Some("customer.updated")),
        ("calendly", None, r#"{"event":"invitee.created"}"#, Some("invitee.created")),
        ("typeform", None, r#"{"event_type":"form_response"}"#, Some("form_response")),
        ("square", None, r#"{"type":"payment.created"}"#, Some("payment.created")),
        ("intercom", None, r#"{"topic":"user.created"}"#, Some("user.created")),
        ("discord", None, r#"{"type":1,"event":{"type":"ENTITLEMENT"}}"#, Some("ENTITLEMENT")),
        ("gitlab", Some(("x-gitlab-event", "Push Hook")), "{}", Some("Push Hook")),
        ("toolplex", None, r#"{"type":"x","event":"x"}"#, None),
        ("stripe", None, r#"{"type":7}"#, None),
    ] {
        let intake = SetUp::of(preset).open().await;
        let mut headers = intake.sign(body.as_bytes());
        if let Some((name, value)) = header {
            headers = with(&headers, name, value);
        }
        let event = intake.event(&intake.send_as(&headers, body.as_bytes()).await).await;
        let shown = event.event_type.as_ref().map(|event_type| event_type.as_str());
        assert_eq!(shown, expected, "{preset}");
    }
    let config: EndpointConfig =
        serde_json::from_str(r#"{"event_type":{"pointer":"/kind"}}"#).expect("it is valid");
    let intake = SetUp::of("stripe").config(config).open().await;
    let event = intake.event(&intake.post(r#"{"type":"a","kind":"b"}"#).await).await;
    assert_eq!(event.event_type.expect("it is there").as_str(), "b", "the operator's own");
}

/// A description of one's own knows its deliveries and types as the presets do.
#[tokio::test]
async fn a_scheme_of_ones_own_has_deliveries_too() {
    let scheme: SignatureScheme = serde_json::from_str(
        r#"{
            "header": "Acme-Signature",
            "layout": "t={timestamp};s={signature}",
            "timestamp": {"unit": "ms"},
            "signed": "{timestamp}|{body}",
            "delivery": {"pointer": "/id"},
            "event_type": {"pointer": "/kind"}
        }"#,
    )
    .expect("it is valid");
    let mut set_up = SetUp::of("clay");
    set_up.scheme = Scheme::Custom(Arc::new(scheme));
    let intake = set_up.open().await;
    let first = intake.post(r#"{"id":1,"kind":"a"}"#).await;
    assert_eq!(intake.event(&first).await.event_type.expect("it is there").as_str(), "a");
    assert_repeats(&intake.post(r#"{"kind":"b","id":1}"#).await, &first);
    let auth: SignatureAuth = intake.auth().await;
    assert_eq!(auth.scheme.name(), "custom");
}
