//! The command line itself: every command that is promised, what it says when it is called wrongly,
//! and what shells complete.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{ROOT_TOKEN, Server, program};

/// Every command that users are promised.
const COMMANDS: &[&[&str]] = &[
    &["serve"],
    &["health"],
    &["check"],
    &["completions"],
    &["send"],
    &["mcp"],
    &["listen"],
    &["backup"],
    &["endpoints", "create"],
    &["endpoints", "list"],
    &["endpoints", "show"],
    &["endpoints", "pause"],
    &["endpoints", "resume"],
    &["endpoints", "rotate"],
    &["endpoints", "delete"],
    &["destinations", "create"],
    &["destinations", "list"],
    &["destinations", "show"],
    &["destinations", "pause"],
    &["destinations", "resume"],
    &["destinations", "rotate"],
    &["destinations", "test"],
    &["destinations", "verify"],
    &["destinations", "delete"],
    &["destinations", "retry"],
    &["events", "publish"],
    &["events", "list"],
    &["events", "search"],
    &["events", "show"],
    &["events", "tail"],
    &["events", "export"],
    &["events", "replay"],
    &["trigger", "set"],
    &["trigger", "clear"],
    &["runs", "list"],
    &["runs", "show"],
    &["runs", "retry"],
    &["runs", "cancel"],
    &["ploybooks", "create"],
    &["ploybooks", "list"],
    &["ploybooks", "show"],
    &["ploybooks", "set"],
    &["ploybooks", "enable"],
    &["ploybooks", "disable"],
    &["ploybooks", "delete"],
    &["subscriptions", "create"],
    &["subscriptions", "list"],
    &["subscriptions", "show"],
    &["subscriptions", "set"],
    &["subscriptions", "enable"],
    &["subscriptions", "disable"],
    &["subscriptions", "delete"],
    &["workspaces", "create"],
    &["workspaces", "list"],
    &["workspaces", "show"],
    &["workspaces", "set"],
    &["workspaces", "delete"],
    &["tokens", "create"],
    &["tokens", "list"],
    &["tokens", "show"],
    &["tokens", "revoke"],
];

async fn said(args: &[&str]) -> (Option<i32>, String, String) {
    let output = program(args).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The commands that a help lists, but for `help` itself.
fn listed(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    // What is further in goes on with the line before.
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !["", "help"].contains(name)).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_command_is_promised_and_says_what_it_is_for() {
    let (mut found, mut to_ask) = (BTreeSet::new(), vec![Vec::<String>::new()]);
    while let Some(command) = to_ask.pop() {
        let args: Vec<_> = command.iter().map(String::as_str).chain(["--help"]).collect();
        let (code, help, message) = said(&args).await;
        assert_eq!((code, message.as_str()), (Some(0), ""), "{command:?}");
        assert!(help.contains("Usage:"), "{command:?}: {help}");
        let under = listed(&help);
        to_ask.extend(under.iter().map(|name| [&command[..], std::slice::from_ref(name)].concat()));
        if under.is_empty() {
            found.insert(command.join(" "));
        }
    }
    let promised: BTreeSet<_> = COMMANDS.iter().map(|command| command.join(" ")).collect();
    assert_eq!(found, promised, "left: what there is; right: what is promised");
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
