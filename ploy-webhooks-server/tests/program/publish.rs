//! `POST /events`: events that the app emits itself.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{ROOT_TOKEN, Server, answer};

async fn published(server: &Server, body: String, key: Option<&str>) -> (StatusCode, Value) {
    let request = server.request(Method::POST, "/events", None).bearer_auth(ROOT_TOKEN);
    let request = request.header("content-type", "application/json").body(body);
    answer(match key {
        Some(key) => request.header("idempotency-key", key),
        None => request,
    })
    .await
}

#[tokio::test]
async fn a_payload_is_kept_byte_for_byte_and_owes_what_subscriptions_say() {
    let server = Server::in_memory_with(&[("PLOY_DISPATCH", "false")]).await;
    for types in [json!(["invoice.*"]), json!(["order.*"])] {
        let form = json!({"ploybook": "page", "types": types});
        server.done(Method::POST, "/subscriptions", Some(form)).await;
    }
    let nested = format!("{{\"a\":{}1{}}}", "[".repeat(500), "]".repeat(500));
    for payload in [
        "{ \"b\": 1.10, \"a\":\"\\u00e9\\ud800\", \"b\":2e400,\n\t\"c\":{} }",
        "{}",
        nested.as_str(),
    ] {
        let body = format!(r#" {{"type" : "invoice.paid", "payload":  {payload} }} "#);
        let (status, accepted) = published(&server, body, None).await;
        assert_eq!(status, 202, "{accepted}");
        let id = accepted["id"].as_str().unwrap();
        assert_eq!(accepted, json!({"id": id, "status": "accepted"}));
        let path = format!("{}/api/v1/events/{id}/payload", server.url);
        let kept = server.http.get(path).bearer_auth(ROOT_TOKEN).send().await.unwrap();
        assert_eq!(kept.text().await.unwrap(), payload);
        let listed = server.done(Method::GET, "/events?type=invoice.paid&limit=1", None).await;
        assert_eq!(
            (&listed["data"][0]["id"], &listed["data"][0]["type"]),
            (&json!(id), &json!("invoice.paid"))
        );
        assert_eq!(listed["data"][0]["endpoint_id"], Value::Null);
        let runs = server.done(Method::GET, &format!("/runs?event={id}"), None).await;
        assert_eq!(runs["data"].as_array().unwrap().len(), 1, "{runs}");
    }
}

#[tokio::test]
async fn what_has_a_key_is_stored_once() {
    let server = Server::in_memory().await;
    let body = |n: u8| json!({"type": "order.placed", "payload": {"n": n}}).to_string();
    let (_, first) = published(&server, body(1), Some("order-1")).await;
    assert_eq!(first.get("duplicate"), None);
    let (status, again) = published(&server, body(2), Some("order-1")).await;
    assert_eq!((status.as_u16(), &again["id"]), (202, &first["id"]));
    assert_eq!(again["duplicate"], true);
    let longest = "k".repeat(255);
    for key in [Some("order-2"), Some(longest.as_str()), Some("\"quoted\""), None, None] {
        let (status, other) = published(&server, body(1), key).await;
        assert_eq!((status.as_u16(), other.get("duplicate")), (202, None), "{key:?}");
    }
    let listed = server.done(Method::GET, "/events", None).await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 6);
    let too_long = "k".repeat(256);
    for key in ["", "a b", "é", &too_long] {
        let (status, problem) = published(&server, body(1), Some(key)).await;
        assert_eq!(status, 422, "{key:?}");
        assert!(problem["detail"].as_str().unwrap().contains("Idempotency-Key"), "{problem}");
    }
    let twice = server.request(Method::POST, "/events", None).bearer_auth(ROOT_TOKEN);
    let twice = twice.header("content-type", "application/json").body(body(1));
    let twice = twice.header("idempotency-key", "a").header("idempotency-key", "a");
    assert_eq!(answer(twice).await.0, 422);
}

#[tokio::test]
async fn what_cannot_be_an_event_is_refused_and_named() {
    let server = Server::in_memory_with(&[("PLOY_BODY_BYTES_MAX", "600000")]).await;
    for (body, status, named) in [
        (json!({"type": "a"}), 422, "payload"),
        (json!({"payload": {}}), 422, "type"),
        (json!({"type": "", "payload": {}}), 422, "type"),
        (json!({"type": "a\nb", "payload": {}}), 422, "type"),
        (json!({"type": 1, "payload": {}}), 422, "type"),
        (json!({"type": "a", "payload": []}), 422, "payload"),
        (json!({"type": "a", "payload": "{}"}), 422, "payload"),
        (json!({"type": "a", "payload": null}), 422, "payload"),
        (json!({"type": "a", "payload": {}, "endpoint": "x"}), 422, "endpoint"),
        (json!([]), 422, ""),
    ] {
        let (answered, problem) = published(&server, body.to_string(), None).await;
        assert_eq!(answered, status, "{body}");
        assert!(problem["detail"].as_str().unwrap().contains(named), "{problem}");
    }
    for body in ["", "{", r#"{"type":"a","payload":{"a":1}"#, r#"{"type":"a","payload":{a:1}}"#] {
        let (status, problem) = published(&server, body.to_owned(), None).await;
        assert_eq!((status.as_u16(), &problem["code"]), (400, &json!("invalid_json")), "{body}");
    }
    // More than other calls take, and as much as the intake does.
    let of_bytes = |bytes: usize| {
        let payload = format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
        format!(r#"{{"type":"a","payload":{payload}}}"#)
    };
    assert_eq!(published(&server, of_bytes(600_000), None).await.0, 202);
    for bytes in [600_001, 700_000] {
        let (status, problem) = published(&server, of_bytes(bytes), None).await;
        assert_eq!((status.as_u16(), &problem["code"]), (413, &json!("payload_too_large")));
    }
    let listed = server.done(Method::GET, "/events", None).await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
}
