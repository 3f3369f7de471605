//! Schemes that operators describe themselves.

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use ploy_webhooks::verify::{SignatureScheme, Signed};
use ploy_webhooks::{Clock, Secret, SystemClock};

use super::{Sender, is};
use crate::harness::Server;

fn description() -> Value {
    json!({
        "header": "acme-signature",
        "layout": "ts={timestamp};sig={signature}",
        "digest": "hmac-sha512",
        "encoding": "base64",
        "timestamp": {"unit": "ms"},
        "id": "acme-delivery",
        "signed": "{id}/{timestamp}/{method} {url}\n{body}",
        "delivery": {"header": "acme-delivery"},
        "event_type": {"pointer": "/kind"},
    })
}

#[tokio::test]
async fn a_description_is_kept_shown_and_verified_by() {
    let server = Server::in_memory().await;
    let mut auth = description();
    auth["scheme"] = "custom".into();
    auth["secret"] = "hunter2".into();
    auth["tolerance_seconds"] = 60.into();
    let form = json!({"description": "Acme", "auth": auth});
    let made = server.done(Method::POST, "/endpoints", Some(form)).await;
    assert_eq!(made["signing_secret"], "hunter2");
    let mut expected = description();
    expected["scheme"] = "custom".into();
    expected["tolerance_seconds"] = 60.into();
    expected["once"] = false.into();
    let sender = Sender::of("custom", &made);
    let shown = server.done(Method::GET, &sender.path(), None).await;
    for answer in [&made, &shown] {
        assert_eq!(answer["auth"], expected);
    }

    let scheme: SignatureScheme = serde_json::from_value(description()).unwrap();
    let sign = |url: &str, id: &str, body: &str| -> HeaderMap {
        let request = Signed { method: "POST", url, body: body.as_bytes() };
        let secret = Secret::from("hunter2".to_owned());
        scheme.sign(&secret, id, SystemClock.now(), &request).unwrap().into_iter().collect()
    };
    let body = r#"{"kind":"lead.new"}"#;
    let (status, first) = sender.post(&server, sign(&sender.url, "d-1", body), body).await;
    assert_eq!(status, 202, "{first}");
    let event = format!("/events/{}", first["id"].as_str().unwrap());
    assert_eq!(server.done(Method::GET, &event, None).await["type"], "lead.new");
    let (_, again) = sender.post(&server, sign(&sender.url, "d-1", body), body).await;
    assert_eq!((&again["id"], &again["duplicate"]), (&first["id"], &json!(true)));

    let elsewhere = sign("https://elsewhere.example", "d-2", body);
    let refused = super::said(sender.post(&server, elsewhere, body).await);
    assert_eq!(refused, is(401, "invalid_signature"));
    let mut renamed = sign(&sender.url, "d-3", body);
    renamed.insert(HeaderName::from_static("acme-delivery"), HeaderValue::from_static("d-4"));
    assert_eq!(
        super::said(sender.post(&server, renamed, body).await),
        is(401, "invalid_signature")
    );
}

#[tokio::test]
async fn a_description_that_describes_nothing_is_refused_with_what_to_do() {
    let server = Server::in_memory().await;
    for (description, named) in [
        (json!({}), "header"),
        (json!({"header": "a b"}), "header"),
        (json!({"header": "x", "headers": "y"}), "headers"),
        (json!({"header": "x", "digest": "md5"}), "hmac-sha256"),
        (json!({"header": "x", "encoding": "rot13"}), "base64"),
        (json!({"header": "x", "layout": "v1="}), "{signature}"),
        (json!({"header": "x", "layout": "t={timestamp},v1={signature}"}), "timestamp"),
        (json!({"header": "x", "signed": "{timestamp}.{body}"}), "timestamp"),
        (json!({"header": "x", "timestamp": {"unit": "s"}}), "signed"),
        (json!({"header": "x", "timestamp": {"unit": "h"}}), "`s`"),
        (json!({"header": "x", "timestamp": {"unit": "s", "header": "a b"}}), "timestamp.header"),
        (json!({"header": "x", "signed": "{when}{body}"}), "signed"),
        (json!({"header": "x", "signed": "{url}"}), "{body}"),
        (json!({"header": "x", "signed": "{body}{body}"}), "{body}"),
        (json!({"header": "x", "id": "y"}), "id"),
        (json!({"header": "x", "digest": "token", "signed": "a{body}"}), "token"),
        (json!({"header": "x", "digest": "ed25519"}), "ed25519"),
        (json!({"header": "x", "alternative": {"digest": "hmac-sha512"}}), "alternative"),
        (json!({"header": "x", "secret_form": {"encoding": "hex", "pre": "a"}}), "pre"),
        (json!({"header": "x", "delivery": {"header": "authorization"}}), "header"),
        (json!({"header": "x", "handshake": "curtsey"}), "slack"),
    ] {
        let mut auth = description.clone();
        auth["scheme"] = "custom".into();
        auth["secret"] = "hunter2hunter2".into();
        let form = Some(json!({"description": "", "auth": auth}));
        let why = server.refused(Method::POST, "/endpoints", form, 422).await;
        assert!(why.contains("auth") && why.contains(named), "{description}: {why}");
        assert!(!why.contains("hunter2"), "{why}");
    }
}

#[tokio::test]
async fn a_secret_of_another_form_than_described_is_refused() {
    let server = Server::in_memory().await;
    for (secret, status) in [("acme_00ff", 201), ("00ff", 201), ("acme_hunter2", 422), ("", 422)] {
        let form = json!({"description": "", "auth": {
            "scheme": "custom",
            "header": "x-acme",
            "secret_form": {"prefix": "acme_", "encoding": "hex"},
            "secret": secret,
        }});
        let (answered, said) = server.call(Method::POST, "/endpoints", Some(form)).await;
        assert_eq!(answered, status, "{secret}: {said}");
        assert!(status == 201 || !said.to_string().contains("hunter2"), "{said}");
    }
}
