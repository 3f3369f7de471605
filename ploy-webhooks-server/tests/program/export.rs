//! `GET /events/export`, and `events export`: all of it, verbatim, once, whatever breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ploy_webhooks::WorkspaceId;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::{Endpoint, ROOT_TOKEN, Server, program};

const COUNT: usize = 450;

async fn exported(server: &Server, query: &str) -> String {
    let path = format!("/events/export{query}");
    let request = server.request(Method::GET, &path, None).bearer_auth(ROOT_TOKEN);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    answer.text().await.unwrap()
}

/// The ids of the events in what was exported, in order.
fn ids(lines: &str) -> Vec<String> {
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter_map(|line| Some(line.get("id")?.as_str().unwrap().to_owned())).collect()
}

/// A server with so many events that they are several pages.
async fn filled() -> (Server, Endpoint, Vec<String>) {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": "Clay"})).await;
    let payloads: Vec<_> =
        (0..COUNT).map(|n| format!(r#"{{"n":{n},"pad":"{}"}}"#, "x".repeat(500))).collect();
    let payloads: Vec<_> = payloads.iter().map(String::as_str).collect();
    let sent = server.accepted(&endpoint, &payloads).await;
    (server, endpoint, sent)
}

#[tokio::test]
async fn a_line_has_the_payload_as_it_was_sent() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": "Clay"})).await;
    let payloads = [r#"{"a":1.0,"a":2e5,"\u00e9": [ ]}"#, "{\n\t\"b\":\r\n 1\n}", r#"{"c":"\n"}"#];
    let sent = server.accepted(&endpoint, &payloads).await;
    let text = exported(&server, "").await;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(ids(&text), sent);
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].contains(payloads[0]), "{text}");
    assert!(lines[1].contains("{ \t\"b\":   1 }"), "{text}");
    assert!(lines[2].contains(payloads[2]), "{text}");
    assert_eq!(lines[3], r#"{"end":true,"events":3}"#);
    let line: Value = serde_json::from_str(lines[0]).unwrap();
    let shown = server.done(Method::GET, &format!("/events/{}", sent[0]), None).await;
    for (name, value) in line.as_object().unwrap() {
        assert_eq!(*value, shown[name], "{name}");
    }

    assert_eq!(ids(&exported(&server, "?order=desc&contains=%22c%22").await), sent[2..]);
    assert_eq!(ids(&exported(&server, &format!("?after={}", sent[0])).await), sent[1..]);
    assert_eq!(exported(&server, "?type=none").await, "\n{\"end\":true,\"events\":0}\n");
}

#[tokio::test]
async fn what_is_cut_goes_on_after_the_last_line() {
    let (server, _, sent) = filled().await;
    let request = server.request(Method::GET, "/events/export", None).bearer_auth(ROOT_TOKEN);
    let mut answer = request.send().await.unwrap();
    let mut text = Vec::new();
    while text.len() < 50_000 {
        text.extend_from_slice(&answer.chunk().await.unwrap().unwrap());
    }
    drop(answer);
    let whole = text.iter().rposition(|byte| *byte == b'\n').unwrap();
    let mut got = ids(std::str::from_utf8(&text[..whole]).unwrap());
    assert!(!got.is_empty() && got.len() < COUNT);
    let rest = exported(&server, &format!("?after={}", got.last().unwrap())).await;
    got.extend(ids(&rest));
    assert_eq!(got, sent);
}

/// Stands before a server, and cuts the first connections off after so many bytes of the answer.
async fn cutting(server: &Server, connections: usize, after: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (target, cut) = (server.address().to_owned(), Arc::new(AtomicUsize::new(0)));
    let counted = cut.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(&target).await.unwrap();
            if counted.load(Ordering::SeqCst) == connections {
                tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
                continue;
            }
            let mut request = [0; 4096];
            let length = client.read(&mut request).await.unwrap();
            server.write_all(&request[..length]).await.unwrap();
            tokio::io::copy(&mut server.take(after as u64), &mut client).await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (url, cut)
}

fn export(url: &str, args: &[&str]) -> Command {
    let mut command = program(&["events", "export"]);
    command.args(args).env("PLOY_URL", url).env("PLOY_TOKEN", ROOT_TOKEN);
    command
}

#[tokio::test]
async fn the_command_goes_on_by_itself_when_a_connection_breaks() {
    let (server, endpoint, sent) = filled().await;
    let (url, cut) = cutting(&server, 3, 70_000).await;
    let output = export(&url, &["--endpoint", &endpoint.id]).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains(&format!("exported {COUNT}")), "{said}");
    assert_eq!(cut.load(Ordering::SeqCst), 3);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(ids(&text), sent);
    assert_eq!(text.lines().count(), COUNT, "events alone");
}

#[tokio::test]
async fn a_file_is_gone_on_with_where_the_command_gave_up() {
    let (server, _, sent) = filled().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let path = path.to_str().unwrap();
    let (first, _) = cutting(&server, 1, 70_000).await;
    let part = export(&first, &["-o", path, "--contains", "pad"]).output().await.unwrap();
    assert!(part.status.success());
    let whole = std::fs::read_to_string(path).unwrap();
    assert_eq!(ids(&whole), sent);

    let again = export(&first, &["-o", path]).output().await.unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("--resume"));
    assert_eq!(std::fs::read_to_string(path).unwrap(), whole, "nothing is written over");

    // As a machine leaves it that stops in the middle of a line.
    std::fs::write(path, &whole[..whole.len() / 2]).unwrap();
    let (never, cut) = cutting(&server, usize::MAX, 0).await;
    let given_up = export(&never, &["-o", path, "--resume"]).output().await.unwrap();
    let said = String::from_utf8_lossy(&given_up.stderr);
    assert_eq!(given_up.status.code(), Some(1), "{said}");
    assert!(said.contains("--resume") && cut.load(Ordering::SeqCst) > 1, "{said}");
    let resumed = export(&server.url, &["-o", path, "--resume"]).output().await.unwrap();
    assert!(resumed.status.success());
    assert_eq!(std::fs::read_to_string(path).unwrap(), whole);
    let nothing = export(&server.url, &["-o", path, "--resume"]).output().await.unwrap();
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("exported 0"));
    assert_eq!(std::fs::read_to_string(path).unwrap(), whole);

    for other in ["something else\n", "something else", "{}\n"] {
        std::fs::write(path, other).unwrap();
        let refused = export(&server.url, &["-o", path, "--resume"]).output().await.unwrap();
        assert_eq!(refused.status.code(), Some(1));
        assert_eq!(std::fs::read_to_string(path).unwrap(), other);
    }
}

#[tokio::test]
async fn what_the_server_refuses_is_not_tried_again() {
    let server = Server::in_memory().await;
    let output = export(&server.url, &["--from", "yesterday"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("`from`"), "{said}");
    let none = export(&server.url, &[]).output().await.unwrap();
    assert!(none.status.success() && none.stdout.is_empty());
}

#[tokio::test]
async fn who_has_read_enough_is_no_failure() {
    let (server, _, _) = filled().await;
    let mut child = export(&server.url, &[]).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*said), (Some(0), ""));
}

/// One workspace does not take all the room, and what is let go is free again.
#[tokio::test]
async fn one_workspace_has_room_for_some_exports() {
    let (server, _) = full_of_much().await;
    let begin = async |workspace: &str| {
        let request = server.request(Method::GET, "/events/export", None).bearer_auth(ROOT_TOKEN);
        request.header("ploy-workspace", workspace).send().await.unwrap()
    };
    let ours = WorkspaceId::DEFAULT.to_string();
    let under_way = [begin(&ours).await, begin(&ours).await];
    assert_eq!(under_way.each_ref().map(|answer| answer.status().as_u16()), [200, 200]);
    assert_eq!(begin(&ours).await.status(), 503);
    let theirs = server.done(Method::POST, "/workspaces", Some(json!({"name": "Theirs"}))).await;
    assert_eq!(begin(theirs["id"].as_str().unwrap()).await.status(), 200);
    drop(under_way);
    let free = async { while begin(&ours).await.status() != 200 {} };
    timeout(Duration::from_secs(60), free).await.expect("the server hears that they have gone");
}

#[tokio::test]
async fn the_export_of_a_revoked_token_breaks_off() {
    let (server, count) = full_of_much().await;
    let made = server.done(Method::POST, "/tokens", Some(json!({"scope": "read"}))).await;
    let request = server.request(Method::GET, "/events/export", None);
    let request = request.bearer_auth(made["token"].as_str().unwrap());
    let mut answer = request.send().await.unwrap();
    answer.chunk().await.unwrap().unwrap();
    let id = made["id"].as_str().unwrap();
    server.done(Method::DELETE, &format!("/tokens/{id}"), None).await;
    // So long the token is not asked for again.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut bytes = 0;
    let broken = loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => bytes += chunk.len(),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(broken && bytes < count * PAYLOAD, "{bytes} bytes came");
}

/// The bytes of a payload, of which there are more than sockets hold.
const PAYLOAD: usize = 500_000;

async fn full_of_much() -> (Server, usize) {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": "Clay"})).await;
    let payload = format!(r#"{{"pad":"{}"}}"#, "x".repeat(PAYLOAD));
    server.accepted(&endpoint, &[&*payload; 60]).await;
    (server, 60)
}
