//! What senders ask before they send, and what they are told; and answers that they insist on.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Sender, is, said};
use crate::harness::Server;

#[tokio::test]
async fn who_asks_is_answered_once_it_has_proved_itself_and_nothing_is_stored() {
    let server = Server::in_memory().await;
    let zoom = r#"{"event":"endpoint.url_validation","payload":{"plainToken":"a \"b\""}}"#;
    for (scheme, question, status, reply) in [
        (
            "slack",
            r#"{"type":"url_verification","challenge":"3eZ\u00e9"}"#,
            200,
            json!({"challenge": "3eZé"}),
        ),
        ("zoom", zoom, 200, json!({"plainToken": "a \"b\""})),
        ("crm", r#"{"confirmation_token":"t-1"}"#, 200, json!({"confirmation_token": "t-1"})),
        ("discord", r#"{"type":1}"#, 200, json!({"type": 1})),
        ("discord", r#"{"type":0}"#, 204, Value::Null),
    ] {
        let sender = Sender::on(&server, scheme, json!({"trigger": {"ploybook": "page"}})).await;
        let (answered, mut said) = sender.post(&server, sender.sign(question), question).await;
        if scheme == "zoom" {
            // By the secret that the question was signed with.
            let encrypted = said.as_object_mut().unwrap().remove("encryptedToken").unwrap();
            assert_eq!(encrypted.as_str().unwrap().len(), 64);
            assert!(!encrypted.as_str().unwrap().contains(&sender.secret));
        }
        assert_eq!((answered.as_u16(), said), (status, reply), "{scheme}");

        let stranger = sender.post(&server, Default::default(), question).await;
        assert_eq!(super::said(stranger), is(401, "invalid_signature"), "{scheme}");
        let path = format!("/events?endpoint={}", sender.id);
        assert_eq!(server.done(Method::GET, &path, None).await["data"], json!([]), "{scheme}");
    }
    assert_eq!(server.done(Method::GET, "/runs", None).await["data"], json!([]));
}

#[tokio::test]
async fn what_does_not_ask_is_an_event() {
    let server = Server::in_memory().await;
    for (scheme, body) in [
        ("slack", r#"{"type":"event_callback","challenge":"x"}"#),
        ("zoom", r#"{"event":"meeting.started","payload":{"plainToken":"x"}}"#),
        ("discord", r#"{"type":1,"event":{"type":"APPLICATION_AUTHORIZED"}}"#),
        ("crm", r#"{"data":{"confirmation_token":"x"}}"#),
        ("github", r#"{"type":"url_verification","challenge":"x"}"#),
    ] {
        let sender = Sender::on(&server, scheme, json!({})).await;
        let (status, answer) = sender.post(&server, sender.sign(body), body).await;
        assert_eq!(status, 202, "{scheme}");
        assert!(answer["id"].is_string(), "{scheme}: {answer}");
    }
}

#[tokio::test]
async fn an_endpoint_answers_as_its_sender_insists() {
    let server = Server::in_memory().await;
    let own = json!({"answer": {"status": 200, "body": {"received": true}}});
    let sender = Sender::on(&server, "github", own).await;
    let (status, answer) = sender.post(&server, sender.sign("{}"), "{}").await;
    assert_eq!((status.as_u16(), answer), (200, json!({"received": true})));
    let change = json!({"answer": {"status": 200}});
    server.done(Method::PATCH, &sender.path(), Some(change)).await;
    let (status, answer) = sender.post(&server, sender.sign("{}"), "{}").await;
    assert_eq!((status.as_u16(), &answer["status"]), (200, &json!("accepted")));
    assert_eq!(said(sender.post(&server, Default::default(), "{}").await).0, 401);
    for wrong in [
        json!({"status": 204}),
        json!({"status": "200"}),
        json!({"body": []}),
        json!({"body": {"x": "y".repeat(5_000)}}),
        json!({"headers": {}}),
    ] {
        let change = Some(json!({"answer": wrong}));
        let why = server.refused(Method::PATCH, &sender.path(), change, 422).await;
        assert!(why.contains("answer"), "{why}");
    }
}
