//! The commands that talk to a server.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::harness::{Server, program, read_until, write};

#[tokio::test]
async fn endpoints_are_worked_with_from_the_shell() {
    let server = Server::in_memory().await;
    let made = server.printed(&[
        "endpoints",
        "create",
        "--description",
        "Clay",
        "--rate",
        "5",
        "--allow",
        "127.0.0.0/8",
        "--json",
    ]);
    let made: Value = serde_json::from_str(&made.await).unwrap();
    assert_eq!(made["limits"]["rate"], json!({"per_second": 5, "burst": null}));
    let id = made["id"].as_str().unwrap();

    let list = server.printed(&["endpoints", "list"]).await;
    assert!(list.contains(id) && list.contains("Clay") && !list.contains("pwk_"), "{list}");
    assert!(server.printed(&["endpoints", "pause", id]).await.contains("paused"));
    assert!(server.printed(&["endpoints", "resume", id]).await.contains("active"));
    let rotated = server.printed(&["endpoints", "rotate", id, "--overlap-seconds", "5"]).await;
    assert!(rotated.contains("pwk_"), "{rotated}");
    assert!(!server.printed(&["endpoints", "show", id]).await.contains("pwk_"));
    assert_eq!(server.printed(&["endpoints", "delete", id]).await, "");

    let gone = server.shell(&["endpoints", "show", id]).await;
    assert_eq!((gone.status.code(), gone.stdout.len()), (Some(1), 0));
    assert!(String::from_utf8(gone.stderr).unwrap().contains("404"));
    assert_eq!(server.shell(&["endpoints", "paint", id]).await.status.code(), Some(2));
    let without_token = program(&["endpoints", "list"]).output().await.unwrap();
    assert_eq!(without_token.status.code(), Some(2));
}

#[tokio::test]
async fn a_url_that_is_refused_is_not_repeated() {
    for url in ["ftp://u:hunter2@x.io", "https://u:hunter2@x.io", "http://hunter2@x.io", "hunter2"]
    {
        for mut command in [
            program(&["endpoints", "list", "--token", "t", "--url", url]),
            program(&["send", "--key", "k", "--url", url]),
        ] {
            let output = command.output().await.unwrap();
            let message = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{url}: {message}");
            assert!(message.contains("`--url` cannot be used"), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}

#[tokio::test]
async fn events_are_found_from_the_shell() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": ""})).await;
    let sent = server.accepted(&endpoint, &["{\"a\": \"x\u{9b}2J\"}", r#"{"b":1.0}"#]).await;
    let found = server.printed(&["events", "search", "X\u{9b}"]).await;
    assert!(found.contains(&sent[0]) && !found.contains(&sent[1]), "{found}");
    let list = server.printed(&["events", "list", "--order", "asc", "--json"]).await;
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["data"][0]["id"], sent[0]);
    let shown = server.printed(&["events", "show", &sent[0]]).await;
    assert!(shown.contains(r#"{"a": "x\u{9b}2J"}"#), "{shown}");
    let payload = server.printed(&["events", "show", &sent[1], "--payload"]).await;
    assert_eq!(payload, r#"{"b":1.0}"#);

    // None of these can be held as a tree.
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(120), "]".repeat(120));
    let odd = [r#"{"n":1e400}"#, r#"{"s":"\ud800"}"#, &deep];
    for (id, payload) in server.accepted(&endpoint, &odd).await.iter().zip(odd) {
        let shown = server.printed(&["events", "show", id]).await;
        assert!(shown.ends_with(&format!("\n{payload}\n")), "{shown}");
    }
}

#[tokio::test]
async fn a_list_goes_on_where_the_page_before_ended() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": ""})).await;
    let other = server.create(json!({"description": ""})).await;
    let events = server.accepted(&endpoint, &["{}", "{}"]).await;
    for (list, first, second) in [
        (vec!["endpoints", "list"], &endpoint.id, &other.id),
        (vec!["events", "list"], &events[1], &events[0]),
        (vec!["events", "search", "{"], &events[1], &events[0]),
    ] {
        let page = server.shell(&[&list[..], &["--limit", "1"]].concat()).await;
        let shown = String::from_utf8(page.stdout).unwrap();
        assert!(shown.contains(first) && !shown.contains(second), "{shown}");
        let message = String::from_utf8(page.stderr).unwrap();
        let more = message.trim().strip_prefix("more with --cursor ").unwrap();
        let page = server.shell(&[&list[..], &["--cursor", more]].concat()).await;
        let shown = String::from_utf8(page.stdout).unwrap();
        assert!(!shown.contains(first) && shown.contains(second), "{shown}");
        assert_eq!(page.stderr, b"", "nothing is left");
    }
}

#[tokio::test]
async fn a_file_is_sent_line_by_line_as_it_stands() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": ""})).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "{\"n\":  1.00}\r\n\n[]\n{\"n\":2,\"n\":3}\n{\"n\":4}").unwrap();
    let file = file.path().to_str().unwrap();
    let url = server.ingest_url(&endpoint);
    let args = ["send", "--url", &url, "--key", &endpoint.key, "--concurrency", "1", file];
    let output = program(&args).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1), "one line is no object");
    assert_eq!(output.stdout, b"sent 3, failed 1\n");
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.starts_with("line 3: 400") && message.contains("not an object"), "{message}");
    assert!(!message.contains(&endpoint.key));

    let (_, list) = server.get("/events?order=asc").await;
    for (place, payload) in ["{\"n\":  1.00}", "{\"n\":2,\"n\":3}", "{\"n\":4}"].iter().enumerate()
    {
        let id = list["data"][place]["id"].as_str().unwrap();
        let shown = server.printed(&["events", "show", id, "--payload"]).await;
        assert_eq!(shown, *payload);
    }
}

#[tokio::test]
async fn sending_is_capped_and_reads_standard_input() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": ""})).await;
    let url = server.ingest_url(&endpoint);
    let mut command = program(&["send", "--url", &url, "--max", "3", "--rate", "1000/s"]);
    let mut child = command.env("PLOY_KEY", &endpoint.key).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all("{}\n".repeat(5).as_bytes()).await.unwrap();
    // Standard input stays open: three are sent all the same.
    let output = child.wait_with_output().await.unwrap();
    drop(input);
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(0), &b"sent 3, failed 0\n"[..])
    );
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_does_not_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let answers = [
        "HTTP/1.1 503 x\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        // No answer at all.
        "",
        "HTTP/1.1 429 x\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 202 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 401 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ];
    let server = tokio::spawn(async move {
        for answer in answers {
            let (mut connection, _) = listener.accept().await.unwrap();
            read_until(&mut connection, "}").await;
            write(&mut connection, answer).await;
        }
    });
    for (args, said, code) in [
        (["--retries", "3"], "sent 1, failed 0\n", 0),
        (["--retries", "3"], "sent 0, failed 1\n", 1),
    ] {
        let mut command = program(&["send", "--url", &url, "--key", "k", args[0], args[1]]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"{}\n").await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), said);
        assert_eq!(output.status.code(), Some(code));
    }
    server.await.unwrap();
}

#[tokio::test]
async fn the_health_of_a_server_is_an_exit_code() {
    let server = Server::in_memory().await;
    let ready = program(&["health", "--url", &server.url]).output().await.unwrap();
    assert_eq!((ready.status.code(), ready.stdout.len(), ready.stderr.len()), (Some(0), 0, 0));
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let down = program(&["health", "--url", &url]).output().await.unwrap();
    assert_eq!(down.status.code(), Some(1));
    assert!(!down.stderr.is_empty());
}
