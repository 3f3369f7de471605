//! What senders ask before they send: answered to who has proved itself, and never stored.

use std::sync::atomic::Ordering;

use http::HeaderValue;
use ploy_webhooks::{EndpointConfig, Limits, Rate, SignatureAuth, Status};
use serde_json::json;

use super::signed_intake::{SetUp, SignedIntake};

/// Every handshake: the preset, what is asked, and a text that must not come back unasked.
const ASKED: [(&str, &str, &str); 5] = [
    ("slack", r#"{"token":"t","challenge":"Zq7Zq7","type":"url_verification"}"#, "Zq7"),
    (
        "zoom",
        r#"{"payload":{"plainToken":"Zq7Zq7"},"event_ts":1,"event":"endpoint.url_validation"}"#,
        "Zq7",
    ),
    ("discord", r#"{"id":"1","token":"t","type":1,"version":1}"#, "\"type\":1"),
    ("discord", r#"{"version":1,"application_id":"1","type":0}"#, "\"type\""),
    ("crm", r#"{"confirmation_token":"Zq7Zq7"}"#, "Zq7"),
];

#[tokio::test]
async fn each_is_answered_and_nothing_is_stored() {
    for (preset, body, _) in ASKED {
        let intake = SetUp::of(preset).open().await;
        let told = intake.post(body).await;
        let hmac = |intake: &SignedIntake| {
            use hmac::{Hmac, KeyInit, Mac};
            let key = intake.secret.expose().as_bytes();
            let keyed = Hmac::<sha2::Sha256>::new_from_slice(key).expect("any key");
            hex::encode(keyed.chain_update("Zq7Zq7").finalize().into_bytes())
        };
        let expected = match preset {
            "slack" => json!({"challenge": "Zq7Zq7"}),
            "zoom" => json!({"plainToken": "Zq7Zq7", "encryptedToken": hmac(&intake)}),
            "crm" => json!({"confirmation_token": "Zq7Zq7"}),
            _ if body.contains("\"type\":0") => {
                assert_eq!((told.status, told.body.len()), (204, 0), "{told:?}");
                assert_eq!(intake.count().await, 0);
                continue;
            }
            _ => json!({"type": 1}),
        };
        assert_eq!((told.status, told.json()), (200, expected), "{preset}");
        assert_eq!(told.header("content-type"), Some("application/json"));
        assert_eq!(intake.count().await, 0, "{preset}: a handshake is stored");
        assert_eq!(intake.watched.appends.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test]
async fn who_has_not_proved_itself_is_told_nothing() {
    for (preset, body, secret) in ASKED {
        let intake = SetUp::of(preset).open().await;
        let header = &intake.scheme.description().header;
        let right = intake.sign(body.as_bytes());
        let mut missing = right.clone();
        missing.remove(header);
        let mut wrong = right.clone();
        let of_another = intake.sign(b"{}")[header].clone();
        wrong.insert(header, of_another);
        let mut malformed = right.clone();
        malformed.insert(header, HeaderValue::from_static("Zq"));
        for headers in [missing, wrong, malformed] {
            let told = intake.send_as(&headers, body.as_bytes()).await;
            told.assert_is(401, "invalid_signature");
            let text = String::from_utf8_lossy(&told.body);
            assert!(!text.contains(secret), "{preset}: {text}");
        }
        assert_eq!(intake.count().await, 0);
    }
}

#[tokio::test]
async fn what_is_only_nearly_a_handshake_is_an_event() {
    for (preset, body) in [
        ("slack", r#"{"challenge":"x","type":"url_verification2"}"#),
        ("slack", r#"{"challenge":"x","type":"event_callback"}"#),
        ("slack", r#"{"type":"url_verification"}"#),
        ("slack", r#"{"challenge":7,"type":"url_verification"}"#),
        ("slack", r#"{"event":{"challenge":"x","type":"url_verification"}}"#),
        ("slack", r#"{"challenge":"\ud800","type":"url_verification"}"#),
        ("zoom", r#"{"payload":{"plainToken":"x"},"event":"endpoint.url_validated"}"#),
        ("zoom", r#"{"payload":{"plaintoken":"x"},"event":"endpoint.url_validation"}"#),
        ("zoom", r#"{"payload":{"plainToken":null},"event":"endpoint.url_validation"}"#),
        ("discord", r#"{"type":1,"event":{"type":"APPLICATION_AUTHORIZED"}}"#),
        ("discord", r#"{"type":1,"event":null}"#),
        ("discord", r#"{"type":2}"#),
        ("discord", r#"{"type":"0"}"#),
        ("discord", r#"{"type":"1"}"#),
        ("discord", r#"{"type":10}"#),
        ("discord", r#"{"application_id":"1"}"#),
        ("crm", r#"{"confirmation_token":7}"#),
        ("crm", r#"{"data":{"confirmation_token":"x"}}"#),
        ("crm", r#"{"confirmation-token":"x"}"#),
        // Another's handshake.
        ("stripe", r#"{"challenge":"x","type":"url_verification"}"#),
        ("zoom", r#"{"challenge":"x","type":"url_verification"}"#),
    ] {
        let intake = SetUp::of(preset).open().await;
        let told = intake.post(body).await;
        assert_eq!(intake.event(&told).await.payload, body, "{preset}");
        assert_eq!(intake.count().await, 1);
    }
}

#[tokio::test]
async fn nobody_asks_with_a_large_payload() {
    let intake = SetUp::of("slack").open().await;
    let padded = |length: usize| {
        let pad = "x".repeat(length);
        format!(r#"{{"challenge":"c","type":"url_verification","pad":"{pad}"}}"#)
    };
    assert_eq!(intake.post(&padded(1 << 10)).await.status, 200);
    assert_eq!(intake.post(&padded(16 << 10)).await.status, 202);
}

/// A handshake is a request like any other until it is answered.
#[tokio::test]
async fn a_handshake_passes_every_check_before() {
    let (_, body, _) = ASKED[0];
    let one = std::num::NonZeroU32::MIN;
    let config = EndpointConfig {
        limits: Limits { rate: Some(Rate { per_second: one, burst: None }), ..Limits::default() },
        status: Status::Paused,
        ..EndpointConfig::default()
    };
    let intake = SetUp::of("slack").config(config).open().await;
    intake.post(body).await.assert_is(403, "endpoint_paused");
    intake.configure(|config| config.status = Status::Active).await;
    intake.gate.is_closed.store(true, Ordering::Relaxed);
    intake.post(body).await.assert_is(429, "rate_limited");
    intake.gate.is_closed.store(false, Ordering::Relaxed);
    assert_eq!(intake.post(body).await.status, 200);
    let cut = &body[..body.len() - 1];
    intake.post(cut).await.assert_is(400, "invalid_json");
}

/// The answer of Zoom is by the secret that the request was signed with.
#[tokio::test]
async fn while_a_rotation_overlaps_the_answer_is_by_the_secret_that_was_used() {
    let (_, body, _) = ASKED[1];
    let intake = SetUp::of("zoom").open().await;
    let before = intake.post(body).await.json();
    let new = ploy_webhooks::Secret::mint_signing_secret();
    let sealed = intake.sealed(&new).await;
    let auth = SignatureAuth::new(intake.scheme.clone(), sealed.clone());
    let now = ploy_webhooks::Clock::now(&intake.clock);
    let both = intake.auth().await.rotated(sealed, std::time::Duration::from_secs(60), now);
    assert_eq!((auth.secrets.len(), both.secrets.len()), (1, 2));
    intake.set_auth(both).await;
    assert_eq!(intake.post(body).await.json(), before);
    let headers = intake.sign_with(&new, "", "", body.as_bytes());
    let after = intake.send_as(&headers, body.as_bytes()).await.json();
    assert_eq!(after["plainToken"], before["plainToken"]);
    assert_ne!(after["encryptedToken"], before["encryptedToken"]);
}

/// Taken once or not: what is asked is answered as often as it is asked.
#[tokio::test]
async fn a_handshake_may_be_repeated() {
    for (preset, body, _) in ASKED {
        let intake = SetUp::of(preset).once().open().await;
        let headers = intake.sign(body.as_bytes());
        let first = intake.send_as(&headers, body.as_bytes()).await;
        let again = intake.send_as(&headers, body.as_bytes()).await;
        assert!(first.status < 300, "{first:?}");
        assert_eq!((again.status, again.body), (first.status, first.body), "{preset}");
    }
}
