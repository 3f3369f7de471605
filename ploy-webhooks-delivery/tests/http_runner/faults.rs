//! Engines that do not answer, or not as HTTP has it.

use std::sync::Arc;
use std::time::Duration;

use ploy_webhooks::trigger::{Job, Remedy, TriggerRunner};
use ploy_webhooks_delivery::{HttpRunner, HttpSettings, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::engine::{job, read_request, runner_to, says, socket, soon};

/// What is on record of an attempt that may be tried again.
async fn retried(runner: HttpRunner, job: Job) -> String {
    let error = soon(runner.run(job)).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::Again, "{error}");
    let message = error.into_message();
    assert!(!message.contains("hunter2"), "{message}");
    message
}

fn within(millis: u64) -> Job {
    let mut job = job("{}");
    job.time_limit = Duration::from_millis(millis);
    job
}

#[tokio::test]
async fn nobody_there() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let message = retried(runner_to(&format!("http://{gone}/hunter2?hunter2")), job("{}")).await;
    let beginning = format!("cannot connect to http://{gone}: ");
    assert!(message.starts_with(&beginning) && message.contains("refused"), "{message}");
}

#[tokio::test]
async fn no_such_name() {
    let runner = runner_to("http://engine.invalid/hunter2?hunter2");
    let message = retried(runner, job("{}")).await;
    // Without a name server it may take too long to learn that.
    assert!(message.starts_with("cannot connect to http://engine.invalid"), "{message}");
    assert!(message.contains("dns error") || message.contains("within"), "{message}");
}

#[tokio::test]
async fn garbage() {
    for bytes in ["garbage\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "\0\0\0\0", "HTTP/1.1 200 OK\r\nx"] {
        let message = retried(runner_to(&says(bytes).await), job("{}")).await;
        assert!(message.contains("has not answered to the end"), "{message}");
    }
}

#[tokio::test]
async fn an_early_end() {
    for bytes in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let message = retried(runner_to(&says(bytes).await), job("{}")).await;
        assert!(message.contains("has not answered to the end"), "{message}");
    }
}

#[tokio::test]
async fn a_refusal_without_its_end_is_one_all_the_same() {
    let head =
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 7\r\ncontent-length: 100\r\n\r\nbusy";
    let error = runner_to(&says(head).await).run(job("{}")).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::AgainAfter(Duration::from_secs(7)));
    assert!(error.to_string().ends_with("answered 503 Service Unavailable: busy"), "{error}");

    // Nor is its end waited for.
    let url = socket(move |mut connection| async move {
        read_request(&mut connection).await;
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.read_u8().await.unwrap_err();
    })
    .await;
    let error = soon(runner_to(&url).run(within(300))).await.unwrap_err();
    assert!(error.to_string().ends_with(": busy"), "{error}");
}

#[tokio::test]
async fn an_answer_takes_no_longer_than_the_time_limit() {
    for head in ["", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"] {
        let url = socket(move |mut connection| async move {
            read_request(&mut connection).await;
            connection.write_all(head.as_bytes()).await.unwrap();
            let _ = connection.read_u8().await;
        })
        .await;
        let message = retried(runner_to(&url), within(200)).await;
        assert!(message.ends_with("has not answered within 200ms"), "{message}");
    }
}

#[tokio::test]
async fn a_connection_is_made_in_time_or_not_at_all() {
    // It accepts, and never says a word of TLS.
    let url = socket(|connection| async move {
        sleep(Duration::from_secs(60)).await;
        drop(connection);
    })
    .await;
    let target = Target::at(&url.replace("http:", "https:")).unwrap();
    let mut settings = HttpSettings::default();
    settings.connect_timeout = Duration::from_millis(200);
    let message = retried(HttpRunner::to(target, settings).unwrap(), job("{}")).await;
    assert!(message.starts_with("cannot connect to https://127.0.0.1:"), "{message}");
    assert!(message.ends_with(" within 200ms"), "{message}");
}

#[tokio::test]
async fn an_attempt_that_is_stopped_closes_its_connection() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let url = socket(move |mut connection| {
        let tell = tell.clone();
        async move {
            read_request(&mut connection).await;
            tell.send("asked").unwrap();
            let end = connection.read_u8().await;
            tell.send(if end.is_err() { "closed" } else { "more" }).unwrap();
        }
    })
    .await;
    let attempt = tokio::spawn(async move { runner_to(&url).run(job("{}")).await });
    assert_eq!(soon(told.recv()).await, Some("asked"));
    attempt.abort();
    assert_eq!(soon(told.recv()).await, Some("closed"));
}

#[tokio::test]
async fn an_endless_answer_is_not_read_on() {
    for status in [200, 500] {
        let (tell, mut told) = mpsc::unbounded_channel();
        let url = socket(move |mut connection| {
            let tell = tell.clone();
            async move {
                read_request(&mut connection).await;
                let head = format!("HTTP/1.1 {status} x\r\n\r\n");
                connection.write_all(head.as_bytes()).await.unwrap();
                let mut sent = 0;
                while connection.write_all(&[b'x'; 1 << 16]).await.is_ok() {
                    sent += 1 << 16;
                }
                tell.send(sent).unwrap();
            }
        })
        .await;
        let said = match soon(runner_to(&url).run(job("{}"))).await {
            Ok(output) => output.into_bytes().len(),
            Err(error) => error.into_message().len(),
        };
        assert!(said <= (1 << 20) + 100, "{said}");
        // Beyond what was read there is only what the sockets hold.
        assert!(soon(told.recv()).await.unwrap() < 64 << 20);
    }
}

#[tokio::test]
async fn a_head_without_end_is_not_read_on() {
    let url = socket(|mut connection| async move {
        read_request(&mut connection).await;
        connection.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        while connection.write_all(b"x: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n").await.is_ok() {}
    })
    .await;
    retried(runner_to(&url), job("{}")).await;
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let url = socket(move |connection| {
        let acceptor = acceptor.clone();
        async move { assert!(acceptor.accept(connection).await.is_err(), "it is let in") }
    })
    .await;
    let url = url.replace("http://127.0.0.1", "https://localhost");
    let message = retried(runner_to(&url), job("{}")).await;
    assert!(message.contains("certificate"), "{message}");
}

#[tokio::test]
async fn tls_with_who_speaks_none() {
    let url = socket(|mut connection| async move {
        let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let message = retried(runner_to(&url.replace("http:", "https:")), job("{}")).await;
    assert!(message.starts_with("cannot connect to https://"), "{message}");
}
