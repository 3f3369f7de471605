//! Endpoints with schemes, and what is sent to them, from the shell.

use std::process::Output;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Sender, presets};
use crate::harness::{Server, program};

async fn send(args: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.jsonl");
    std::fs::write(&file, "{\"n\":1}\n{\"n\":2}\n").unwrap();
    let mut command = program(&["send"]);
    command.args(args).arg(&file).envs(environment.iter().copied());
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[tokio::test]
async fn what_is_sent_is_signed_by_any_scheme_with_a_secret() {
    let server = Server::in_memory().await;
    for scheme in presets().filter(|scheme| *scheme != "discord") {
        let sender = Sender::on(&server, scheme, json!({})).await;
        let args = ["--url", &sender.url, "--scheme", scheme, "--secret", &sender.secret];
        let (code, said, messages) = send(&args, &[]).await;
        assert_eq!((code, said.trim()), (Some(0), "sent 2, failed 0"), "{scheme}: {messages}");
        let path = format!("/events?endpoint={}", sender.id);
        let events = server.done(Method::GET, &path, None).await;
        assert_eq!(events["data"].as_array().unwrap().len(), 2, "{scheme}");
        // In the environment, where others do not see it; and beside a key that is there too.
        let environment = [("PLOY_SECRET", &*sender.secret), ("PLOY_KEY", "pwk_another")];
        let (code, ..) = send(&["--url", &sender.url, "--scheme", scheme], &environment).await;
        assert_eq!(code, Some(0), "{scheme}");
    }
}

#[tokio::test]
async fn a_wrong_secret_is_not_tried_again_and_not_repeated() {
    let server = Server::in_memory().await;
    let sender = Sender::on(&server, "stripe", json!({})).await;
    let args = ["--url", &sender.url, "--scheme", "stripe", "--secret", "hunter2"];
    let (code, said, messages) = send(&args, &[]).await;
    assert_eq!((code, said.trim()), (Some(1), "sent 0, failed 2"));
    assert!(messages.contains("401") && messages.contains("line 1"), "{messages}");
    assert!(!messages.contains("hunter2"), "{messages}");
}

#[tokio::test]
async fn who_proves_nothing_or_nothing_that_can_be_used_has_called_it_wrongly() {
    let url = ["--url", "http://127.0.0.1:9/api/v1/webhook/x"];
    let key = "00".repeat(32);
    let public_key = super::public_key();
    for (args, named) in [
        (&[][..], "--key"),
        // Also where there is a key: it may be that of somebody else.
        (&["--secret", "hunter2"], "--scheme"),
        (&["--secret", "hunter2", "--key", "pwk_x"], "--scheme"),
        (&["--scheme", "stripe"], "--secret"),
        (&["--scheme", "magic", "--secret", "hunter2"], "stripe"),
        (&["--scheme", "custom", "--secret", "hunter2"], "stripe"),
        (&["--scheme", "stripe", "--secret", ""], "empty"),
        (&["--scheme", "svix", "--secret", "hunter2!"], "base64"),
        (&["--scheme", "discord", "--secret", &public_key], "public key"),
        (&["--scheme", "discord", "--secret", &key], "public key"),
        (&["--scheme", "gitlab", "--secret", "hunter2é"], "visible ASCII"),
    ] {
        let args = [&url[..], args].concat();
        let (code, said, messages) = send(&args, &[]).await;
        assert_eq!((code, &*said), (Some(2), ""), "{args:?}: {messages}");
        assert!(messages.contains(named), "{args:?}: {messages}");
        assert!(!messages.contains("hunter2"), "{messages}");
    }
}

#[tokio::test]
async fn an_endpoint_with_a_scheme_and_bounds_is_made_from_the_shell() {
    let server = Server::in_memory().await;
    let args = [
        "endpoints",
        "create",
        "--description",
        "Payments",
        "--scheme",
        "stripe",
        "--secret",
        "whsec_hunter2",
        "--once",
        "--quota",
        "5",
        "--quota-period-seconds",
        "86400",
        "--answer-200",
        "--json",
    ];
    let made: Value = serde_json::from_str(&server.printed(&args).await).unwrap();
    let expected = json!({"scheme": "stripe", "tolerance_seconds": 300, "once": true});
    assert_eq!(made["auth"], expected);
    assert_eq!(made["limits"]["quota"], json!({"events": 5, "period_seconds": 86_400}));
    assert_eq!(made["answer"], json!({"status": 200}));
    assert_eq!(made["signing_secret"], "whsec_hunter2");
    let sender = Sender::of("stripe", &made);
    assert_eq!(sender.send(&server, "{}").await.0, 200);
    assert_eq!(sender.with_secret("wrong").send(&server, "{}").await.0, 401);

    server
        .until(&sender.path(), |shown| {
            shown["activity"]["refused"].get("invalid_signature").is_some()
        })
        .await;
    let shown = server.printed(&["endpoints", "show", &sender.id]).await;
    for words in [
        &["scheme", "stripe"][..],
        &["credential", "last used 2"],
        &["quota", "1 of 5 used (20 %), anew 2"],
        &["refused", "1 × invalid_signature, last 2"],
    ] {
        let line = shown.lines().find(|line| words.iter().all(|word| line.contains(word)));
        assert!(line.is_some(), "{words:?} in {shown}");
    }
    assert!(!shown.contains("whsec_"), "{shown}");

    let rotated = ["endpoints", "rotate", &sender.id, "--overlap-seconds", "60"];
    let rotated = server.printed(&rotated).await;
    assert!(
        rotated.contains("secret (shown this once)") && rotated.contains("whsec_"),
        "{rotated}"
    );
    let given = ["endpoints", "rotate", &sender.id, "--secret", "hunter3"];
    assert!(server.printed(&given).await.contains("hunter3"));
    assert_eq!(sender.with_secret("hunter3").send(&server, r#"{"n":2}"#).await.0, 200);
    let shown = server.printed(&["endpoints", "show", &sender.id]).await;
    assert!(shown.contains("not used yet") || shown.contains("last used"), "{shown}");
}

#[tokio::test]
async fn a_scheme_of_ones_own_is_given_in_a_file() {
    let server = Server::in_memory().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("acme.json");
    std::fs::write(&path, r#"{"header": "x-acme", "encoding": "base64"}"#).unwrap();
    let file = path.to_str().unwrap();
    let with_file = |file| ["endpoints", "create", "--scheme", "custom", "--scheme-file", file];
    let made = server.printed(&with_file(file)).await;
    assert!(made.contains("custom") && made.contains("whsec_"), "{made}");

    let code = async |args: &[&str]| {
        let output = server.shell(args).await;
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (missing, why) = code(&["endpoints", "create", "--scheme", "custom"]).await;
    assert!(missing == Some(2) && why.contains("--scheme-file"), "{why}");
    let (nowhere, why) = code(&with_file("nowhere.json")).await;
    assert!(nowhere == Some(1) && why.contains("nowhere.json"), "{why}");
    std::fs::write(&path, r#"{"header": "x-acme", "layout": "?"}"#).unwrap();
    let (refused, why) = code(&with_file(file)).await;
    assert!(refused == Some(1) && why.contains("422"), "{why}");
    let (unknown, why) = code(&["endpoints", "create", "--scheme", "magic"]).await;
    assert!(unknown == Some(1) && why.contains("`scheme`"), "{why}");
    assert_eq!(code(&["endpoints", "create", "--once"]).await.0, Some(2));
    assert_eq!(code(&["endpoints", "create", "--quota", "0"]).await.0, Some(2));
    let (discord, why) = code(&["endpoints", "create", "--scheme", "discord"]).await;
    assert!(discord == Some(1) && why.contains("public key"), "{why}");
}
