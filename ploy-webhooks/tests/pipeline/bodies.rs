//! Bodies: how large, how slow, how many at once.

use std::time::Duration;

use http::{Request, Version};
use ploy_webhooks::ingest::Settings;
use ploy_webhooks::{EndpointConfig, Limits};
use tokio::time::Instant;

use super::intake::{Intake, full};
use super::pieces::{Pieces, Then};

const MEBIBYTE: usize = 1 << 20;

/// An object of exactly that size.
fn object(size: usize) -> Vec<u8> {
    let mut object = vec![b' '; size];
    object[0] = b'{';
    object[size - 1] = b'}';
    object
}

#[tokio::test]
async fn a_mebibyte_passes_and_a_byte_more_does_not() {
    let intake = Intake::open(EndpointConfig::default()).await;
    let request = intake.request().body(full(object(MEBIBYTE))).expect("a request");
    let answer = intake.send(request).await;
    assert_eq!(intake.event(&answer).await.payload, object(MEBIBYTE));

    let request = intake.request().body(full(object(MEBIBYTE + 1))).expect("a request");
    intake.send(request).await.assert_is(413, "payload_too_large");
    for declared in ["1048577", "18446744073709551615"] {
        let request = intake.request().header("content-length", declared);
        let request = request.body(Pieces::new([], Then::Stall)).expect("a request");
        intake.send(request).await.assert_is(413, "payload_too_large");
    }
}

#[tokio::test]
async fn a_body_of_unknown_length_is_cut_off_at_the_limit() {
    let intake = Intake::open(EndpointConfig::default()).await;
    // It would go on for ever: the answer must not wait for its end.
    let body = Pieces::of_size(MEBIBYTE + 1, Then::Stall);
    let answer = intake.send(intake.request().body(body).expect("a request")).await;
    answer.assert_is(413, "payload_too_large");
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(intake.count().await, 0);

    let body = Pieces::new([b"{\"a\"", b"", b":", b"1", b"}"], Then::End);
    let answer = intake.send(intake.request().body(body).expect("a request")).await;
    assert_eq!(intake.event(&answer).await.payload, "{\"a\":1}");
}

#[tokio::test]
async fn an_endpoint_has_a_limit_of_its_own_below_that_of_the_process() {
    let mut settings = Settings::default();
    settings.body_bytes_max = 100;
    let limits = |body_bytes| EndpointConfig {
        limits: Limits { rate: None, body_bytes, ..Limits::default() },
        ..EndpointConfig::default()
    };
    for (own, limit) in [(None, 100), (Some(10), 10), (Some(1_000), 100)] {
        let intake = Intake::with(limits(own), settings.clone()).await;
        for then in [Then::End, Then::Stall] {
            let body = Pieces::of_size(limit + 1, then);
            let answer = intake.send(intake.request().body(body).expect("a request")).await;
            answer.assert_is(413, "payload_too_large");
        }
        let request = intake.request().body(full(object(limit + 1))).expect("a request");
        intake.send(request).await.assert_is(413, "payload_too_large");
        let request = intake.request().body(full(object(limit))).expect("a request");
        assert_eq!(intake.send(request).await.status, 202);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_end_is_not_waited_for() {
    let intake = Intake::open(EndpointConfig::default()).await;
    let often = Duration::from_millis(700);
    for then in [Then::Stall, Then::Trickle(often)] {
        let begin = Instant::now();
        let body = Pieces::new([b"{\"a\":"], then);
        let answer = intake.send(intake.request().body(body).expect("a request")).await;
        answer.assert_is(408, "request_timeout");
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(begin.elapsed(), Duration::from_secs(10), "{then:?}");
    }
    assert_eq!(intake.count().await, 0);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_stored() {
    let intake = Intake::open(EndpointConfig::default()).await;
    // What came is a whole object, and still the sender did not say that it was done.
    let body = Pieces::new([b"{}"], Then::Break);
    let answer = intake.send(intake.request().body(body).expect("a request")).await;
    answer.assert_is(400, "invalid_json");
    assert_eq!(intake.count().await, 0);
}

#[tokio::test(start_paused = true)]
async fn over_http_2_no_connection_is_closed() {
    let intake = Intake::open(EndpointConfig::default()).await;
    for body in [Pieces::of_size(MEBIBYTE + 1, Then::Stall), Pieces::new([], Then::Stall)] {
        let request = intake.request().version(Version::HTTP_2).body(body);
        let answer = intake.send(request.expect("a request")).await;
        assert!([413, 408].contains(&answer.status.as_u16()), "{answer:?}");
        assert_eq!(answer.header("connection"), None, "{answer:?}");
    }
}

#[tokio::test]
async fn bodies_in_flight_are_bounded() {
    let mut settings = Settings::default();
    settings.body_bytes_max = 96 << 10;
    settings.in_flight_bytes_max = 128 << 10;
    let intake = Intake::with(EndpointConfig::default(), settings).await;
    let large = || -> Request<Pieces> {
        let body = Pieces::of_size(90 << 10, Then::Stall);
        intake.request().body(body).expect("a request")
    };
    let mut held = Box::pin(intake.send(large()));
    assert!(poll_once(held.as_mut()).await.is_none(), "it is still being read");

    intake.send(large()).await.assert_is(503, "unavailable");
    assert_eq!(intake.post("{}").await.status, 202, "the last quarter is for small ones");

    drop(held);
    let mut next = Box::pin(intake.send(large()));
    assert!(poll_once(next.as_mut()).await.is_none(), "what was held was given back");
}

async fn poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}
