//! Every example runs, and takes the event that its own `curl` sends.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Starts the example, reads the command that it prints, and sends what that would send.
async fn takes_what_it_prints(example: &str) {
    let (_process, line) = start(example).await;
    let mut words = line.split_whitespace();
    let url = words.find(|word| word.starts_with("http://")).expect("a URL");
    let key = words.find(|word| word.starts_with("pwk_")).expect("a key").trim_end_matches('\'');
    let answer = post(url, &format!("Authorization: Bearer {key}"), r#"{"hello":"test"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
}

/// Starts the example, and reads the line that it prints.
async fn start(example: &str) -> (Child, String) {
    let mut process = program(example)
        .stdout(Stdio::piped())
        // No test asks an agent that somebody pays for.
        .env_remove("OPENAI_BASE_URL")
        .kill_on_drop(true)
        .spawn()
        .expect("`cargo test` builds examples");
    let stdout = process.stdout.take().expect("it is piped");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).await.expect("it prints a line");
    (process, line)
}

/// What is answered to an event with that header.
async fn post(url: &str, proof: &str, body: &str) -> String {
    let (address, path) =
        url.strip_prefix("http://").and_then(|url| url.split_once('/')).expect("a path");
    let request = format!(
        "POST /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         {proof}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len(),
    );
    let mut connection = TcpStream::connect(address).await.expect("it listens");
    connection.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.expect("it answers");
    answer
}

/// Where an example is: they are built beside the tests, in target/<profile>/examples.
fn program(example: &str) -> Command {
    let test = std::env::current_exe().expect("the test knows its path");
    let profile = test.ancestors().nth(2).expect("target/<profile>/deps/<test>");
    Command::new(profile.join("examples").join(example))
}

#[tokio::test]
async fn clay_to_page() {
    let folder = tempfile::tempdir().expect("a folder is made");
    let ended = program("clay-to-page").arg(folder.path()).kill_on_drop(true).output().await;
    let ended = ended.expect("`cargo test` builds examples");
    let printed = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{printed} {}", String::from_utf8_lossy(&ended.stderr));
    assert!(printed.contains("Acme Inc.: https://pages.example.com/for/acme-inc"), "{printed}");
    let runs_that = |state| printed.lines().filter(|line| line.ends_with(state)).count();
    assert_eq!((runs_that(" succeeded"), runs_that(" failed")), (3, 1), "{printed}");

    let page = |slug: &str| {
        let path = folder.path().join("for").join(slug).join("index.html");
        std::fs::read_to_string(path).expect("the page is there")
    };
    assert!(page("acme-inc").contains("Hello Alex, this page is for Acme Inc."));
    assert!(page("m-ller-s-hne").contains("&lt;b&gt;10 new trucks"), "cells are escaped");
    assert!(page("etc").contains("your industry") && !page("etc").contains("<script>"));
}

#[tokio::test]
async fn agent() {
    takes_what_it_prints("agent").await;
}

#[tokio::test]
async fn axum() {
    takes_what_it_prints("axum").await;
}

#[tokio::test]
async fn deliver() {
    let ended = program("deliver").kill_on_drop(true).output().await;
    let ended = ended.expect("`cargo test` builds examples");
    let printed = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{printed} {}", String::from_utf8_lossy(&ended.stderr));
    let expected = r#"received, signed: true: {"text":"Acme \"Inc.\" has paid 129.5"}"#;
    assert_eq!(printed.lines().last(), Some(expected), "{printed}");
}

#[tokio::test]
async fn hyper() {
    takes_what_it_prints("hyper").await;
}

#[tokio::test]
async fn manage() {
    let mut process = program("manage").stdout(Stdio::piped()).kill_on_drop(true).spawn();
    let process = process.as_mut().expect("`cargo test` builds examples");
    let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
    let mut words = Vec::new();
    for _ in 0..2 {
        let line = lines.next_line().await.expect("it prints").expect("it prints two lines");
        words.extend(line.split_whitespace().map(|word| word.trim_matches('\'').to_owned()));
    }
    let mut urls = words.iter().filter(|word| word.starts_with("http://"));
    let (ingest, events) = (urls.next().expect("a URL"), urls.next().expect("another"));
    let secret = |prefix| words.iter().find(|word| word.starts_with(prefix)).expect("a secret");
    let proof = format!("Authorization: Bearer {}", secret("pwk_"));
    let answer = post(ingest, &proof, r#"{"hello":"test"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");

    let http = reqwest::Client::builder().no_proxy().build().expect("a client is made");
    let get = async |url: &str| {
        let answer = http.get(url).bearer_auth(secret("pwt_")).send().await.expect("it answers");
        let body = answer.bytes().await.expect("it is whole");
        serde_json::from_slice::<serde_json::Value>(&body).expect("it is JSON")
    };
    let listed = get(events).await;
    assert_eq!(listed["data"][0]["size"], 16, "{listed}");
    let base = events.strip_suffix("/api/v1/events").expect("the path of the API");
    let described = get(&format!("{base}/api/v1/openapi.json")).await;
    assert_eq!(described["servers"][0]["url"], base);
    assert_eq!(get(&format!("{base}/api/v1/nothing")).await["code"], "not_found");
}

#[tokio::test]
async fn signed() {
    let (_process, line) = start("signed").await;
    let quoted: Vec<_> = line.trim().split('\'').collect();
    let [curl, _, _, body, _, signature, _] = quoted[..] else { panic!("{line}") };
    let url = curl.split(' ').find(|word| word.starts_with("http://")).expect("a URL");
    let answer = post(url, signature, body).await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    let answer = post(url, signature, &body.replace("paid", "voided")).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[tokio::test]
async fn own_store() {
    takes_what_it_prints("own-store").await;
}
