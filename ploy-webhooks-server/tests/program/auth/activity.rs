//! What senders did: which credential is in use, and what was refused.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use super::Sender;
use crate::harness::Server;

async fn sent(server: &Server) -> (Sender, Sender) {
    let first = Sender::on(server, "stripe", json!({})).await;
    let path = format!("{}/rotate", first.path());
    let rotation = Some(json!({"overlap_seconds": 3_600}));
    let second = server.done(Method::POST, &path, rotation).await;
    let second = Sender::of("stripe", &second);
    for _ in 0..3 {
        assert_eq!(first.send(server, "{}").await.0, 202);
    }
    assert_eq!(first.with_secret("wrong").send(server, "{}").await.0, 401);
    assert_eq!(first.with_secret("wrong").send(server, "{}").await.0, 401);
    assert_eq!(second.send(server, "not json").await.0, 400);
    let stale = second.sign_at(super::seconds_ago(400), "{}");
    assert_eq!(second.post(server, stale, "{}").await.0, 401);
    (first, second)
}

/// By credential, the older first; and by code.
fn counts(shown: &Value) -> (Vec<u64>, Vec<(String, u64)>) {
    let credentials = shown["credentials"].as_array().unwrap().iter();
    let refused = shown["activity"]["refused"].as_object().unwrap().iter();
    (
        credentials.map(|credential| credential["uses"].as_u64().unwrap()).collect(),
        refused.map(|(code, of)| (code.clone(), of["count"].as_u64().unwrap())).collect(),
    )
}

fn refused_so_far() -> Vec<(String, u64)> {
    let refused = [("invalid_json", 1), ("invalid_signature", 2), ("stale_timestamp", 1)];
    refused.map(|(code, count)| (code.to_owned(), count)).to_vec()
}

#[tokio::test]
async fn it_is_shown_which_secret_is_in_use_and_what_was_refused() {
    let server = Server::in_memory().await;
    let unused = Sender::on(&server, "stripe", json!({})).await;
    let shown = server.done(Method::GET, &unused.path(), None).await;
    assert_eq!(counts(&shown), (vec![0], Vec::new()));
    assert_eq!(shown["credentials"][0]["last_used_at"], Value::Null);

    let (first, second) = sent(&server).await;
    let shown = server
        .until(&first.path(), |shown| {
            let (uses, refused) = counts(shown);
            uses[0] == 3 && refused.len() == 3
        })
        .await;
    assert_eq!(counts(&shown).1, refused_so_far());
    assert!(shown["credentials"][0]["last_used_at"].is_string(), "{shown}");
    for (_, refused) in shown["activity"]["refused"].as_object().unwrap() {
        assert!(refused["last_at"].is_string(), "{shown}");
    }
    assert_eq!(second.send(&server, "{}").await.0, 202);
    // In lists, and in what changes one, none of it.
    let list = server.done(Method::GET, "/endpoints", None).await;
    let changed = server.done(Method::PATCH, &first.path(), Some(json!({}))).await;
    for endpoint in [&list["data"][0], &changed] {
        assert!(endpoint.get("activity").is_none(), "{endpoint}");
        assert!(endpoint["credentials"][0].get("uses").is_none(), "{endpoint}");
    }
}

async fn on_file(folder: &Path) -> Server {
    Server::in_folder(folder, &[]).await
}

#[tokio::test]
async fn what_was_observed_is_handed_over_at_the_end_and_is_there_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = on_file(folder.path()).await;
    let (first, _) = sent(&server).await;
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));
    let server = on_file(folder.path()).await;
    let shown = server.done(Method::GET, &first.path(), None).await;
    let (uses, refused) = counts(&shown);
    assert_eq!((uses[0], refused), (3, refused_so_far()));
}

#[tokio::test]
async fn keys_are_counted_too() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": ""})).await;
    assert_eq!(server.send(&endpoint, &endpoint.key, "{}").await.0, 202);
    assert_eq!(server.send(&endpoint, "wrong", "{}").await.0, 401);
    let path = format!("/endpoints/{}", endpoint.id);
    let shown = server
        .until(&path, |shown| counts(shown) == (vec![1], vec![("unauthorized".to_owned(), 1)]));
    let shown = shown.await;
    let id = shown["credentials"][0]["id"].as_str().unwrap();
    assert!(!endpoint.key.contains(id) && !id.contains(&endpoint.key[4..]), "{id}");
}
