//! The command line itself: every command that is promised, what it says when it is called wrongly,
//! and what shells complete.

use serde_json::json;

use crate::harness::{ROOT_TOKEN, Server, program};

/// Every command that users are promised.
const COMMANDS: &[&[&str]] = &[
    &["serve"],
    &["check"],
    &["completions"],
    &["send"],
    &["endpoints", "create"],
    &["endpoints", "list"],
    &["endpoints", "show"],
    &["endpoints", "pause"],
    &["endpoints", "resume"],
    &["endpoints", "rotate"],
    &["endpoints", "delete"],
    &["trigger", "set"],
    &["trigger", "clear"],
    &["events", "list"],
    &["events", "show"],
    &["events", "search"],
    &["events", "replay"],
    &["events", "export"],
    &["runs", "list"],
    &["runs", "show"],
    &["runs", "retry"],
    &["destinations", "create"],
    &["subscriptions", "create"],
    &["ploybooks", "create"],
    &["ploybooks", "set"],
];

async fn said(args: &[&str]) -> (Option<i32>, String, String) {
    let output = program(args).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn every_command_says_what_it_is_for() {
    for command in COMMANDS {
        let (code, help, message) = said(&[command, &["--help"][..]].concat()).await;
        assert_eq!((code, message.as_str()), (Some(0), ""), "{command:?}");
        assert!(help.contains("Usage:"), "{command:?}: {help}");
    }
}

#[tokio::test]
async fn every_shell_has_its_completions() {
    for (shell, marks) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef ploy-webhooks"),
        ("fish", "complete -c ploy-webhooks"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion"),
    ] {
        let (code, script, _) = said(&["completions", shell]).await;
        assert_eq!(code, Some(0));
        assert!(script.contains(marks) && script.contains("endpoints"), "{shell}: {script}");
    }
    assert_eq!(said(&["completions", "tcsh"]).await.0, Some(2));
}

#[tokio::test]
async fn what_was_probably_meant_is_said() {
    for (args, meant) in [
        (&["endpoint", "list"][..], "endpoints"),
        (&["events", "serch", "x"], "search"),
        (&["events", "export", "--contain", "x"], "--contains"),
        (&["completions", "bsh"], "bash"),
    ] {
        let (code, _, message) = said(args).await;
        assert_eq!(code, Some(2), "{message}");
        assert!(message.contains("similar") && message.contains(meant), "{message}");
    }

    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": "Clay"})).await;
    let event = server.accepted(&endpoint, &["{}"]).await.remove(0);
    for (args, hint) in [
        (["endpoints", "show", event.as_str()], "that is the id of an event"),
        (["endpoints", "pause", "Clay"], "begins with `ep_`"),
        (["events", "show", &endpoint.id], "that is the id of an endpoint"),
        (["runs", "retry", &event], "begins with `run_`"),
    ] {
        let output = server.shell(&args).await;
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(message.contains("404") && message.contains(hint), "{args:?}: {message}");
    }
    let gone = server.shell(&["endpoints", "show", "ep_01jd3m8p6tfhr9k2zq7wxv4bce"]).await;
    assert!(!String::from_utf8(gone.stderr).unwrap().contains("begins with"));
}

#[tokio::test]
async fn a_trigger_that_names_no_ploybook_is_set_and_the_one_that_is_like_it_said() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": "Clay"})).await;
    server
        .printed(&[
            "ploybooks",
            "create",
            "make-page",
            "--post",
            "http://127.0.0.1:9/",
            "--unsigned",
        ])
        .await;
    for (name, hint) in [
        ("make-page", ""),
        ("mak-page", "note: there is no Ploybook `mak-page`: `make-page` is\n"),
        ("enrich", "note: there is no Ploybook `enrich`\n"),
    ] {
        let output = server.shell(&["trigger", "set", &endpoint.id, name]).await;
        assert!(output.status.success());
        assert_eq!(String::from_utf8(output.stderr).unwrap(), hint);
        let shown = server.get(&format!("/endpoints/{}", endpoint.id)).await.1;
        assert_eq!(shown["trigger"]["ploybook"], name);
    }
}

#[tokio::test]
async fn later_settings_win() {
    let folder = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("https://{name}.example");
    let file =
        format!("public_url = '{}'\nstore = 'memory:'\nlisten = '127.0.0.1:0'\n", url("file"));
    std::fs::write(folder.path().join("ploy.toml"), file).unwrap();
    let flag = url("flag");
    for (variable, flags, wins) in [
        (None, &[][..], "file"),
        (Some(url("environment")), &[], "environment"),
        (Some(url("environment")), &["--public-url", &flag], "flag"),
    ] {
        let mut command = program(&[&["serve", "--config", "ploy.toml"], flags].concat());
        command.current_dir(folder.path()).env("PLOY_ROOT_TOKEN", ROOT_TOKEN);
        command.envs(variable.map(|url| ("PLOY_PUBLIC_URL", url)));
        let server = Server::start(command).await;
        let (_, made) = server
            .call(reqwest::Method::POST, "/endpoints", Some(json!({"description": ""})))
            .await;
        assert!(made["url"].as_str().unwrap().starts_with(&url(wins)), "{made}");
    }
}
