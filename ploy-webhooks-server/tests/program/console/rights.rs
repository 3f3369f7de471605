//! What a token may not, the console neither offers nor does.

use reqwest::Method;
use serde_json::json;

use super::{Browser, Form, form};
use crate::harness::Server;

#[tokio::test]
async fn who_only_reads_is_shown_no_form_that_changes_something() {
    let server = Server::in_memory_with(&[("PLOY_DISPATCH", "false")]).await;
    let ploybook = json!({"name": "page", "run": {"http": {"url": "http://127.0.0.1:9/"}}});
    server.done(Method::POST, "/ploybooks", Some(ploybook)).await;
    let form = json!({"description": "Clay", "trigger": {"ploybook": "page"}});
    let endpoint = server.create(form).await;
    let event = server.accepted(&endpoint, &["{}"]).await.remove(0);
    let run = server.done(Method::GET, "/runs", None).await["data"][0]["id"].clone();
    let destination = json!({"url": "http://127.0.0.1:9/"});
    let destination = server.done(Method::POST, "/destinations", Some(destination)).await;
    let made = server.done(Method::POST, "/tokens", Some(json!({"scope": "read"}))).await;
    let browser = Browser::of(&server, made["token"].as_str().unwrap()).await;

    let endpoint_page = format!("/console/endpoints/{}", endpoint.id);
    for path in [
        "/console".to_owned(),
        "/console/endpoints".to_owned(),
        "/console/endpoints/new".to_owned(),
        endpoint_page.clone(),
        "/console/events".to_owned(),
        format!("/console/events/{event}"),
        format!("/console/runs/{}", run.as_str().unwrap()),
        "/console/destinations".to_owned(),
        "/console/destinations/new".to_owned(),
        format!("/console/destinations/{}", destination["id"].as_str().unwrap()),
        "/console/subscriptions".to_owned(),
        "/console/ploybooks".to_owned(),
    ] {
        let page = browser.page(&path).await;
        assert_eq!(page.matches("method=\"post\"").count(), 1, "{path}: only to sign out: {page}");
        assert!(!page.contains("/console/tokens"), "{path}");
    }
    for path in ["/console/ploybooks/page", "/console/subscriptions/new", "/console/new-ploybook"] {
        let page = browser.page(path).await;
        assert!(page.contains("<fieldset class=\"plain\" disabled>"), "{page}");
        assert!(!page.contains("<button class=\"primary\""), "{page}");
    }

    // A form that is sent all the same is refused by the API, in its words.
    let token = browser.form_token().await;
    let post = async |path: &str, fields: &[(&str, &str)]| {
        let fields = [&[("form_token", token.as_str())], fields].concat();
        let page = browser.send(browser.request(Method::POST, path).form(&fields)).await;
        assert_eq!(page.status, 403, "{path}: {}", page.body);
        form::unescaped(&page.body)
    };
    let said = "the token has the scope `read`";
    assert!(post(&format!("{endpoint_page}/pause"), &[]).await.contains(said));
    assert!(post("/console/endpoints", &[("description", "x")]).await.contains(said));
    assert!(post(&format!("/console/events/{event}/replay"), &[]).await.contains(said));
    assert!(post("/console/ploybooks/page/delete", &[]).await.contains(said));
    assert_eq!(server.send(&endpoint, &endpoint.key, "{}").await.0, 202);
}

#[tokio::test]
async fn workspaces_and_tokens_are_for_the_root_token() {
    let server = Server::in_memory().await;
    let made = server.done(Method::POST, "/tokens", Some(json!({"scope": "write"}))).await;
    let browser = Browser::of(&server, made["token"].as_str().unwrap()).await;
    for path in ["/console/tokens", "/console/workspaces"] {
        let page = browser.get(path).await;
        assert_eq!(page.status, 403);
        assert!(page.body.contains("root token"), "{}", page.body);
    }
    let page = browser.fill("/console/endpoints/new", "/console/endpoints", &[]).await;
    assert_eq!(page.status, 201, "{}", page.body);
}
