//! The root token: makes workspaces, acts in them, mints tokens for them.

use serde_json::json;

use super::{Browser, between, copied, form};
use crate::harness::Server;

/// Makes a workspace, and gives its id.
async fn made(browser: &Browser, name: &str) -> String {
    let page = browser.fill("/console/workspaces", "/console/workspaces", &[("name", name)]).await;
    let list = browser.follow(&page).await;
    let rows = list.split("<tr>");
    let row = rows.into_iter().find(|row| form::unescaped(row).contains(name)).unwrap();
    between(row, "<code class=\"id\">", "</code>").to_owned()
}

#[tokio::test]
async fn the_root_token_acts_in_the_workspace_that_it_chooses() {
    let server = Server::in_memory().await;
    server.create(json!({"description": "Of the default workspace"})).await;
    let browser = Browser::of_root(&server).await;
    let acme = made(&browser, "Acme & Co").await;
    let choose = format!("/console/workspaces/{acme}/choose");
    let home = browser.press("/console/workspaces", &choose).await;
    assert!(home.contains("Acme &#38; Co"), "{home}");
    assert!(browser.page("/console/endpoints").await.contains("No endpoint yet"));
    let new = [("description", "Of Acme")];
    browser.fill("/console/endpoints/new", "/console/endpoints", &new).await;
    let endpoints = browser.page("/console/endpoints").await;
    assert!(endpoints.contains("Of Acme") && !endpoints.contains("Of the default"), "{endpoints}");

    // A token that is minted here opens this workspace.
    let minted = browser.fill("/console/tokens", "/console/tokens", &[("scope", "write")]).await;
    assert_eq!(minted.status, 201);
    let token = copied(&minted.body, "token");
    assert!(!browser.page("/console/tokens").await.contains(&token));
    let tenant = Browser::of(&server, &token).await;
    assert!(tenant.page("/console/endpoints").await.contains("Of Acme"));
    let tokens = browser.page("/console/tokens").await;
    let revoke = tokens.split("action=\"").find(|it| it.contains("/revoke\"")).unwrap();
    let revoke = revoke.split('"').next().unwrap().to_owned();
    assert!(browser.press("/console/tokens", &revoke).await.contains("Revoked"));
    assert_eq!(tenant.get("/console").await.status, 303);
}

#[tokio::test]
async fn a_workspace_is_deleted_by_its_name_and_who_acted_in_it_goes_on_in_the_default_one() {
    let server = Server::in_memory().await;
    let (browser, other) = (Browser::of_root(&server).await, Browser::of_root(&server).await);
    let acme = made(&browser, "Acme").await;
    for browser in [&browser, &other] {
        browser.press("/console/workspaces", &format!("/console/workspaces/{acme}/choose")).await;
    }
    let delete = format!("/console/workspaces/{acme}/delete");
    let kept = browser.fill("/console/workspaces", &delete, &[("confirm", "acme")]).await;
    assert_eq!(kept.status, 422);
    assert!(form::unescaped(&kept.body).contains("type the name"), "{}", kept.body);
    let gone = browser.fill("/console/workspaces", &delete, &[("confirm", "Acme")]).await;
    assert!(!browser.follow(&gone).await.contains(&acme));
    assert!(browser.page("/console").await.contains("Default workspace"));

    // Who still acts in it is told so, and finds the way out.
    let lost = other.get("/console").await;
    assert_eq!(lost.status, 404);
    assert!(lost.body.contains("href=\"/console/workspaces\""), "{}", lost.body);
    let default = "/console/workspaces/ws_00000000000000000000000000/choose";
    assert!(other.press("/console/workspaces", default).await.contains("Default workspace"));
}
