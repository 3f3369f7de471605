//! Destinations by forms.

use reqwest::Method;
use serde_json::json;

use super::{Browser, between, copied};
use crate::harness::Server;

const NEW: &str = "/console/destinations/new";
const MAKE: &str = "/console/destinations";

#[tokio::test]
async fn made_changed_tried_rotated_and_deleted() {
    let server = Server::in_memory().await;
    let browser = Browser::of_root(&server).await;
    let body = r#"{"json":{"z":1.50,"a":"{{ lead.email }}"}}"#;
    let fields = [
        ("description", "CRM"),
        ("url", "http://127.0.0.1:9/in/{{ lead.id }}"),
        ("headers", r#"{"X-Kind":"lead","X-Api-Key":{"secret":"hunter2"}}"#),
        ("body", body),
        ("rate.per_second", "20"),
        ("retry", r#"{"attempts_max":2}"#),
    ];
    let made = browser.fill(NEW, MAKE, &fields).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let secret = copied(&made.body, "secret");
    assert!(secret.starts_with("whsec_"), "{secret}");
    let path = between(&made.body, "class=\"button primary\" href=\"", "\"").to_owned();
    let api = path.replace("/console", "");
    let page = browser.page(&path).await;
    assert!(!page.contains(&secret) && !page.contains("hunter2"), "{page}");

    // Saved as the form has it, nothing is another; a header that is left out is gone.
    let (_, before) = server.get(&api).await;
    browser.follow(&browser.fill(&path, &path, &[]).await).await;
    let (_, after) = server.get(&api).await;
    for member in ["url", "headers", "body", "rate", "retry", "signing", "secrets", "order_by"] {
        assert_eq!(after[member], before[member], "{member}");
    }
    let headers = [("headers", r#"{"X-Api-Key":{"secret":true}}"#)];
    browser.follow(&browser.fill(&path, &path, &headers).await).await;
    let (_, after) = server.get(&api).await;
    assert_eq!(after["headers"], json!({"X-Api-Key": {"secret": true}}));
    let wrong = browser.fill(&path, &path, &[("body", "{")]).await;
    assert!(wrong.status == 422 && wrong.body.contains("id=\"body-wrong\""), "{}", wrong.body);

    // The address is not public, and the record says so.
    let tried = browser.fill(&path, &format!("{path}/test"), &[]).await;
    assert_eq!(tried.status, 200);
    assert!(tried.body.contains("did not arrive"), "{}", tried.body);
    let paused = browser.press(&path, &format!("{path}/pause")).await;
    assert!(paused.contains("paused</span>"), "{paused}");
    browser.press(&path, &format!("{path}/resume")).await;
    let rotated = browser.fill(&path, &format!("{path}/rotate"), &[]).await;
    assert_ne!(copied(&rotated.body, "secret"), secret);

    let subscription = json!({"destination": path.rsplit_once('/').unwrap().1});
    let subscription = server.done(Method::POST, "/subscriptions", Some(subscription)).await;
    let kept = browser.fill(&path, &format!("{path}/delete"), &[]).await;
    assert_eq!(kept.status, 409);
    assert!(kept.body.contains("delivers there"), "{}", kept.body);
    let id = subscription["id"].as_str().unwrap();
    server.done(Method::DELETE, &format!("/subscriptions/{id}"), None).await;
    assert!(browser.press(&path, &format!("{path}/delete")).await.contains("No destination yet"));
}

#[tokio::test]
async fn what_others_have_changed_meanwhile_is_not_changed_back() {
    let server = Server::in_memory().await;
    let body = json!({"json": {"list": vec!["0123456789"; 4_000]}});
    let made =
        json!({"url": "http://127.0.0.1:9/", "headers": {"X-A": "1", "X-B": "2"}, "body": body});
    let made = server.done(Method::POST, "/destinations", Some(made)).await;
    let api = format!("/destinations/{}", made["id"].as_str().unwrap());
    let path = format!("/console{api}");
    let browser = Browser::of_root(&server).await;
    let filled = super::form::of(&browser.page(&path).await, &path);
    let others = json!({"at_once": 3, "status": "paused", "headers": {"X-A": "9"},
        "signing": {"scheme": "none"}});
    server.done(Method::PATCH, &api, Some(others)).await;
    let changes = [("description", "CRM"), ("headers", r#"{"X-A":"1"}"#)];
    browser.follow(&browser.submit(&filled, &path, &changes).await).await;
    let (_, now) = server.get(&api).await;
    assert_eq!((&now["description"], &now["at_once"]), (&json!("CRM"), &json!(3)));
    assert_eq!((&now["status"], &now["signing"]["scheme"]), (&json!("paused"), &json!("none")));
    assert_eq!((&now["headers"], &now["body"]), (&json!({"X-A": "9"}), &body));
    // A body that is longer than pages show is in the form as a whole.
    let filled = super::form::of(&browser.page(&path).await, &path);
    let (_, shown) = filled.iter().find(|(name, _)| name == "body").unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(shown).unwrap(), body);
}

#[tokio::test]
async fn failed_deliveries_are_shown_and_tried_again() {
    let server = Server::in_memory().await;
    let form = json!({"url": "http://127.0.0.1:9/{{ lead.id }}", "retry": {"attempts_max": 1}});
    let destination = server.done(Method::POST, "/destinations", Some(form)).await;
    let id = destination["id"].as_str().unwrap();
    server.done(Method::POST, "/subscriptions", Some(json!({"destination": id}))).await;
    let endpoint = server.create(json!({"description": "Clay"})).await;
    let event = server.accepted(&endpoint, &["{}"]).await.remove(0);
    server.ended(&event, 1).await;
    let browser = Browser::of_root(&server).await;
    let path = format!("/console/destinations/{id}");
    assert!(browser.page(&path).await.contains("the payload has no"));
    let retry = format!("{path}/retry");
    let tried = browser.fill(&path, &retry, &[("since", "2099-01-01T00:00")]).await;
    assert!(tried.body.contains("0 failed deliveries"), "{}", tried.body);
    let tried = browser.fill(&path, &retry, &[]).await;
    assert!(tried.body.contains("1 failed deliveries"), "{}", tried.body);
}
