//! Start and stop.

use std::path::Path;

use reqwest::Method;
use serde_json::json;
use tokio::process::Command;

use crate::harness::{ROOT_TOKEN, Server, program, read_to_end, read_until, write};

/// Variables and their values.
type Environment<'a> = &'a [(&'a str, &'a str)];

fn in_folder(folder: &Path) -> Command {
    let mut command = program(&["serve", "--listen", "127.0.0.1:0"]);
    command.current_dir(folder);
    command
}

/// What stands in the text between these two.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text.split_once(before).expect(before);
    rest.split_once(after).expect(after).0
}

#[tokio::test]
async fn the_first_start_shows_what_is_needed_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(in_folder(folder.path())).await;
    let greeting = server.greeting.clone();
    let command = greeting.lines().find(|line| line.trim_start().starts_with("curl ")).unwrap();
    assert!(command.contains(r#"-d '{"hello":"world"}'"#), "{command}");
    let url = between(command, "curl -X POST '", "'");
    assert!(url.starts_with(&server.url));
    let sent = server
        .http
        .post(url)
        .bearer_auth(between(command, "'Authorization: Bearer ", "'"))
        .header("content-type", "application/json")
        .body(between(command, "-d '", "'").to_owned());
    assert_eq!(sent.send().await.unwrap().status(), 202);

    let token = between(&greeting, "    pwt_", "\n");
    let found = server
        .http
        .get(format!("{}/api/v1/events?contains=hello", server.url))
        .bearer_auth(format!("pwt_{token}"));
    assert_eq!(found.send().await.unwrap().status(), 200);

    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));
    let again = Server::start(in_folder(folder.path())).await;
    assert_eq!(again.greeting, "", "nothing is missing any more");
    assert!(folder.path().join("ploy-data/ploy.db").exists());
}

#[tokio::test]
async fn an_interrupt_stops_as_a_termination_does() {
    let mut server = Server::in_memory().await;
    server.interrupt();
    server.log_line("stopping").await;
    assert_eq!(server.exit_code().await, Some(0));
}

#[tokio::test]
async fn with_a_root_token_of_ones_own_nothing_secret_is_printed() {
    let server = Server::in_memory().await;
    for secret in ["pwk_", "pwt_", ROOT_TOKEN] {
        assert!(!server.greeting.contains(secret), "{}", server.greeting);
    }
    assert!(server.greeting.contains("endpoints create"));
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_flight_and_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(in_folder(folder.path())).await;
    let greeting = server.greeting.clone();
    let slug = between(&greeting, "/api/v1/webhook/", "'");
    let key = between(&greeting, "'Authorization: Bearer ", "'");
    let mut connection = server.connect().await;
    let head = format!(
        "POST /api/v1/webhook/{slug} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {key}\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n"
    );
    write(&mut connection, &head).await;
    read_until(&mut connection, "100 Continue").await;

    server.terminate();
    server.log_line("stopping").await;
    assert!(tokio::net::TcpStream::connect(server.address()).await.is_err());
    write(&mut connection, r#"{"a":1}"#).await;
    let answer = read_to_end(&mut connection).await;
    assert!(answer.contains("HTTP/1.1 202"), "{answer}");
    drop(connection);
    assert_eq!(server.exit_code().await, Some(0));

    let again = Server::start(in_folder(folder.path())).await;
    let token = format!("pwt_{}", between(&greeting, "    pwt_", "\n"));
    let list = again.http.get(format!("{}/api/v1/events", again.url)).bearer_auth(token);
    let (_, list) = crate::harness::answer(list).await;
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_stop_does_not_wait_longer_than_its_grace() {
    let mut server = Server::in_memory_with(&[("PLOY_SHUTDOWN_GRACE_MS", "100")]).await;
    let mut connection = server.connect().await;
    write(&mut connection, "POST /health/live HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        .await;
    read_until(&mut connection, "method_not_allowed").await;
    let endpoint = server.create(json!({"description": ""})).await;
    let mut stalled = server.connect().await;
    let head = format!(
        "POST /api/v1/webhook/{} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {}\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n",
        endpoint.slug, endpoint.key,
    );
    write(&mut stalled, &head).await;
    read_until(&mut stalled, "100 Continue").await;
    server.terminate();
    server.log_line("grace").await;
    assert_eq!(server.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_wrong_call_exits_with_2_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ploy.toml");
    std::fs::write(&file, "body_byte_max = 1\n").unwrap();
    let file = file.to_str().unwrap();
    let weak = [("PLOY_ROOT_TOKEN", "short")];
    let spaced = [("PLOY_ROOT_TOKEN", "a token with spaces is no token at all")];
    let crowded = [("PLOY_IN_FLIGHT_BYTES_MAX", "5")];
    let cases: [(&[&str], Environment<'_>, &str); 15] = [
        (&["serve", "--store", "mysql://u:hunter2@h/d"], &[], "not in this build"),
        (&["serve", "--store", "postgres://u:hunter2@h:x/d"], &[], "malformed"),
        (&["serve", "--store", "postgres://h/d?durability=hunter2"], &[], "durability"),
        (&["serve", "--store", "ploy.db"], &[], "scheme"),
        (&["serve", "--listen", "nonsense"], &[], "`nonsense`"),
        (&["serve", "--listen", "127.0.0.1:80800"], &[], "listen"),
        (&["serve", "--config", file], &[], "body_byte_max"),
        (&["serve", "--config", "nowhere.toml"], &[], "nowhere.toml"),
        (&["serve", "--public-url", "example.com"], &[], "public_url"),
        (&["serve", "--public-url", "https://u:hunter2@x.io"], &[], "password"),
        (&["serve", "--public-url", "https://hunter2@x.io"], &[], "user name"),
        (&["serve", "--public-url", "ftp://u:hunter2@x.io"], &[], "not an http or https URL"),
        (&["serve"], &weak, "PLOY_ROOT_TOKEN"),
        (&["serve"], &spaced, "PLOY_ROOT_TOKEN"),
        (&["serve"], &crowded, "in_flight_bytes_max"),
    ];
    for (args, settings, said) in cases {
        let mut command = program(args);
        command.current_dir(folder.path()).envs(settings.iter().copied());
        let output = command.output().await.unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
        assert!(message.contains(said), "{args:?}: {message}");
        assert!(!message.contains("hunter2") && !message.contains("spaces is"), "{message}");
        assert_eq!(output.stdout, b"");
    }
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 1, "nothing is made beside the config file");
    assert!(!folder.path().join("ploy-data").exists());
}

#[tokio::test]
async fn settings_come_from_the_environment() {
    let server = Server::in_memory_with(&[
        ("PLOY_KEPT_HEADERS", "x-first, x-second"),
        ("PLOY_PUBLIC_URL", "https://hooks.example.com/"),
        ("PLOY_OF_SOMEBODY_ELSE", "is not looked at"),
    ])
    .await;
    let (_, made) = server.call(Method::POST, "/endpoints", Some(json!({"description": ""}))).await;
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    let slug = text("slug");
    assert_eq!(text("url"), format!("https://hooks.example.com/api/v1/webhook/{slug}"));
    let sent = server
        .http
        .post(format!("{}/api/v1/webhook/{slug}", server.url))
        .bearer_auth(text("api_key"))
        .header("content-type", "application/json")
        .header("x-second", "2")
        .header("x-third", "3")
        .body("{}");
    let (_, accepted) = crate::harness::answer(sent).await;
    let (_, event) = server.get(&format!("/events/{}", accepted["id"].as_str().unwrap())).await;
    assert_eq!(event["headers"], json!({"x-second": "2"}));
}

#[tokio::test]
async fn an_address_that_is_taken_is_a_failure_not_a_misuse() {
    let server = Server::in_memory().await;
    let output = program(&["serve", "--store", "memory:", "--listen", server.address()]);
    let output = { output }.output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains(server.address()));
}

#[tokio::test]
async fn a_line_a_request_is_logged_at_debug_without_secrets() {
    let mut server = Server::in_memory_with(&[("PLOY_LOG", "ploy_webhooks_server=debug")]).await;
    let (status, _) = server.get("/events?contains=hunter2").await;
    assert_eq!(status, 200);
    let line = server.log_line("/api/v1/events").await;
    assert!(line.contains("GET") && line.contains("200"), "{line}");
    assert!(!line.contains("hunter2") && !line.contains(ROOT_TOKEN), "{line}");
}

#[tokio::test]
async fn an_event_that_cannot_be_stored_is_logged_with_its_cause() {
    let mut command =
        program(&["serve", "--listen", "127.0.0.1:0", "--store", "memory:?payload_bytes_max=1"]);
    command.env("PLOY_ROOT_TOKEN", ROOT_TOKEN);
    let mut server = Server::start(command).await;
    let endpoint = server.create(json!({"description": ""})).await;
    assert_eq!(server.send(&endpoint, &endpoint.key, "{}").await.0, 503);
    let line = server.log_line("could not be stored").await;
    assert!(line.contains("the memory store is full"), "{line}");
}
