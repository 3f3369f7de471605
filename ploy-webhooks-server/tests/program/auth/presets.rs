//! Endpoints of every preset are made, with a secret that is shown once.

use std::path::Path;
use std::process::Stdio;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use super::{Sender, assert_shows_no_secret, auth_of, presets, public_key};
use crate::harness::{ROOT_TOKEN, Server};

/// What is given in the wrong place.
const SECRET: &str = "whsec_aHVudGVyMmh1bnRlcjJodW50ZXIy";

/// With all logs in that file: so many that nobody reads as they come.
fn with_logs_in(file: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"exec "$0" serve --listen 127.0.0.1:0 --store memory: 2>"$1""#])
        .arg(env!("CARGO_BIN_EXE_ploy-webhooks"))
        .arg(file)
        .env_clear()
        .env("PLOY_ROOT_TOKEN", ROOT_TOKEN)
        .env("PLOY_LOG", "trace")
        .kill_on_drop(true)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[tokio::test]
async fn every_preset_is_made_with_a_secret_that_is_shown_once() {
    let logs = tempfile::NamedTempFile::new().unwrap();
    let server = Server::start(with_logs_in(logs.path())).await;
    let mut secrets = Vec::new();
    for scheme in presets() {
        let form = json!({"description": "", "auth": auth_of(scheme)});
        let made = server.done(Method::POST, "/endpoints", Some(form)).await;
        assert_eq!(
            made["auth"],
            json!({"scheme": scheme, "tolerance_seconds": 300, "once": false}),
            "{scheme}"
        );
        assert!(made.get("api_key").is_none(), "{scheme}");
        assert_eq!(made["credentials"].as_array().unwrap().len(), 1, "{scheme}");
        let sender = Sender::of(scheme, &made);
        if scheme != "discord" {
            let is_minted = sender.secret.starts_with("whsec_") && sender.secret.len() == 50;
            assert!(is_minted, "{scheme}: {}", sender.secret);
        }
        assert_shows_no_secret(&server.done(Method::GET, &sender.path(), None).await);
        let change = Some(json!({"description": "changed"}));
        assert_shows_no_secret(&server.done(Method::PATCH, &sender.path(), change).await);
        secrets.push(sender.secret);
    }
    assert_shows_no_secret(&server.done(Method::GET, "/endpoints?limit=200", None).await);
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));
    let logs = std::fs::read_to_string(logs.path()).unwrap();
    assert!(logs.contains("DEBUG"), "the log is a log: {logs}");
    for secret in secrets {
        assert!(!logs.contains(&secret), "a secret is in the log");
    }
}

#[tokio::test]
async fn nobody_but_the_sender_makes_the_keys_of_discord() {
    let server = Server::in_memory().await;
    let create = |auth: Value| json!({"description": "", "auth": auth});
    let without = Some(create(json!({"scheme": "discord"})));
    let why = server.refused(Method::POST, "/endpoints", without, 422).await;
    assert!(why.contains("auth.secret") && why.contains("public key"), "{why}");
    for secret in ["hunter2", &"0".repeat(64), &public_key()[2..]] {
        let form = Some(create(json!({"scheme": "discord", "secret": secret})));
        let why = server.refused(Method::POST, "/endpoints", form, 422).await;
        assert!(why.contains("auth.secret") && !why.contains(secret), "{why}");
    }
    let given = Some(create(json!({"scheme": "discord", "secret": public_key()})));
    let made = server.done(Method::POST, "/endpoints", given).await;
    assert_eq!(made["signing_secret"], public_key());
    // Nor its next one.
    let path = format!("/endpoints/{}/rotate", made["id"].as_str().unwrap());
    let why = server.refused(Method::POST, &path, None, 422).await;
    assert!(why.contains("public key"), "{why}");
}

#[tokio::test]
async fn a_secret_that_is_given_is_used() {
    let server = Server::in_memory().await;
    for (scheme, secret) in [
        ("stripe", "whsec_not/base64 at all"),
        ("github", "hunter2"),
        ("clay", "ключ"),
        ("svix", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("standard-webhooks", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("gitlab", "glpat hunter2"),
        ("zoom", " leading and trailing "),
    ] {
        let form = json!({"description": "", "auth": {"scheme": scheme, "secret": secret}});
        let made = server.done(Method::POST, "/endpoints", Some(form)).await;
        assert_eq!(made["signing_secret"], secret, "{scheme}");
        let sender = Sender::of(scheme, &made);
        assert_eq!(sender.send(&server, "{}").await.0, 202, "{scheme}");
        let other = if secret.contains("Mf") { "whsec_AAAA" } else { "hunter3" };
        assert_eq!(sender.with_secret(other).send(&server, "{}").await.0, 401, "{scheme}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_auth_is_named_and_never_repeated() {
    let server = Server::in_memory().await;
    let long = format!("{SECRET}{}", "x".repeat(1_024));
    let wrong = [
        (json!({}), "scheme"),
        (json!({"scheme": "magic"}), "scheme"),
        (json!({"scheme": 5}), "scheme"),
        (json!({"scheme": SECRET}), "scheme"),
        (json!(SECRET), "auth"),
        (json!([SECRET]), "auth"),
        (json!({"scheme": "stripe", "secrets": [SECRET]}), "secrets"),
        (json!({"scheme": "stripe", "secret": [SECRET]}), "secret"),
        (json!({"scheme": "stripe", "secret": {"value": SECRET}}), "secret"),
        (json!({"scheme": "stripe", "secret": ""}), "auth.secret"),
        (json!({"scheme": "stripe", "secret": format!("{SECRET}\n")}), "control characters"),
        (json!({"scheme": "stripe", "secret": long}), "1024"),
        (json!({"scheme": "svix", "secret": format!("{SECRET}!")}), "base64"),
        (json!({"scheme": "svix", "secret": "whpk_aHVudGVyMg=="}), "public key"),
        (json!({"scheme": "gitlab", "secret": format!("é{SECRET}")}), "visible ASCII"),
        (json!({"scheme": "gitlab", "secret": format!("{SECRET} ")}), "visible ASCII"),
        (json!({"scheme": "stripe", "tolerance_seconds": SECRET}), "tolerance_seconds"),
        (json!({"scheme": "stripe", "tolerance_seconds": 0}), "tolerance_seconds"),
        (json!({"scheme": "stripe", "tolerance_seconds": 86_401}), "tolerance_seconds"),
        (json!({"scheme": "stripe", "once": SECRET}), "once"),
        (json!({"scheme": "api-key", "secret": SECRET}), "secret"),
        (json!({"scheme": "api-key", "once": true}), "once"),
        (json!({"scheme": "custom", "secret": SECRET}), "header"),
        (json!({"scheme": "custom", "header": "x", "secret_form": SECRET}), "auth"),
        (json!({"scheme": "custom", "header": "x", "timestamp": SECRET}), "auth"),
    ];
    for (auth, named) in wrong {
        let form = json!({"description": "", "auth": auth});
        let on_create = server.refused(Method::POST, "/endpoints", Some(form), 422).await;
        let made = server.done(Method::POST, "/endpoints", Some(json!({"description": ""}))).await;
        let path = format!("/endpoints/{}", made["id"].as_str().unwrap());
        let patch = Some(json!({"auth": auth}));
        let on_patch = server.refused(Method::PATCH, &path, patch, 422).await;
        for why in [on_create, on_patch] {
            assert!(why.contains(named), "{auth}: {why}");
            assert!(!why.contains("aHVudGVyM"), "the secret is repeated: {why}");
        }
        let shown = server.done(Method::GET, &path, None).await;
        assert_eq!((&shown["auth"], &shown["revision"]), (&made["auth"], &json!(1)));
    }
    let made = server.done(Method::POST, "/endpoints", Some(json!({"description": ""}))).await;
    let path = format!("/endpoints/{}/rotate", made["id"].as_str().unwrap());
    for (rotation, named) in [
        (json!({"overlap_seconds": SECRET}), "overlap_seconds"),
        (json!({"secret": [SECRET]}), "secret"),
        (json!({"secrets": SECRET}), "secrets"),
        (json!({"secret": SECRET}), "secret"),
    ] {
        let why = server.refused(Method::POST, &path, Some(rotation), 422).await;
        assert!(why.contains(named) && !why.contains("aHVudGVyM"), "{why}");
    }
}
