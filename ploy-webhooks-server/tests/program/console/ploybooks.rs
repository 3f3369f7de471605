//! Ploybooks by forms.

use reqwest::Method;
use serde_json::json;

use super::Browser;
use crate::harness::Server;

#[tokio::test]
async fn made_changed_and_wired() {
    let server = Server::in_memory().await;
    let browser = Browser::of_root(&server).await;
    let (new, make) = ("/console/new-ploybook", "/console/ploybooks");
    let fields = [
        ("name", "page"),
        ("run.target", "http://127.0.0.1:9/run"),
        ("run.http.secret_env", "ENGINE_SECRET"),
        ("instructions", "First line\r\nSecond line"),
        ("retry.attempts_max", "2"),
        ("time_limit_seconds", "90"),
    ];
    let list = browser.follow(&browser.fill(new, make, &fields).await).await;
    assert!(list.contains("/console/ploybooks/page"), "{list}");
    let (_, made) = server.get("/ploybooks/page").await;
    assert_eq!(made["run"]["http"]["secret_env"], "ENGINE_SECRET");
    assert_eq!(made["instructions"], "First line\nSecond line");
    assert_eq!((&made["retry"]["attempts_max"], &made["enabled"]), (&json!(2), &json!(true)));

    let twice = browser.fill(new, make, &fields).await;
    assert_eq!(twice.status, 409);
    assert!(twice.body.contains("of that name already"), "{}", twice.body);
    let wrong = browser.fill(new, make, &[("name", "other"), ("run.target", "ftp://x")]).await;
    assert!(wrong.status == 422 && wrong.body.contains("id=\"run-wrong\""), "{}", wrong.body);

    let path = "/console/ploybooks/page";
    let mut filled = super::form::of(&browser.page(path).await, path);
    filled.retain(|(name, _)| name != "enabled");
    browser.follow(&browser.submit(&filled, path, &[("description", "For Clay")]).await).await;
    let (_, now) = server.get("/ploybooks/page").await;
    assert_eq!((&now["enabled"], &now["description"]), (&json!(false), &json!("For Clay")));
    for member in ["run", "instructions", "retry", "time_limit_seconds", "takes_requests"] {
        assert_eq!(now[member], made[member], "{member}");
    }

    let wired = [("description", "Clay"), ("trigger", "page")];
    let page = browser.fill("/console/endpoints/new", "/console/endpoints", &wired).await;
    assert_eq!(page.status, 201);
    let (_, endpoints) = server.get("/endpoints").await;
    assert_eq!(endpoints["data"][0]["trigger"], json!({"ploybook": "page"}));
}

#[tokio::test]
async fn what_a_tenant_has_made_reaches_no_further_when_the_root_token_saves_it() {
    let server = Server::in_memory().await;
    let tenant = server.done(Method::POST, "/tokens", Some(json!({"scope": "write"}))).await;
    let tenant = Browser::of(&server, tenant["token"].as_str().unwrap()).await;
    let fields = [("name", "theirs"), ("run.target", "https://engine.example/run")];
    let made = tenant.fill("/console/new-ploybook", "/console/ploybooks", &fields).await;
    tenant.follow(&made).await;
    let is_public_only = async || {
        let (_, now) = server.get("/ploybooks/theirs").await;
        now["run"]["http"]["public_only"] == json!(true)
    };
    assert!(is_public_only().await);
    let (root, path) = (Browser::of_root(&server).await, "/console/ploybooks/theirs");
    root.follow(&root.fill(path, path, &[("description", "Seen")]).await).await;
    assert!(is_public_only().await);
}

#[tokio::test]
async fn one_that_is_called_new_is_opened() {
    let server = Server::in_memory().await;
    let ploybook = json!({"name": "new", "description": "Fresh",
        "run": {"http": {"url": "http://127.0.0.1:9/"}}});
    server.done(Method::POST, "/ploybooks", Some(ploybook)).await;
    let browser = Browser::of_root(&server).await;
    let page = browser.page("/console/ploybooks/new").await;
    assert!(page.contains("Fresh"), "{page}");
}
