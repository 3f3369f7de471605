//! The commands that follow what happens: `events tail` and `listen`.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio::time::timeout;

use crate::harness::{ROOT_TOKEN, Server, program};
use crate::receiver::Receiver;

/// How long it is waited for what ought to happen before a test says that it does not.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command that goes on until the test ends.
struct Following {
    _child: Child,
    printed: Lines<BufReader<ChildStdout>>,
    _said: Lines<BufReader<ChildStderr>>,
}

impl Following {
    /// Starts it, and waits until it follows.
    async fn start(server: &Server, args: &[&str]) -> Self {
        let mut command = program(args);
        command.env("PLOY_URL", &server.url).env("PLOY_TOKEN", ROOT_TOKEN);
        let mut child = command.spawn().unwrap();
        let printed = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = timeout(PATIENCE, said.next_line()).await.expect("it says that it follows");
        let first = first.unwrap().expect("it goes on");
        assert!(first.contains("waiting"), "{first}");
        Self { _child: child, printed, _said: said }
    }

    async fn line(&mut self) -> String {
        let line = timeout(PATIENCE, self.printed.next_line()).await.expect("it prints a line");
        line.unwrap().expect("it goes on")
    }
}

#[tokio::test]
async fn events_are_printed_as_they_come() {
    let server = Server::in_memory().await;
    let [one, other] = [
        server.create(json!({"description": ""})).await,
        server.create(json!({"description": ""})).await,
    ];
    let mut all = Following::start(&server, &["events", "tail"]).await;
    let mut of_one = Following::start(&server, &["events", "tail", "--endpoint", &one.id]).await;
    let mut json = Following::start(&server, &["events", "tail", "--json", "--runs"]).await;
    let ids = [
        server.accepted(&other, &["{}"]).await.remove(0),
        server.accepted(&one, &["{}"]).await.remove(0),
    ];
    for id in &ids {
        let line = all.line().await;
        assert!(line.contains(id) && line.contains("2 bytes"), "{line}");
        let told: Value = serde_json::from_str(&json.line().await).unwrap();
        assert_eq!((&told["event"], &told["data"]["id"]), (&json!("accepted"), &json!(id)));
    }
    let line = of_one.line().await;
    assert!(line.contains(&ids[1]) && line.contains(&one.id), "{line}");
}

/// What a sender writes cannot steer the terminal, nor turn what stands on it.
#[tokio::test]
async fn hostile_types_are_shown_harmlessly() {
    let server = Server::in_memory().await;
    let mut tail = Following::start(&server, &["events", "tail"]).await;
    let form = json!({"type": "a\u{202e}b\u{2066}c", "payload": {}});
    server.done(Method::POST, "/events", Some(form)).await;
    let line = tail.line().await;
    assert!(line.contains(r"a\u{202e}b\u{2066}c"), "{line}");
    assert!(line.chars().all(|char| !char.is_control()), "{line:?}");
}

#[tokio::test]
async fn nothing_is_missed_and_nothing_printed_twice_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::in_folder(folder.path(), &[]).await;
    let (url, address) = (server.url.clone(), server.address().to_owned());
    let endpoint = server.create(json!({"description": ""})).await;
    let mut tail = Following::start(&server, &["events", "tail"]).await;
    let before = server.accepted(&endpoint, &["{}", "{}"]).await;
    for id in &before {
        let line = tail.line().await;
        assert!(line.contains(id), "{line}");
    }
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));

    // Where the command does not look for it: what comes now, it can only be told later.
    let elsewhere = Server::in_folder(folder.path(), &[]).await;
    let mut missed = elsewhere.accepted(&endpoint, &["{}", "{}"]).await;
    elsewhere.terminate();
    assert_eq!(elsewhere.exit_code().await, Some(0));

    let mut command = program(&["serve", "--listen", &address]);
    command.current_dir(folder.path()).env("PLOY_ROOT_TOKEN", ROOT_TOKEN);
    let again = Server::start(command).await;
    assert_eq!(again.url, url);
    missed.extend(again.accepted(&endpoint, &["{}"]).await);
    for id in missed {
        let line = tail.line().await;
        assert!(line.contains(&id), "{line}");
    }
}

#[tokio::test]
async fn what_is_refused_for_good_ends_the_command() {
    let server = Server::in_memory().await;
    let mut command = program(&["events", "tail"]);
    command.env("PLOY_URL", &server.url).env("PLOY_TOKEN", "wrong");
    let output = timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("401"));
    for args in [
        &["listen", "--forward", "ftp://u:hunter2@x.io"][..],
        &["listen"],
        &["events", "tail", "--type", "a", "--runs"],
    ] {
        let output = server.shell(args).await;
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!String::from_utf8(output.stderr).unwrap().contains("hunter2"), "{args:?}");
    }
}

#[tokio::test]
async fn a_server_that_was_never_reached_is_given_up() {
    for args in [&["events", "tail"][..], &["listen", "--forward", "http://127.0.0.1:9/"]] {
        let mut command = program(args);
        // Nobody listens there.
        command.env("PLOY_URL", "http://127.0.0.1:9").env("PLOY_TOKEN", ROOT_TOKEN);
        let output = timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("error: "), "{args:?}");
    }
}

#[tokio::test]
async fn events_are_delivered_to_a_program_as_they_were_sent() {
    let server = Server::in_memory_with(&[("PLOY_KEPT_HEADERS", "x-shop,ploy-event-id")]).await;
    let endpoint = server.create(json!({"description": ""})).await;
    let receiver = Receiver::start().await;
    let url = format!("{}?token=hunter2", receiver.url);
    let mut listen = Following::start(&server, &["listen", "--forward", &url]).await;
    // Neither in order nor as JSON would be written anew.
    let payload = "{ \"b\":1.50,\"a\" : \"\\u00e9\",\"b\":2 }";
    let sent = server
        .http
        .post(server.ingest_url(&endpoint))
        .bearer_auth(&endpoint.key)
        .header("content-type", "application/json")
        .header("x-shop", "one")
        .header("ploy-event-id", "of the sender")
        .body(payload)
        .send()
        .await
        .unwrap();
    assert_eq!(sent.status(), 202);
    let received = receiver.received().await;
    assert_eq!(received.line(), "POST /in?token=hunter2");
    assert_eq!(received.body, payload.as_bytes());
    assert_eq!(received.header("content-type"), Some("application/json"));
    assert_eq!(received.header("x-shop"), Some("one"));
    assert_eq!(received.header("authorization"), None);
    let id = received.header("ploy-event-id").unwrap().to_owned();
    received.answer("500 Oh No", "").await;
    let line = listen.line().await;
    assert!(id.starts_with("evt_") && line.contains(&id) && line.contains("500"), "{line}");

    // And goes on with the next.
    let next = server.accepted(&endpoint, &["{}"]).await.remove(0);
    let received = receiver.received().await;
    assert_eq!(received.header("ploy-event-id"), Some(next.as_str()));
    received.answer("204 Done", "").await;
    assert!(listen.line().await.contains("204"));

    drop(receiver);
    let last = server.accepted(&endpoint, &["{}"]).await.remove(0);
    let line = listen.line().await;
    assert!(line.contains(&last) && line.contains("failed"), "{line}");
    assert!(!line.contains("hunter2"), "{line}");
}
