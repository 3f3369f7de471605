//! Connections: both versions of HTTP, and how long a client may take.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};

use crate::harness::{Server, read_to_end, read_until, write};

#[tokio::test]
async fn http2_is_spoken_without_an_upgrade() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": ""})).await;
    let io = TokioIo::new(server.connect().await);
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..2 {
        let request = http::Request::post(server.ingest_url(&endpoint))
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", endpoint.key))
            .body(Full::new(Bytes::from("{}")))
            .unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (202, http::Version::HTTP_2));
    }
    let request =
        http::Request::get(format!("{}/nowhere", server.url)).body(Full::default()).unwrap();
    let response = client.send_request(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let problem: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["code"], "not_found");
}

#[tokio::test]
async fn a_client_that_still_sends_gets_the_whole_early_answer() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": ""})).await;
    for (bytes, key, status, code) in [
        (4 << 20, endpoint.key.as_str(), "413", "payload_too_large"),
        (1 << 20, "wrong", "401", "unauthorized"),
    ] {
        let body = vec![b' '; bytes];
        let mut connection = server.connect().await;
        let head = format!(
            "POST /api/v1/webhook/{} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Authorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n",
            endpoint.slug,
            body.len(),
        );
        write(&mut connection, &head).await;
        tokio::io::AsyncWriteExt::write_all(&mut connection, &body).await.unwrap();
        let answer = read_to_end(&mut connection).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.ends_with(&format!(r#""code":"{code}"}}"#)), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_say_what_it_wants_is_not_waited_for() {
    let server = Server::in_memory_with(&[("PLOY_HEADER_READ_TIMEOUT_MS", "200")]).await;
    for begun in ["", "P", "GET / HTTP/1.1\r\nHost:"] {
        let mut connection = server.connect().await;
        write(&mut connection, begun).await;
        assert_eq!(read_to_end(&mut connection).await, "", "{begun:?}");
    }
    // HTTP/2 greets before it waits for the settings of the client.
    let mut connection = server.connect().await;
    write(&mut connection, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    read_to_end(&mut connection).await;
}

#[tokio::test]
async fn a_connection_that_has_been_answered_is_not_kept_for_ever() {
    // Long enough for a head that is sent at once to arrive on a machine that stalls.
    let server = Server::in_memory_with(&[("PLOY_HEADER_READ_TIMEOUT_MS", "2000")]).await;
    let mut connection = server.connect().await;
    write(&mut connection, "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let answer = read_to_end(&mut connection).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn connections_past_the_bound_wait_for_a_place() {
    let server = Server::in_memory_with(&[("PLOY_CONNECTIONS_MAX", "1")]).await;
    let request = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut first = server.connect().await;
    write(&mut first, request).await;
    read_until(&mut first, "live").await;
    let mut second = server.connect().await;
    write(&mut second, request).await;
    let mut byte = [0];
    assert_eq!(second.try_read(&mut byte).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    write(&mut first, request).await;
    read_until(&mut first, "live").await;
    assert_eq!(
        second.try_read(&mut byte).unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock,
        "the first was served twice, the second not yet"
    );
    drop(first);
    read_until(&mut second, "live").await;
}

#[tokio::test]
async fn only_one_segment_is_a_slug() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": ""})).await;
    let post = async |path: String| {
        let request = server
            .http
            .post(format!("{}/api/v1/webhook{path}", server.url))
            .bearer_auth(&endpoint.key)
            .header("content-type", "application/json")
            .body("{}");
        crate::harness::answer(request).await.0.as_u16()
    };
    let slug = &endpoint.slug;
    assert_eq!(post(format!("/{slug}")).await, 202);
    for path in [String::new(), "/".to_owned(), format!("/{slug}/"), format!("/x/{slug}")] {
        assert_eq!(post(path.clone()).await, 404, "{path}");
    }
}
