//! `POST /destinations/{id}/test`: whether something arrives.

use ploy_webhooks::verify::{Preset, Signed};
use ploy_webhooks::{Secret, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use super::{made, path_of, text};
use crate::harness::{ROOT_TOKEN, Server, answer};
use crate::receiver::{Received, Receiver, delivering_here};

/// Calls while somebody receives, and answers what is received.
async fn called(
    server: &Server,
    receiver: &Receiver,
    path: &str,
    body: &str,
    status: &str,
) -> (Value, Received) {
    let request = server.request(Method::POST, path, None).bearer_auth(ROOT_TOKEN);
    let request = request.header("content-type", "application/json").body(body.to_owned());
    let receiving = async {
        let mut received = receiver.received().await;
        received.reply(status, "noted").await;
        received
    };
    let ((code, shown), received) = tokio::join!(answer(request), receiving);
    assert_eq!(code, 200, "{shown}");
    (shown, received)
}

#[tokio::test]
async fn what_is_sent_is_signed_and_what_came_of_it_is_answered() {
    let server = delivering_here().await;
    let receiver = Receiver::start().await;
    let destination = made(
        &server,
        json!({
            "url": format!("{}?customer={{{{ customer }}}}", receiver.url),
            "headers": {"X-Api-Key": {"secret": "hunter2-header"}, "X-Type": "{{ event.type }}"},
            "missing": "empty", "status": "paused",
        }),
    )
    .await;
    let path = format!("{}/test", path_of(&destination));
    let payload = "{ \"customer\":\"a/b\", \"n\": 1.10, \"n\":2 }";
    let body = format!(r#"{{"type":"order.placed","payload": {payload} }}"#);
    let (record, received) = called(&server, &receiver, &path, &body, "200 OK").await;
    assert_eq!(received.line(), "POST /in?customer=a%2Fb");
    assert_eq!(String::from_utf8_lossy(&received.body), payload);
    assert_eq!(received.header("x-api-key"), Some("hunter2-header"));
    assert_eq!(received.header("x-type"), Some("order.placed"));
    assert_eq!(received.header("ploy-test"), Some("true"));

    let secret = Secret::from(text(&destination, "signing_secret").to_owned());
    let seconds: u64 = received.header("webhook-timestamp").unwrap().parse().unwrap();
    let signed = Signed { method: "POST", url: "", body: payload.as_bytes() };
    let id = received.header("webhook-id").unwrap();
    let scheme = Preset::named("standard-webhooks").unwrap().description();
    let proof = scheme.sign(&secret, id, Timestamp::from_millis(seconds * 1_000), &signed);
    let proof = proof.unwrap().into_iter().find(|(name, _)| name == "webhook-signature").unwrap();
    assert_eq!(received.header("webhook-signature"), Some(proof.1.to_str().unwrap()));

    assert_eq!(record["response"]["status"], 200);
    assert_eq!(record["response"]["body"], "noted");
    assert_eq!(record["request"]["headers"]["x-api-key"], "…");
    assert!(record["timings"]["total_ms"].is_number(), "{record}");
    assert!(!record.to_string().contains("hunter2"), "{record}");
    let signature = received.header("webhook-signature").unwrap();
    assert!(!record.to_string().contains(signature), "{record}");

    let (record, received) = called(&server, &receiver, &path, "{}", "503 No").await;
    assert_eq!(record["class"], "status");
    assert!(text(&record, "error").contains("503"), "{record}");
    let example: Value = serde_json::from_slice(&received.body).unwrap();
    assert_eq!((&example["type"], received.header("x-type")), (&json!("test"), Some("test")));
    let (_, received) = called(&server, &receiver, &path, r#"{"payload":null}"#, "200 OK").await;
    assert_eq!((received.body.as_slice(), received.header("x-type")), (&b"null"[..], Some("")));
    // It is kept nowhere.
    assert_eq!(server.done(Method::GET, "/events", None).await["data"], json!([]));
    assert_eq!(server.done(Method::GET, "/runs", None).await["data"], json!([]));
    for (form, named) in [
        (json!({"type": ""}), "type"),
        (json!({"body": {}}), "body"),
        (json!({"type": null}), "type"),
    ] {
        let said = server.refused(Method::POST, &path, Some(form), 422).await;
        assert!(said.contains(named), "{said}");
    }
}

#[tokio::test]
async fn nothing_is_sent_where_the_operator_does_not_allow_it() {
    let receiver = Receiver::start().await;
    let port = receiver.url.rsplit(':').next().unwrap().split('/').next().unwrap();
    let others = if port == "443" { "80" } else { "80,443" };
    for settings in [
        &[][..],
        &[("PLOY_DELIVERY_ALLOW", "127.0.0.0/8"), ("PLOY_DELIVERY_PORTS", others)],
        &[("PLOY_DELIVERY_ALLOW", "10.0.0.0/8,::1"), ("PLOY_DELIVERY_PORTS", port)],
    ] {
        let server = Server::in_memory_with(settings).await;
        let destination = made(&server, json!({"url": receiver.url})).await;
        let path = format!("{}/test", path_of(&destination));
        let record = server.done(Method::POST, &path, None).await;
        assert_eq!(record["class"], "address-refused", "{settings:?}: {record}");
        assert_eq!(record.get("response"), None);
    }
    let settings =
        [("PLOY_DELIVERY_ALLOW", "10.0.0.0/8, 127.0.0.1"), ("PLOY_DELIVERY_PORTS", port)];
    let server = Server::in_memory_with(&settings).await;
    let destination = made(&server, json!({"url": receiver.url})).await;
    let path = format!("{}/test", path_of(&destination));
    let (record, _) = called(&server, &receiver, &path, "", "204 No Content").await;
    assert_eq!(record["response"]["status"], 204);
}
