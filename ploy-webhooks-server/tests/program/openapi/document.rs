//! The description as a file, so that a change of the API is seen in review.

use std::path::Path;

use reqwest::Method;
use serde_json::Value;

use crate::harness::Server;

#[test]
fn the_description_is_the_one_that_is_checked_in() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let mut text = serde_json::to_string_pretty(&ploy_webhooks_server::api::openapi()).unwrap();
    text.push('\n');
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == checked_in,
        "the API is not as openapi.json says; look at what changes after \
         UPDATE=1 cargo test -p ploy-webhooks-server --test program checked_in"
    );
}

#[tokio::test]
async fn whoever_asks_is_told_without_a_token_and_with_the_url_of_the_server() {
    let server = Server::in_memory_with(&[("PLOY_PUBLIC_URL", "https://hooks.example/in/")]).await;
    let answer = server.request(Method::GET, "/openapi.json", None).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
    let mut served: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(served["servers"][0]["url"].take(), "https://hooks.example/in");
    let mut known = ploy_webhooks_server::api::openapi();
    known["servers"][0]["url"].take();
    assert_eq!(served, known);
}
