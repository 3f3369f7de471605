//! Quotas of endpoints, and the rate of a workspace.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Sender, is, said};
use crate::harness::{Server, answer};

#[tokio::test]
async fn a_quota_is_shown_spent_and_raised() {
    let server = Server::in_memory().await;
    let quota = json!({"limits": {"quota": {"events": 2}}});
    let sender = Sender::on(&server, "github", quota).await;
    let shown = async || {
        let shown = server.done(Method::GET, &sender.path(), None).await;
        shown["activity"]["quota"].clone()
    };
    let expected = json!({"events": 2, "used": 0, "remaining": 2, "resets_at": null});
    assert_eq!(shown().await, expected);
    assert_eq!(sender.send(&server, r#"{"n":1}"#).await.0, 202);
    assert_eq!(shown().await["remaining"], 1);
    assert_eq!(said(sender.post(&server, Default::default(), "{}").await).0, 401);
    assert_eq!(sender.send(&server, "not json").await.0, 400);
    assert_eq!(shown().await["used"], 1, "what is refused takes nothing of it");
    assert_eq!(sender.send(&server, r#"{"n":2}"#).await.0, 202);

    let request = sender.request(&server, sender.sign("{}"), "{}");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 429);
    assert!(response.headers().get("retry-after").is_none(), "no time makes it take one more");
    let problem: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(problem["code"], "quota_exceeded");
    assert_eq!((&shown().await["used"], &shown().await["remaining"]), (&json!(2), &json!(0)));

    let raised = json!({"limits": {"quota": {"events": 3}}});
    server.done(Method::PATCH, &sender.path(), Some(raised)).await;
    assert_eq!(shown().await["remaining"], 1);
    assert_eq!(sender.send(&server, r#"{"n":3}"#).await.0, 202);
    assert_eq!(sender.send(&server, r#"{"n":4}"#).await, is(429, "quota_exceeded"));
    let cleared = json!({"limits": {"quota": null}});
    server.done(Method::PATCH, &sender.path(), Some(cleared)).await;
    assert_eq!(shown().await, Value::Null);
    assert_eq!(sender.send(&server, r#"{"n":4}"#).await.0, 202);
}

#[tokio::test]
async fn a_repeat_takes_nothing_of_a_quota() {
    let server = Server::in_memory().await;
    let settings = json!({"limits": {"quota": {"events": 1}}, "dedup": {"body": true}});
    let sender = Sender::on(&server, "clay", settings).await;
    let (_, first) = sender.post(&server, sender.sign("{}"), "{}").await;
    let (status, again) = sender.post(&server, sender.sign("{}"), "{}").await;
    assert_eq!((status.as_u16(), &again["id"]), (202, &first["id"]));
    assert_eq!(sender.send(&server, r#"{"n":1}"#).await, is(429, "quota_exceeded"));
}

#[tokio::test]
async fn a_quota_of_a_period_says_when_it_begins_anew() {
    let server = Server::in_memory().await;
    // Longer than this test takes, by far, unless it runs at the very end of one.
    let quota = json!({"limits": {"quota": {"events": 1, "period_seconds": 2_000_000_000}}});
    let sender = Sender::on(&server, "clay", quota).await;
    assert_eq!(sender.send(&server, r#"{"n":1}"#).await.0, 202);
    let request = sender.request(&server, sender.sign("{}"), "{}");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 429);
    let seconds = response.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap();
    assert!((1..=2_000_000_000).contains(&seconds), "{seconds}");
    let shown = server.done(Method::GET, &sender.path(), None).await;
    // 2033-05-18T03:33:20Z.
    assert_eq!(shown["activity"]["quota"]["resets_at"], "2033-05-18T03:33:20.000Z");
}

#[tokio::test]
async fn quotas_that_cannot_be_are_refused() {
    let server = Server::in_memory().await;
    for quota in [
        json!({}),
        json!({"events": 0}),
        json!({"events": -1}),
        json!({"events": 1.5}),
        json!({"events": 1, "period_seconds": 0}),
        json!({"events": 1, "period": "day"}),
    ] {
        let form = Some(json!({"description": "", "limits": {"quota": quota}}));
        let why = server.refused(Method::POST, "/endpoints", form, 422).await;
        assert!(why.contains("limits"), "{why}");
    }
}

#[tokio::test]
async fn the_rate_of_a_workspace_is_for_all_its_endpoints_together() {
    let server = Server::in_memory().await;
    let limits = json!({"rate": {"per_second": 1, "burst": 3}});
    let form = Some(json!({"name": "Acme", "limits": limits}));
    let workspace = server.done(Method::POST, "/workspaces", form).await;
    let workspace = workspace["id"].as_str().unwrap();
    let made = async |settings: Value| {
        let request = server.request(Method::POST, "/endpoints", Some(settings));
        let request = request.bearer_auth(crate::harness::ROOT_TOKEN);
        let (status, made) = answer(request.header("ploy-workspace", workspace)).await;
        assert_eq!(status, 201, "{made}");
        Sender::of("github", &made)
    };
    let auth = json!({"scheme": "github"});
    let plain = made(json!({"description": "", "auth": auth})).await;
    let rate = json!({"rate": {"per_second": 100, "burst": 200}});
    let rated = made(json!({"description": "", "auth": auth, "limits": rate})).await;

    let stranger = plain.request(&server, Default::default(), "{}").send().await.unwrap();
    assert_eq!(stranger.status(), 401);
    assert!(stranger.headers().get("ratelimit").is_none(), "strangers spend and learn nothing");
    let first = rated.request(&server, rated.sign("{}"), "{}").send().await.unwrap();
    assert_eq!(first.status(), 202);
    let policy = r#""endpoint";q=200;w=2, "workspace";q=3;w=3"#;
    assert_eq!(first.headers()["ratelimit-policy"], policy);
    assert_eq!(first.headers()["ratelimit"], r#""endpoint";r=199;t=1, "workspace";r=2;t=1"#);
    // A token may come back between two of them.
    for _ in 0..100 {
        let response = plain.request(&server, plain.sign("{}"), "{}").send().await.unwrap();
        if response.status() == 202 {
            continue;
        }
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers()["ratelimit-policy"], r#""workspace";q=3;w=3"#);
        assert_eq!(response.headers()["ratelimit"], r#""workspace";r=0;t=3"#);
        let problem: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(problem["code"], "rate_limited");
        let other = server.create(json!({"description": ""})).await;
        assert_eq!(server.send(&other, &other.key, "{}").await.0, 202, "another workspace");
        return;
    }
    panic!("a hundred at once are within a rate of one a second");
}
