//! Endpoints that answer in words of their own to what is stored, and to nothing else.

use std::sync::atomic::Ordering;

use ploy_webhooks::store::StoreErrorKind;
use ploy_webhooks::{EndpointConfig, SuccessAnswer};

use super::intake::Mood;
use super::signed_intake::{SetUp, SignedIntake, Told};

async fn open(preset: &str, answer: &str) -> SignedIntake {
    let answer: SuccessAnswer = serde_json::from_str(answer).expect("it is valid");
    let config = EndpointConfig { answer: Some(answer), ..EndpointConfig::default() };
    SetUp::of(preset).config(config).open().await
}

fn text(told: &Told) -> &str {
    std::str::from_utf8(&told.body).expect("it is text")
}

#[tokio::test]
async fn what_is_stored_is_answered_as_the_endpoint_says() {
    let body = r#"{"received": true, "n":1.0}"#;
    for (answer, status, expected) in [
        (r#"{"status":200}"#.to_owned(), 200, None),
        (format!(r#"{{"body":{body}}}"#), 202, Some(body)),
        (format!(r#"{{"status":200,"body":{body}}}"#), 200, Some(body)),
        (r#"{"status":202}"#.to_owned(), 202, None),
        ("{}".to_owned(), 202, None),
    ] {
        let intake = open("stripe", &answer).await;
        let event = r#"{"id":"evt_1"}"#;
        let (first, again) = (intake.post(event).await, intake.post(event).await);
        assert_eq!(intake.count().await, 1, "the second is a repeat");
        for told in [&first, &again] {
            assert_eq!(told.status, status, "{answer}");
            assert_eq!(told.header("content-type"), Some("application/json"));
        }
        match expected {
            Some(expected) => {
                assert_eq!((text(&first), text(&again)), (expected, expected));
            }
            None => {
                assert_eq!(first.json()["status"], "accepted");
                assert_eq!(again.json()["id"], first.json()["id"]);
                assert!(again.is_duplicate() && !first.is_duplicate());
            }
        }
    }
}

#[tokio::test]
async fn no_error_is_answered_so() {
    let intake = open("clay", r#"{"status":200,"body":{"fine":true}}"#).await;
    intake.send_as(&intake.sign(b"{}"), b"{ }").await.assert_is(401, "invalid_signature");
    intake.post("no JSON").await.assert_is(400, "invalid_json");
    intake.watched.be(Mood::Fails(StoreErrorKind::Unavailable));
    intake.post("{}").await.assert_is(503, "unavailable");
    intake.watched.be(Mood::Well);
    intake.configure(|config| config.status = ploy_webhooks::Status::Paused).await;
    intake.post("{}").await.assert_is(403, "endpoint_paused");
    assert_eq!(intake.count().await, 0);
    assert_eq!(intake.gate.asked.load(Ordering::Relaxed), 0);
}

/// What a sender asks has an answer that it expects.
#[tokio::test]
async fn a_handshake_has_its_own_answer() {
    let intake = open("crm", r#"{"status":202,"body":{"fine":true}}"#).await;
    let told = intake.post(r#"{"confirmation_token":"x"}"#).await;
    assert_eq!((told.status, text(&told)), (200, r#"{"confirmation_token":"x"}"#));
}

#[tokio::test]
async fn a_change_of_the_answer_takes_hold_with_the_next_event_that_is_stored() {
    let intake = open("clay", r#"{"status":200}"#).await;
    assert_eq!(intake.post("{}").await.status, 200);
    let mut config = intake.endpoint().await.config.clone();
    config.answer = None;
    let patch = ploy_webhooks::store::EndpointPatch { config: Some(config), auth: None };
    intake.watched.be(Mood::Changes(Box::new(patch)));
    assert_eq!(intake.post("{}").await.status, 202, "the state that it was stored under answers");
}
