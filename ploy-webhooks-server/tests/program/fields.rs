//! The fields that an endpoint names in its payloads.

use reqwest::Method;
use serde_json::{Value, json};

use crate::engine::{Engine, ploybook_at};
use crate::harness::Server;

#[tokio::test]
async fn fields_are_shown_patched_and_cleared() {
    let server = Server::in_memory().await;
    let fields = json!({
        "contact.email": "/person/email",
        "score": {"pointer": "/icp", "default": 0},
        "company": {"pointer": "/company", "required": true},
    });
    let form = json!({"description": "", "fields": fields});
    let made = server.done(Method::POST, "/endpoints", Some(form)).await;
    let path = format!("/endpoints/{}", made["id"].as_str().unwrap());
    assert_eq!(made["fields"], fields);
    for (change, expected) in [
        (json!({"description": "x"}), fields.clone()),
        (json!({"fields": {"email": "/email"}}), json!({"email": "/email"})),
        (json!({"fields": null}), Value::Null),
    ] {
        let shown = server.done(Method::PATCH, &path, Some(change)).await;
        assert_eq!(shown["fields"], expected);
        assert_eq!(server.done(Method::GET, &path, None).await["fields"], expected);
    }
    for (fields, named) in [
        (json!({"a b": "/a"}), "a b"),
        (json!({"email": "email"}), "`email`"),
        (json!({"email": {"pointer": "/e", "required": true, "default": 1}}), "`email`"),
        (json!({"a": "/a", "a.b": "/b"}), "`a.b`"),
    ] {
        let change = Some(json!({"fields": fields}));
        let detail = server.refused(Method::PATCH, &path, change, 422).await;
        assert!(detail.contains(named), "{detail}");
    }
}

#[tokio::test]
async fn runs_have_the_fields_and_conditions_read_them() {
    let server = Server::in_memory().await;
    let engine = Engine::start().await;
    server.done(Method::POST, "/ploybooks", Some(engine.ploybook("page"))).await;
    let subscription = json!({
        "ploybook": "page",
        "condition": "fields.score >= 80 && fields.contact.email.endsWith('@acme.com')",
    });
    server.done(Method::POST, "/subscriptions", Some(subscription)).await;
    let fields = json!({
        "contact.email": "/person/email", "score": {"pointer": "/icp", "default": 90},
        "absent": "/absent",
    });
    let endpoint = server.create(json!({"description": "", "fields": fields})).await;
    let events = server
        .accepted(
            &endpoint,
            &[
                r#"{"person":{"email":"a@acme.com"},"icp":12}"#,
                r#"{"person":{"email":"b@acme.com"}}"#,
            ],
        )
        .await;
    let asked = engine.asked().await;
    let data = &asked.body["data"];
    assert_eq!(data["event_id"], *events[1]);
    assert_eq!(data["fields"], json!({"contact": {"email": "b@acme.com"}, "score": 90}));
    asked.answer("200 OK", "").await;
    server.ended(&events[1], 2).await;
    let passed_over = &server.ended(&events[0], 1).await[0];
    let account = passed_over["attempts"][0]["output"].as_str().unwrap();
    assert!(account.contains("skipped: its condition does not hold"), "{account}");
}

#[tokio::test]
async fn a_required_field_that_is_missing_fails_the_run_of_an_accepted_event() {
    let server = Server::in_memory().await;
    let url = Engine::that_names_ploybooks().await;
    server.done(Method::POST, "/ploybooks", Some(ploybook_at(&url, "page"))).await;
    let endpoint = server
        .create(json!({
            "description": "", "trigger": {"ploybook": "page"},
            "fields": {"contact.email": {"pointer": "/person/email", "required": true}},
        }))
        .await;
    let payloads = [r#"{"person":{"email":null}}"#, r#"{"person":{"email":"a@b.io"}}"#];
    let events = server.accepted(&endpoint, &payloads).await;
    let failed = &server.ended(&events[0], 1).await[0];
    assert_eq!(failed["state"], "failed");
    let attempts = failed["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1, "another attempt would not help");
    let error = attempts[0]["error"].as_str().unwrap();
    assert!(error.contains("`contact.email` is missing"), "{error}");
    assert_eq!(server.ended(&events[1], 1).await[0]["state"], "succeeded");
}
