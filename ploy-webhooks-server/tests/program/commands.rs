//! The commands that wire Ploybooks to events, and show what comes of it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::engine::{Engine, ploybook_at, ploybook_by};
use crate::harness::Server;

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Whether these stand in one line, in this order.
fn has_line(text: &str, cells: &[&str]) -> bool {
    text.lines().any(|line| {
        let mut rest = Some(line);
        for cell in cells {
            rest = rest.and_then(|rest| rest.split_once(cell)).map(|(_, rest)| rest);
        }
        rest.is_some()
    })
}

/// Nothing in it could steer a terminal or turn the order of what it shows around.
fn assert_harmless(text: &str) {
    let steers = |char: char| {
        (char.is_control() && char != '\n' && char != '\t')
            || ('\u{202a}'..='\u{202e}').contains(&char)
            || ('\u{2066}'..='\u{2069}').contains(&char)
    };
    assert!(!text.contains(steers), "{text:?}");
}

#[tokio::test]
async fn ploybooks_are_worked_with_from_the_shell() {
    let server = Server::in_memory_with(&[("PLOY_ALLOW_COMMANDS", "true")]).await;
    let name = "Generate page / é";
    let made = server
        .printed(&[
            "ploybooks",
            "create",
            name,
            "--post",
            "https://x.io/run",
            "--secret-env",
            "S",
            "--attempts",
            "2",
            "--json",
        ])
        .await;
    let made = json_of(&made);
    assert_eq!(made["run"], json!({"http": {"url": "https://x.io/run", "secret_env": "S"}}));
    assert_eq!((&made["name"], &made["retry"]["attempts_max"]), (&json!(name), &json!(2)));
    let made = server
        .printed(&[
            "ploybooks",
            "create",
            "say",
            "--description",
            "Says",
            "--",
            "/bin/echo",
            "--json",
            "a b",
        ])
        .await;
    assert!(has_line(&made, &["run by", "/bin/echo --json a b"]), "{made}");
    let shown = server.printed(&["ploybooks", "show", "say", "--json"]).await;
    assert_eq!(
        json_of(&shown)["run"],
        json!({"command": {"argv": ["/bin/echo", "--json", "a b"]}})
    );

    let list = server.printed(&["ploybooks", "list"]).await;
    assert!(has_line(&list, &["NAME", "ENABLED", "RUN BY", "DESCRIPTION"]), "{list}");
    assert!(has_line(&list, &[name, "yes", "POST https://x.io/run"]), "{list}");
    assert!(has_line(&list, &["say", "yes", "/bin/echo", "Says"]), "{list}");

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "First this.\n\tThen \u{1b}[2Jthat.\n").unwrap();
    let file = file.path().to_str().unwrap();
    let set = server
        .printed(&["ploybooks", "set", name, "--instructions-file", file, "--time-limit", "9"])
        .await;
    assert!(has_line(&set, &["time limit", "9 s"]) && has_line(&set, &["attempts", "2"]), "{set}");
    assert!(set.contains("First this.\n\tThen \\u{1b}[2Jthat."), "{set}");
    assert_harmless(&set);
    let set = server.printed(&["ploybooks", "set", name, "--attempts", "3", "--json"]).await;
    assert_eq!(json_of(&set)["time_limit_seconds"], 9);
    for (word, expected) in [("disable", "false"), ("enable", "true")] {
        let shown = server.printed(&["ploybooks", word, name]).await;
        assert!(has_line(&shown, &["enabled", expected]), "{shown}");
    }
    assert_eq!(server.printed(&["ploybooks", "delete", name]).await, "");

    let missing = "no-such-file";
    for (args, code, said) in [
        (&["ploybooks", "show", name][..], 1, "404"),
        (&["ploybooks", "delete", name], 1, "404"),
        (&["ploybooks", "create", "say", "--post", "https://x.io"], 1, "that name already"),
        (&["ploybooks", "create", "x", "--post", "ftp://x.io"], 1, "run.http.url"),
        (&["ploybooks", "set", "say", "--time-limit", "0"], 1, "time_limit_seconds"),
        (&["ploybooks", "set", "say", "--instructions-file", missing], 1, missing),
        (&["ploybooks", "create", "x"], 2, "--post"),
        (&["ploybooks", "create", "x", "--post", "https://x.io", "--", "true"], 2, "--post"),
        (&["ploybooks", "create", "x", "--secret-env", "S", "--", "true"], 2, "--post"),
        (&["ploybooks", "set", "say", "--attempts", "many"], 2, "--attempts"),
        (&["ploybooks"], 2, "Usage"),
    ] {
        let output = server.shell(args).await;
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{args:?}");
        assert!(message.contains(said), "{args:?}: {message}");
    }
}

#[tokio::test]
async fn subscriptions_are_worked_with_from_the_shell() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": ""})).await;
    let condition = "payload.icp_score >= 80";
    let made = server
        .printed(&[
            "subscriptions",
            "create",
            "--ploybook",
            "outreach",
            "--when",
            condition,
            "--group",
            "leads",
            "--position",
            "1",
            "--endpoint",
            &endpoint.id,
            "--type",
            "lead.*",
            "--type",
            "row",
            "--json",
        ])
        .await;
    let made = json_of(&made);
    for (name, value) in [
        ("ploybook", json!("outreach")),
        ("condition", json!(condition)),
        ("group", json!("leads")),
        ("position", json!(1)),
        ("endpoints", json!([endpoint.id])),
        ("types", json!(["lead.*", "row"])),
    ] {
        assert_eq!(made[name], value, "{name}");
    }
    let id = made["id"].as_str().unwrap();
    server.printed(&["subscriptions", "create", "--ploybook", "log"]).await;
    let list = server.printed(&["subscriptions", "list"]).await;
    assert!(has_line(&list, &[id, "yes", "leads", "1", condition, "outreach"]), "{list}");
    assert!(has_line(&list, &["yes", "always", "log"]), "{list}");
    let shown = server.printed(&["subscriptions", "show", id]).await;
    assert!(has_line(&shown, &["types", "lead.*, row"]), "{shown}");
    for (word, expected) in [("disable", "false"), ("enable", "true")] {
        let shown = server.printed(&["subscriptions", word, id]).await;
        assert!(has_line(&shown, &["enabled", expected]), "{shown}");
    }
    assert_eq!(server.printed(&["subscriptions", "delete", id]).await, "");
    for (args, code, said) in [
        (&["subscriptions", "show", id][..], 1, "404"),
        (&["subscriptions", "create", "--ploybook", "x", "--when", "payload.a >"], 1, "line 1"),
        (&["subscriptions", "create"], 2, "--ploybook"),
        (&["subscriptions", "create", "--ploybook", "x", "--position", "1"], 2, "--group"),
    ] {
        let output = server.shell(args).await;
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{args:?}");
        assert!(message.contains(said), "{args:?}: {message}");
    }
}

#[tokio::test]
async fn triggers_are_set_and_cleared_from_the_shell() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": ""})).await;
    let path = format!("/endpoints/{}", endpoint.id);
    server.printed(&["trigger", "set", &endpoint.id, "Generate page / é"]).await;
    let shown = server.done(Method::GET, &path, None).await;
    assert_eq!(shown["trigger"], json!({"ploybook": "Generate page / é"}));
    let cleared = server.printed(&["trigger", "clear", &endpoint.id, "--json"]).await;
    assert_eq!(json_of(&cleared)["trigger"], Value::Null);
    for (args, code) in [
        (&["trigger", "set", "ep_00000000000000000000000000", "x"][..], 1),
        (&["trigger", "set", &endpoint.id, " x"], 1),
        (&["trigger", "set", &endpoint.id], 2),
        (&["trigger", "clear"], 2),
    ] {
        let output = server.shell(args).await;
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{args:?}");
    }
}

#[tokio::test]
async fn runs_are_worked_with_from_the_shell() {
    let server = Server::in_memory().await;
    let url = Engine::that_names_ploybooks().await;
    let engine = Engine::start().await;
    let wired = json!({"description": "", "trigger": {"ploybook": "page"}});
    let endpoint = server.create(wired).await;
    let events = server.accepted(&endpoint, &["{}", "{}"]).await;
    let failed = &server.ended(&events[0], 1).await[0];
    server.ended(&events[1], 1).await;
    let id = failed["id"].as_str().unwrap();

    let list = server.printed(&["runs", "list"]).await;
    assert!(has_line(&list, &["ID", "STATE", "RUNS", "ATTEMPTS", "EVENT", "LAST ERROR"]), "{list}");
    let row = [id, "failed", "page", "1", &events[0], "there is no Ploybook `page`"];
    assert!(has_line(&list, &row), "{list}");
    assert!(list.lines().count() == 3, "{list}");
    let list = server
        .printed(&["runs", "list", "--event", &events[1], "--state", "failed", "--json"])
        .await;
    assert_eq!(json_of(&list)["data"][0]["event_id"], *events[1]);
    let page = server.shell(&["runs", "list", "--limit", "1"]).await;
    assert!(String::from_utf8(page.stderr).unwrap().starts_with("more with --cursor "));
    let shown = server.printed(&["runs", "show", id]).await;
    assert!(has_line(&shown, &["attempt 1", "failed at"]), "{shown}");
    assert!(has_line(&shown, &["error: there is no Ploybook `page`"]), "{shown}");
    assert_eq!(json_of(&server.printed(&["runs", "show", id, "--json"]).await), *failed);

    server.done(Method::POST, "/ploybooks", Some(engine.ploybook("slow"))).await;
    let slow = json!({"trigger": {"ploybook": "slow"}});
    server.done(Method::PATCH, &format!("/endpoints/{}", endpoint.id), Some(slow)).await;
    server.accepted(&endpoint, &["{}"]).await;
    let asked = engine.asked().await;
    let slow = asked.body["data"]["run_id"].as_str().unwrap();
    let cancelled = server.printed(&["runs", "cancel", slow]).await;
    assert!(has_line(&cancelled, &["state", "cancelled"]), "{cancelled}");
    assert!(has_line(&cancelled, &["attempt 1", "ended without a word"]), "{cancelled}");

    server.done(Method::POST, "/ploybooks", Some(ploybook_at(&url, "page"))).await;
    let retried = server.printed(&["runs", "retry", id]).await;
    assert!(has_line(&retried, &["run", id]), "{retried}");
    for (args, code, said) in [
        (&["runs", "cancel", slow][..], 1, "409"),
        (&["runs", "show", "run_00000000000000000000000000"], 1, "404"),
        (&["runs", "list", "--state", "done"], 1, "`state`"),
        (&["runs", "list", "--limit", "many"], 2, "--limit"),
        (&["runs", "retry"], 2, "Usage"),
    ] {
        let output = server.shell(args).await;
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{args:?}");
        assert!(message.contains(said), "{args:?}: {message}");
    }
}

#[tokio::test]
async fn what_runs_say_does_not_steer_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::in_memory_with(&[("PLOY_ALLOW_COMMANDS", "true")]).await;
    // An escape that clears the screen, a carriage return, and an override of the direction.
    let hostile = r"printf '\033[2J\033]0;x\007one\rtwo\nthree\342\200\256gpj.exe\n'";
    let script =
        format!("case \"$PLOY_EVENT_TYPE\" in bad) {hostile} >&2; exit 65;; *) {hostile};; esac");
    server.done(Method::POST, "/ploybooks", Some(ploybook_by(&script, folder.path(), "say"))).await;
    let endpoint = server
        .create(json!({
            "description": "", "trigger": {"ploybook": "say"}, "event_type": {"pointer": "/t"},
        }))
        .await;
    let payloads = ["{\"t\":\"good\",\"s\":\"\u{202e}\u{9b}\"}", r#"{"t":"bad"}"#];
    let events = server.accepted(&endpoint, &payloads).await;
    for (event, state) in events.iter().zip(["succeeded", "failed"]) {
        let run = &server.ended(event, 1).await[0];
        assert_eq!(run["state"], state, "{run}");
        let id = run["id"].as_str().unwrap();
        for args in [&["runs", "show", id][..], &["events", "show", event]] {
            let shown = server.printed(args).await;
            assert!(shown.contains("\nthree\\u{202e}gpj.exe"), "{shown}");
            assert!(shown.contains(r"\u{1b}[2J\u{1b}]0;x\u{7}one\rtwo"), "{shown}");
            assert_harmless(&shown);
        }
    }
    let list = server.printed(&["runs", "list"]).await;
    assert!(list.contains(r"\u{1b}[2J"), "{list}");
    assert_eq!(list.lines().count(), 3, "one line a run: {list}");
    assert_harmless(&list);

    let name = "\u{202e}gpj.\u{2066}exe";
    server.done(Method::POST, "/ploybooks", Some(ploybook_at("https://x.io", name))).await;
    for args in [&["ploybooks", "list"][..], &["ploybooks", "show", name]] {
        let shown = server.printed(args).await;
        assert!(shown.contains(r"\u{202e}gpj.\u{2066}exe"), "{shown}");
        assert_harmless(&shown);
    }
}

#[tokio::test]
async fn an_event_is_shown_with_its_runs_and_their_attempts() {
    let server = Server::in_memory().await;
    let url = Engine::that_names_ploybooks().await;
    server.done(Method::POST, "/ploybooks", Some(ploybook_at(&url, "page"))).await;
    let group = json!({"ploybook": "page", "group": "leads", "condition": "payload.a > 1"});
    server.done(Method::POST, "/subscriptions", Some(group)).await;
    let nowhere = json!({"description": "", "trigger": {"ploybook": "nowhere"}});
    let endpoint = server.create(nowhere).await;
    let event = &server.accepted(&endpoint, &[r#"{"a":2}"#]).await[0];
    server.ended(event, 3).await;
    let shown = server.printed(&["events", "show", event]).await;
    assert!(shown.contains("\n{\"a\":2}\n"), "{shown}");
    for cells in [
        ["runs", "(first of leads)"],
        ["is followed:", "`page`"],
        ["output:", "did page"],
        ["error:", "there is no Ploybook `nowhere`"],
        ["attempt 1", "succeeded at"],
    ] {
        assert!(has_line(&shown, &cells), "{cells:?}: {shown}");
    }
}
