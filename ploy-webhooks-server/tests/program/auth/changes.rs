//! Secrets that are replaced, schemes that are changed, and what is taken once.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Sender, in_seconds, is, said, seconds_ago};
use crate::harness::{Endpoint, Server};

async fn rotated(server: &Server, sender: &Sender, rotation: Value) -> (Sender, Value) {
    let path = format!("{}/rotate", sender.path());
    let rotated = server.done(Method::POST, &path, Some(rotation)).await;
    (Sender::of(sender.scheme, &rotated), rotated)
}

#[tokio::test]
async fn a_secret_is_replaced_now_or_after_the_overlap() {
    let server = Server::in_memory().await;
    for scheme in ["stripe", "svix", "gitlab", "zoom"] {
        let first = Sender::on(&server, scheme, json!({})).await;
        let (second, answer) = rotated(&server, &first, json!({})).await;
        assert_ne!(first.secret, second.secret);
        assert_eq!(answer["credentials"].as_array().unwrap().len(), 1);
        assert_eq!(first.send(&server, "{}").await.0, 401, "{scheme}");
        assert_eq!(second.send(&server, "{}").await.0, 202, "{scheme}");

        let (third, answer) = rotated(&server, &second, json!({"overlap_seconds": 60})).await;
        let ends: Vec<_> = answer["credentials"].as_array().unwrap().iter().collect();
        assert!(ends.len() == 2 && ends[0]["expires_at"].is_string(), "{answer}");
        assert_eq!(ends[1]["expires_at"], Value::Null);
        for sender in [&second, &third] {
            assert_eq!(sender.send(&server, "{}").await.0, 202, "{scheme}");
        }
        let given = json!({"secret": "whsec_aHVudGVyMmh1bnRlcjI=", "overlap_seconds": 0});
        let (fourth, _) = rotated(&server, &third, given).await;
        assert_eq!(fourth.secret, "whsec_aHVudGVyMmh1bnRlcjI=");
        for sender in [&first, &second, &third] {
            assert_eq!(sender.send(&server, "{}").await.0, 401, "{scheme}");
        }
        assert_eq!(fourth.send(&server, "{}").await.0, 202, "{scheme}");
    }
}

#[tokio::test]
async fn an_overlap_ends_by_itself() {
    let server = Server::in_memory().await;
    let first = Sender::on(&server, "github", json!({})).await;
    let (second, _) = rotated(&server, &first, json!({"overlap_seconds": 1})).await;
    let path = first.path();
    loop {
        let (status, _) = first.send(&server, "{}").await;
        let shown = server.done(Method::GET, &path, None).await;
        if status == 401 {
            assert_eq!(second.send(&server, "{}").await.0, 202, "{shown}");
            return;
        }
        assert_eq!(status, 202);
    }
}

#[tokio::test]
async fn a_secret_that_the_scheme_cannot_use_does_not_replace_one_that_it_can() {
    let server = Server::in_memory().await;
    let sender = Sender::on(&server, "svix", json!({})).await;
    for secret in ["", "not base64 at all", "whpk_AAAA", "whsec_"] {
        let path = format!("{}/rotate", sender.path());
        let rotation = Some(json!({"secret": secret}));
        let why = server.refused(Method::POST, &path, rotation, 422).await;
        assert!(why.contains("secret") && !why.contains("not base64 at all"), "{why}");
    }
    assert_eq!(sender.send(&server, "{}").await.0, 202);
}

#[tokio::test]
async fn keys_are_minted_and_never_given() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": ""})).await;
    let path = format!("/endpoints/{}/rotate", endpoint.id);
    let given = Some(json!({"secret": "hunter2hunter2hunter2"}));
    let why = server.refused(Method::POST, &path, given, 422).await;
    assert!(why.contains("`secret`") && !why.contains("hunter2"), "{why}");
    assert_eq!(server.send(&endpoint, &endpoint.key, "{}").await.0, 202);
}

async fn patched(server: &Server, id: &str, change: Value) -> Value {
    server.done(Method::PATCH, &format!("/endpoints/{id}"), Some(change)).await
}

#[tokio::test]
async fn a_key_becomes_a_scheme_and_a_key_again() {
    let server = Server::in_memory().await;
    let keyed = server.create(json!({"description": ""})).await;
    assert_eq!(server.send(&keyed, &keyed.key, "{}").await.0, 202);

    let changed = patched(&server, &keyed.id, json!({"auth": {"scheme": "stripe"}})).await;
    assert!(changed.get("api_key").is_none());
    let stripe = Sender::of("stripe", &changed);
    let refused = server.send(&keyed, &keyed.key, "{}").await;
    assert_eq!(said(refused), is(401, "invalid_signature"));
    assert_eq!(stripe.send(&server, "{}").await.0, 202);
    super::assert_shows_no_secret(&server.done(Method::GET, &stripe.path(), None).await);

    let given = json!({"auth": {"scheme": "stripe", "secret": "hunter2"}});
    let changed = patched(&server, &keyed.id, given).await;
    assert_eq!(changed["signing_secret"], "hunter2");
    assert_eq!(stripe.send(&server, "{}").await.0, 401);
    assert_eq!(stripe.with_secret("hunter2").send(&server, "{}").await.0, 202);

    let changed = patched(&server, &keyed.id, json!({"auth": {"scheme": "github"}})).await;
    let github = Sender::of("github", &changed);
    assert_ne!(github.secret, "hunter2", "one secret is not for two schemes");
    assert_eq!(github.send(&server, "{}").await.0, 202);
    assert_eq!(github.with_secret("hunter2").send(&server, "{}").await.0, 401);

    let changed = patched(&server, &keyed.id, json!({"auth": {"scheme": "api-key"}})).await;
    assert!(changed.get("signing_secret").is_none());
    let key = changed["api_key"].as_str().unwrap();
    assert_eq!(said(github.post(&server, github.sign("{}"), "{}").await), is(401, "unauthorized"));
    assert_eq!(server.send(&keyed, &keyed.key, "{}").await.0, 401, "the first key is gone");
    assert_eq!(server.send(&keyed, key, "{}").await.0, 202);
    let again = patched(&server, &keyed.id, json!({"auth": {"scheme": "api-key"}})).await;
    super::assert_shows_no_secret(&again);
    assert_eq!(again["revision"], changed["revision"]);

    let discord = Some(json!({"auth": {"scheme": "discord"}}));
    let path = format!("/endpoints/{}", keyed.id);
    server.refused(Method::PATCH, &path, discord, 422).await;
    assert_eq!(server.send(&keyed, key, "{}").await.0, 202);
}

#[tokio::test]
async fn tolerance_and_once_are_changed_without_a_new_secret() {
    let server = Server::in_memory().await;
    let sender = Sender::on(&server, "stripe", json!({})).await;
    let change = json!({"auth": {"scheme": "stripe", "tolerance_seconds": 30}});
    let changed = patched(&server, &sender.id, change).await;
    super::assert_shows_no_secret(&changed);
    assert_eq!(changed["auth"]["tolerance_seconds"], 30);
    for time in [seconds_ago(60), in_seconds(60)] {
        let stale = sender.post(&server, sender.sign_at(time, "{}"), "{}").await;
        assert_eq!(said(stale), is(401, "stale_timestamp"));
    }
    let change = json!({"auth": {"scheme": "stripe", "tolerance_seconds": 86_400, "once": true}});
    let changed = patched(&server, &sender.id, change).await;
    super::assert_shows_no_secret(&changed);
    assert_eq!(changed["auth"]["once"], true);
    assert_eq!(
        said(sender.post(&server, sender.sign_at(seconds_ago(80_000), "{}"), "{}").await).0,
        202
    );
    // What is left out stays.
    let changed = patched(&server, &sender.id, json!({"auth": {"scheme": "stripe"}})).await;
    let expected = json!({"scheme": "stripe", "tolerance_seconds": 86_400, "once": true});
    assert_eq!(changed["auth"], expected);
}

#[tokio::test]
async fn what_was_signed_is_taken_once() {
    let server = Server::in_memory().await;
    for scheme in ["clay", "stripe", "github", "discord", "hubspot"] {
        let mut auth = super::auth_of(scheme);
        auth["once"] = true.into();
        let form = json!({"description": "", "auth": auth});
        let made = server.done(Method::POST, "/endpoints", Some(form)).await;
        let sender = Sender::of(scheme, &made);
        let body = r#"{"some":"event"}"#;
        let headers = sender.sign(body);
        let (_, first) = sender.post(&server, headers.clone(), body).await;
        let (status, again) = sender.post(&server, headers.clone(), body).await;
        assert_eq!((status.as_u16(), &again["id"]), (202, &first["id"]), "{scheme}");
        assert_eq!(again["duplicate"], true, "{scheme}");
        // A header that is not signed makes no other event of it.
        let mut disguised = headers.clone();
        disguised.insert("x-github-delivery", "another".parse().unwrap());
        let (_, again) = sender.post(&server, disguised, body).await;
        assert_eq!((&again["id"], &again["duplicate"]), (&first["id"], &json!(true)), "{scheme}");
        let other = r#"{"other":"event"}"#;
        let (_, other) = sender.post(&server, sender.sign(other), other).await;
        assert_ne!(other["id"], first["id"], "{scheme}");
        let path = format!("/events?endpoint={}", sender.id);
        let events = server.done(Method::GET, &path, None).await;
        assert_eq!(events["data"].as_array().unwrap().len(), 2, "{scheme}");
    }
}

#[tokio::test]
async fn once_is_not_promised_where_it_cannot_be_kept() {
    let server = Server::in_memory().await;
    let once = |scheme: &str| json!({"scheme": scheme, "once": true});
    let unsigned = json!({"header": "x-delivery"});
    let create =
        |auth: Value, dedup: Value| Some(json!({"description": "", "auth": auth, "dedup": dedup}));
    let body = create(once("gitlab"), Value::Null);
    let why = server.refused(Method::POST, "/endpoints", body, 422).await;
    assert!(why.contains("auth.once") && why.contains("gitlab"), "{why}");
    let body = create(once("stripe"), unsigned.clone());
    let why = server.refused(Method::POST, "/endpoints", body, 422).await;
    assert!(why.contains("dedup.header") && why.contains("x-delivery"), "{why}");
    for (scheme, dedup) in [
        ("stripe", json!({"body": true})),
        ("stripe", json!({"pointers": ["/id"]})),
        ("svix", json!({"header": "svix-id"})),
        ("stripe", Value::Null),
    ] {
        server.done(Method::POST, "/endpoints", create(once(scheme), dedup)).await;
    }
    // In the one order of changes and in the other.
    let sender = Sender::on(&server, "stripe", json!({"dedup": unsigned})).await;
    let change = Some(json!({"auth": once("stripe")}));
    let why = server.refused(Method::PATCH, &sender.path(), change, 422).await;
    assert!(why.contains("dedup.header"), "{why}");
    let sender = Sender::on(&server, "stripe", json!({})).await;
    patched(&server, &sender.id, json!({"auth": once("stripe")})).await;
    let change = Some(json!({"dedup": unsigned}));
    let why = server.refused(Method::PATCH, &sender.path(), change, 422).await;
    assert!(why.contains("dedup.header"), "{why}");
    let both = json!({"auth": {"scheme": "stripe", "once": false}, "dedup": unsigned});
    patched(&server, &sender.id, both).await;
    let gitlab = Sender::on(&server, "gitlab", json!({})).await;
    let change = Some(json!({"auth": once("gitlab")}));
    server.refused(Method::PATCH, &gitlab.path(), change, 422).await;
    for sender in [sender, gitlab] {
        assert_eq!(sender.send(&server, "{}").await.0, 202, "what is refused changes nothing");
    }
}

#[tokio::test]
async fn a_scheme_is_of_its_endpoint_alone() {
    let server = Server::in_memory().await;
    let one = Sender::on(&server, "github", json!({})).await;
    let other = Sender::on(&server, "github", json!({})).await;
    assert_eq!(one.with_secret(&other.secret).send(&server, "{}").await.0, 401);
    let there = Sender { slug: other.slug.clone(), ..one.clone() };
    assert_eq!(there.send(&server, "{}").await.0, 401);
    let keyed: Endpoint = server.create(json!({"description": ""})).await;
    assert_eq!(server.send(&keyed, &one.secret, "{}").await.0, 401);
}
