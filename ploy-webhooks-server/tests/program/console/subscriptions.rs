//! Subscriptions, and trying their conditions out.

use reqwest::Method;
use serde_json::json;

use super::{Browser, between, form};
use crate::harness::Server;

const NEW: &str = "/console/subscriptions/new";
const MAKE: &str = "/console/subscriptions";
const TEST: &str = "/console/subscriptions/test";

#[tokio::test]
async fn a_condition_is_tried_out_on_an_event() {
    let server = Server::in_memory().await;
    let endpoint =
        server.create(json!({"description": "Clay", "fields": {"lead.score": "/score"}})).await;
    let event = server.accepted(&endpoint, &[r#"{"score":80,"name":"Acme"}"#]).await.remove(0);
    let judge = async |condition: &str| {
        let body = json!({"condition": condition, "event_id": event});
        server.done(Method::POST, "/subscriptions/test", Some(body)).await
    };
    assert_eq!(judge("payload.score >= 80").await, json!({"matches": true}));
    assert_eq!(
        judge("fields.lead.score == 80 && event.id.startsWith('evt_')").await["matches"],
        true
    );
    assert_eq!(judge("payload.score > 80").await, json!({"matches": false}));
    let unclear = judge("payload.nothing > 1").await;
    assert_eq!(unclear["matches"], false);
    assert!(unclear["reason"].as_str().unwrap().contains("nothing"), "{unclear}");

    let refused = async |body, with| {
        server.refused(Method::POST, "/subscriptions/test", Some(body), with).await
    };
    for condition in ["", "payload.", "nobody", &"a".repeat(2_049)] {
        let said = refused(json!({"condition": condition, "event_id": event}), 422).await;
        assert!(said.starts_with("`condition`"), "{said}");
    }
    refused(json!({"condition": "true"}), 422).await;
    refused(json!({"condition": "true", "event_id": "evt_x"}), 422).await;
    refused(json!({"condition": "true", "event_id": event, "more": 1}), 422).await;
    let unknown = "evt_01000000000000000000000000";
    refused(json!({"condition": "true", "event_id": unknown}), 404).await;
}

#[tokio::test]
async fn the_form_tries_what_is_filled_in_and_keeps_it() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": "Clay"})).await;
    let event = server.accepted(&endpoint, &[r#"{"score":80}"#]).await.remove(0);
    let browser = Browser::of_root(&server).await;
    let filled = form::of(&browser.page(NEW).await, MAKE);
    let tried = async |condition: &str, event: &str| {
        let fields = [("condition", condition), ("event_id", event), ("description", "kept <b>")];
        let page = browser.submit(&filled, TEST, &fields).await;
        let now = form::of(&page.body, MAKE);
        for (name, value) in fields {
            assert!(now.contains(&(name.to_owned(), value.to_owned())), "{name}: {now:?}");
        }
        (page.status.as_u16(), page.body)
    };
    let (status, page) = tried("payload.score == 80", &event).await;
    assert!(status == 200 && page.contains("It holds of this event"), "{page}");
    let (status, page) = tried("payload.nothing == 80", &event).await;
    assert!(status == 200 && page.contains("It does not hold of this event: "), "{page}");
    let (status, page) = tried("payload.score ==", &event).await;
    assert!(status == 422 && page.contains("id=\"condition-wrong\""), "{page}");
    for event in ["", "nonsense", "evt_01000000000000000000000000"] {
        let (status, page) = tried("true", event).await;
        assert!(status == 422 && page.contains("id=\"event_id-wrong\""), "{event}: {page}");
    }
    assert!(browser.page(MAKE).await.contains("No subscription yet"));
}

#[tokio::test]
async fn an_endpoint_that_is_gone_stays_named() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": "Clay"})).await;
    let destination = json!({"url": "http://127.0.0.1:9/"});
    let destination = server.done(Method::POST, "/destinations", Some(destination)).await;
    let subscription = json!({"destination": destination["id"], "endpoints": [endpoint.id]});
    let made = server.done(Method::POST, "/subscriptions", Some(subscription)).await;
    let api = format!("/subscriptions/{}", made["id"].as_str().unwrap());
    let path = format!("/console{api}");
    server.done(Method::DELETE, &format!("/endpoints/{}", endpoint.id), None).await;
    let browser = Browser::of_root(&server).await;
    let named = ("endpoints".to_owned(), endpoint.id.clone());
    let filled = form::of(&browser.page(&path).await, &path);
    assert!(filled.contains(&named), "{filled:?}");
    let test = format!("{path}/test");
    let tried = browser.submit(&filled, &test, &[("condition", "true"), ("event_id", "")]).await;
    assert!(form::of(&tried.body, &path).contains(&named), "{}", tried.body);
    browser.submit(&filled, &path, &[("description", "Leads")]).await;
    let (_, now) = server.get(&api).await;
    assert_eq!(now["endpoints"], json!([endpoint.id]), "{now}");
}

#[tokio::test]
async fn made_changed_and_deleted_by_forms() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": "Clay"})).await;
    let ploybook = json!({"name": "page: one", "run": {"http": {"url": "http://127.0.0.1:9/"}}});
    server.done(Method::POST, "/ploybooks", Some(ploybook)).await;
    let destination = json!({"url": "http://127.0.0.1:9/"});
    let destination = server.done(Method::POST, "/destinations", Some(destination)).await;
    let destination = destination["id"].as_str().unwrap();
    let browser = Browser::of_root(&server).await;
    let none = browser.fill(NEW, MAKE, &[]).await;
    assert!(none.status == 422 && none.body.contains("id=\"action-wrong\""), "{}", none.body);
    let fields = [
        ("description", "Good leads"),
        ("action", "ploybook:page: one"),
        ("types", "lead.*\r\ninvoice.paid"),
        ("condition", "payload.score >= 80"),
        ("endpoints", &endpoint.id),
        ("group", "leads"),
        ("position", "3"),
    ];
    let list = browser.follow(&browser.fill(NEW, MAKE, &fields).await).await;
    assert!(list.contains("Good leads") && list.contains("page: one"), "{list}");
    let path = between(&list, "<td data-label=\"Subscription\"><a href=\"", "\"").to_owned();
    let api = path.replace("/console", "");
    let (_, made) = server.get(&api).await;
    let expected = json!({"description": "Good leads", "enabled": true, "endpoints": [endpoint.id],
        "types": ["lead.*", "invoice.paid"], "condition": "payload.score >= 80",
        "ploybook": "page: one", "draft": false, "group": "leads", "position": 3});
    for (member, value) in expected.as_object().unwrap() {
        assert_eq!(made[member], *value, "{member}");
    }
    let action = format!("destination:{destination}");
    let changed = browser.fill(&path, &path, &[("action", &action), ("condition", "")]).await;
    browser.follow(&changed).await;
    let (_, now) = server.get(&api).await;
    assert_eq!((&now["destination"], &now["condition"]), (&json!(destination), &json!(null)));
    assert!(now.get("ploybook").is_none() && now["types"] == made["types"], "{now}");
    let gone = browser.press(&path, &format!("{path}/delete")).await;
    assert!(gone.contains("No subscription yet"));
}
