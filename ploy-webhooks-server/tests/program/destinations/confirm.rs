//! Whoever receives confirms that: at once by repeating the token, or by the link.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{made, path_of, text};
use crate::harness::Server;
use crate::receiver::{Received, Receiver, delivering_here};

/// Asks for a confirmation, has the request answered so, and returns what the API answers with what
/// was asked.
async fn asked(server: &Server, receiver: &Receiver, path: &str, echo: bool) -> (Value, Value) {
    let path = format!("{path}/verify");
    let verifying = server.done(Method::POST, &path, None);
    let receiving = async {
        let received: Received = receiver.received().await;
        assert_eq!(received.line(), "POST /in");
        let question: Value = serde_json::from_slice(&received.body).unwrap();
        assert!(received.header("webhook-signature").is_some());
        let token = text(&question, "confirmation_token").to_owned();
        received.answer("200 OK", if echo { &token } else { "welcome" }).await;
        question
    };
    tokio::join!(verifying, receiving)
}

/// Follows a link as a browser does: without a token of the API.
async fn followed(server: &Server, method: Method, link: &str) -> (StatusCode, String) {
    let response = server.http.request(method, link).send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

async fn unverified(server: &Server, receiver: &Receiver) -> (Value, String) {
    let form = json!({"url": receiver.url, "status": "unverified", "method": "GET"});
    let destination = made(server, form).await;
    let path = path_of(&destination);
    (destination, path)
}

#[tokio::test]
async fn a_token_that_is_repeated_confirms_at_once() {
    let server = delivering_here().await;
    let receiver = Receiver::start().await;
    let (_, path) = unverified(&server, &receiver).await;
    let (said, question) = asked(&server, &receiver, &path, false).await;
    assert_eq!(said["verified"], false);
    assert_eq!(said["record"]["response"]["status"], 200);
    assert_eq!(question["type"], "destination.confirm");
    let shown = server.done(Method::GET, &path, None).await;
    assert_eq!(
        (&shown["status"], &shown["state"]["verified_at"]),
        (&json!("unverified"), &Value::Null)
    );

    let (said, question) = asked(&server, &receiver, &path, true).await;
    assert_eq!(said["verified"], true);
    let token = text(&question, "confirmation_token");
    assert!(!said.to_string().contains(token), "{said}");
    let shown = server.done(Method::GET, &path, None).await;
    assert_eq!(shown["status"], "active");
    assert!(text(&shown["state"], "verified_at").ends_with('Z'), "{shown}");
    assert!(!shown.to_string().contains(token), "{shown}");
    // It is of no use any more.
    let link = text(&question, "confirmation_url");
    assert_eq!(followed(&server, Method::GET, link).await.0, 404);
}

#[tokio::test]
async fn the_link_confirms_once_and_only_when_it_is_right() {
    let server = delivering_here().await;
    let receiver = Receiver::start().await;
    let (destination, path) = unverified(&server, &receiver).await;
    let (_, first) = asked(&server, &receiver, &path, false).await;
    let (said, second) = asked(&server, &receiver, &path, false).await;
    assert_eq!(said["verified"], false);
    let (id, token) = (text(&destination, "id"), text(&second, "confirmation_token"));
    let workspace = "ws_00000000000000000000000000";
    let base = format!("{}/api/v1/destinations/{id}/confirm", server.url);
    let link = format!("{base}?workspace={workspace}&token={token}");
    assert_eq!(text(&second, "confirmation_url"), link);
    assert!(token.len() >= 32, "{token}");

    let before = server.done(Method::GET, &path, None).await;
    let flipped = token.replace(&token[..1], if token.starts_with('a') { "b" } else { "a" });
    for wrong in [
        base.clone(),
        format!("{base}?token={token}"),
        format!("{base}?workspace={workspace}"),
        format!("{base}?workspace={workspace}&token="),
        format!("{base}?workspace={workspace}&token={flipped}"),
        format!("{base}?workspace={workspace}&token={token}&token={token}"),
        format!("{base}?workspace=ws_01000000000000000000000000&token={token}"),
        format!("{base}?workspace=x&token={token}"),
        text(&first, "confirmation_url").to_owned(),
        link.replace(id, "dst_00000000000000000000000000"),
        link.replace(id, "x"),
    ] {
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(followed(&server, method, &wrong).await.0, 404, "{wrong}");
        }
    }
    // A preview of the link.
    assert_eq!(followed(&server, Method::HEAD, &link).await.0, 200);
    assert_eq!(followed(&server, Method::POST, &link).await.0, 405);
    assert_eq!(server.done(Method::GET, &path, None).await, before);

    let (status, said) = followed(&server, Method::GET, &link).await;
    assert_eq!(status, 200, "{said}");
    assert!(said.contains("confirmed"), "{said}");
    let shown = server.done(Method::GET, &path, None).await;
    assert_eq!(shown["status"], "active");
    assert!(shown["state"]["verified_at"].is_string(), "{shown}");
    assert_eq!(followed(&server, Method::GET, &link).await.0, 404);
}

#[tokio::test]
async fn a_link_that_is_followed_before_the_answer_counts() {
    let server = delivering_here().await;
    let receiver = Receiver::start().await;
    let (_, path) = unverified(&server, &receiver).await;
    let verify = format!("{path}/verify");
    let receiving = async {
        let received = receiver.received().await;
        let question: Value = serde_json::from_slice(&received.body).unwrap();
        let link = text(&question, "confirmation_url");
        assert_eq!(followed(&server, Method::GET, link).await.0, 200);
        received.answer("200 OK", "").await;
    };
    let (said, ()) = tokio::join!(server.done(Method::POST, &verify, None), receiving);
    assert_eq!(said["verified"], true);
}

#[tokio::test]
async fn whoever_receives_elsewhere_has_confirmed_nothing() {
    let server = delivering_here().await;
    let receiver = Receiver::start().await;
    let (_, path) = unverified(&server, &receiver).await;
    let (_, question) = asked(&server, &receiver, &path, false).await;
    let elsewhere = json!({"url": "https://elsewhere.example/"});
    server.done(Method::PATCH, &path, Some(elsewhere)).await;
    let link = text(&question, "confirmation_url");
    assert_eq!(followed(&server, Method::GET, link).await.0, 404);

    server.done(Method::PATCH, &path, Some(json!({"url": receiver.url}))).await;
    asked(&server, &receiver, &path, true).await;
    let change = Some(json!({"description": "x"}));
    let shown = server.done(Method::PATCH, &path, change).await;
    assert!(shown["state"]["verified_at"].is_string(), "{shown}");
    let change = Some(json!({"url": "https://elsewhere.example/"}));
    let shown = server.done(Method::PATCH, &path, change).await;
    assert_eq!(shown["state"]["verified_at"], Value::Null);
}

/// A refusal repeats what it was sent, too.
#[tokio::test]
async fn a_refusal_confirms_nothing_whatever_it_says() {
    let server = delivering_here().await;
    let receiver = Receiver::start().await;
    let (_, path) = unverified(&server, &receiver).await;
    let verify = format!("{path}/verify");
    let receiving = async {
        let received = receiver.received().await;
        let question = String::from_utf8(received.body.clone()).unwrap();
        received.answer("404 Not Found", &question).await;
    };
    let (said, ()) = tokio::join!(server.done(Method::POST, &verify, None), receiving);
    assert_eq!((&said["verified"], &said["record"]["class"]), (&json!(false), &json!("status")));
    let shown = server.done(Method::GET, &path, None).await;
    assert_eq!(shown["status"], "unverified");
}
