//! The form of the answers: what programs read.

use http::{Request, Version};
use ploy_webhooks::ingest::MediaTypeFault;
use ploy_webhooks::ingest::Refusal;
use ploy_webhooks::{Endpoint, EndpointConfig, Limits, Rate};
use std::num::NonZeroU32;
use std::sync::Arc;

use super::intake::{Intake, URL, full};

#[tokio::test]
async fn an_accepted_event_is_named() {
    let intake = Intake::open(EndpointConfig::default()).await;
    for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
        let request = intake.request().version(version).body(full(r#"{"a":1}"#));
        let answer = intake.send(request.expect("a request")).await;
        let id = answer.id();
        assert_eq!(answer.json, serde_json::json!({"id": id, "status": "accepted"}));
        assert_eq!(intake.event(&answer).await.payload, r#"{"a":1}"#);
    }
}

#[tokio::test]
async fn media_types() {
    use MediaTypeFault::{Charset, Malformed, Missing, Other, Repeated};

    let intake = Intake::open(EndpointConfig::default()).await;
    let send = async |values: &[&str]| {
        let bearer = format!("Bearer {}", intake.key.expose());
        let mut request = Request::post(URL).header("authorization", bearer);
        for value in values {
            request = request.header("content-type", *value);
        }
        intake.send(request.body(full("{}")).expect("a request")).await
    };
    for value in [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        "application/json; charset=\"UTF-8\"",
        "application/json; profile=\"a;b\"; charset=Utf-8",
        "application/json;",
    ] {
        assert_eq!(send(&[value]).await.status, 202, "{value}");
    }
    for (values, fault) in [
        (&[][..], Missing),
        (&["application/json", "application/json"], Repeated),
        (&[""], Malformed),
        (&["application/json, application/json"], Malformed),
        (&["application"], Malformed),
        (&["text/json"], Other),
        (&["application/vnd.api+json"], Other),
        (&["application/x-www-form-urlencoded"], Other),
        (&["multipart/form-data; boundary=x"], Other),
        (&["application/json; charset=latin1"], Charset),
        (&["application/json; charset=utf-16"], Charset),
    ] {
        let answer = send(values).await;
        answer.assert_is(415, "unsupported_media_type");
        let told = match answer.refusal {
            Some(Refusal::UnsupportedMediaType(told)) => told,
            other => panic!("{other:?}"),
        };
        assert_eq!(told, fault, "{values:?}");
    }
}

#[tokio::test]
async fn encodings() {
    let intake = Intake::open(EndpointConfig::default()).await;
    for (value, status) in [
        ("identity", 202),
        ("Identity", 202),
        ("gzip", 415),
        ("br", 415),
        ("identity, gzip", 415),
        ("", 415),
    ] {
        let request = intake.request().header("content-encoding", value);
        let answer = intake.send(request.body(full("{}")).expect("a request")).await;
        assert_eq!(answer.status, status, "{value:?}");
    }
}

/// The limiter that is there where none is given.
#[tokio::test]
async fn a_rate_is_kept_by_the_limiter_of_the_process() {
    let gated = Intake::open(EndpointConfig::default()).await;
    let number = |number| NonZeroU32::new(number).expect("not zero");
    gated
        .configure(|config| {
            config.limits = Limits {
                rate: Some(Rate { per_second: number(1), burst: Some(number(3)) }),
                ..Limits::default()
            };
        })
        .await;
    let endpoint: Arc<Endpoint> = gated.endpoint().await;
    assert!(endpoint.config.limits.rate.is_some());
    let (events, keys) = (Arc::clone(&gated.watched), Arc::clone(&gated.watched));
    let intake = Intake { ingest: ploy_webhooks::Ingest::new(events, keys), ..gated };
    let mut limited = 0;
    for _ in 0..20 {
        let answer = intake.post("{}").await;
        if answer.status == 202 {
            continue;
        }
        answer.assert_is(429, "rate_limited");
        assert_eq!(answer.header("retry-after"), Some("1"));
        limited += 1;
    }
    assert!(limited >= 10, "of 20 at once, 3 and then 1 a second are taken: {limited} were not");
    assert_eq!(intake.count().await, 20 - limited);
}
