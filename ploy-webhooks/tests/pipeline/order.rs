//! The first line of the table that is broken is the answer.

use std::sync::atomic::Ordering;

use http::{Method, Request};
use ploy_webhooks::ingest::SourceAddress;
use ploy_webhooks::store::StoreErrorKind;
use ploy_webhooks::{AllowList, DedupBy, DedupRule, EndpointConfig, Limits, Rate, Status};

use super::intake::{Intake, Mood, URL, full};
use super::pieces::{Pieces, Then};

/// Everything is wrong with the request, the endpoint and the store; one thing after the other
/// is put right, and the answer is always the first that is still wrong.
#[tokio::test]
async fn the_first_fault_wins() {
    let one = std::num::NonZeroU32::MIN;
    let mut rule = DedupRule::new(DedupBy::Header("idempotency-key".parse().expect("a name")));
    rule.required = true;
    let intake = Intake::open(EndpointConfig {
        status: Status::Paused,
        allow: Some(AllowList::new(vec!["203.0.113.0/24".parse().expect("a range")])),
        limits: Limits {
            rate: Some(Rate { per_second: one, burst: None }),
            body_bytes: Some(10),
            ..Limits::default()
        },
        dedup: Some(rule),
        ..EndpointConfig::default()
    })
    .await;
    intake.gate.is_closed.store(true, Ordering::Relaxed);

    let mut request = Request::get("/api/v1/webhook/nowhere")
        .header("content-type", "text/plain")
        .header("content-encoding", "gzip")
        .header("content-length", "9999999")
        .body(())
        .expect("a request");
    let mut body: &[u8] = b"far from any JSON";
    let send = async |request: &Request<()>, body: &'static [u8]| {
        let pieces = Pieces::new([body], Then::End);
        intake.send(request.clone().map(|()| pieces)).await
    };

    let answer = send(&request, body).await;
    answer.assert_is(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), Some("POST"));

    *request.method_mut() = Method::POST;
    send(&request, body).await.assert_is(415, "unsupported_media_type");

    let headers = request.headers_mut();
    headers.insert("content-type", "application/json".parse().expect("a value"));
    let answer = send(&request, body).await;
    answer.assert_is(415, "unsupported_media_type");
    assert_eq!(answer.header("accept-encoding"), Some("identity"));

    request.headers_mut().remove("content-encoding");
    send(&request, body).await.assert_is(413, "payload_too_large");

    request.headers_mut().remove("content-length");
    send(&request, body).await.assert_is(404, "endpoint_not_found");

    *request.uri_mut() = URL.parse().expect("a path");
    send(&request, body).await.assert_is(403, "address_not_allowed");

    request.extensions_mut().insert(SourceAddress([203, 0, 113, 9].into()));
    send(&request, body).await.assert_is(401, "unauthorized");

    let bearer = format!("Bearer {}", intake.key.expose());
    let headers = request.headers_mut();
    headers.insert("authorization", bearer.parse().expect("a value"));
    send(&request, body).await.assert_is(403, "endpoint_paused");
    assert_eq!(intake.gate.asked.load(Ordering::Relaxed), 0, "a refused sender spends the rate");

    intake.configure(|config| config.status = Status::Active).await;
    let answer = send(&request, body).await;
    answer.assert_is(429, "rate_limited");
    assert_eq!(answer.header("retry-after"), Some("3"), "2.001 s, rounded up");

    intake.gate.is_closed.store(false, Ordering::Relaxed);
    send(&request, body).await.assert_is(413, "payload_too_large");

    body = b"no JSON";
    send(&request, body).await.assert_is(400, "invalid_json");

    body = b"[]";
    send(&request, body).await.assert_is(400, "not_an_object");

    body = b"{}";
    send(&request, body).await.assert_is(400, "deduplication_key_missing");

    intake.watched.be(Mood::Fails(StoreErrorKind::Unavailable));
    request.headers_mut().insert("idempotency-key", "1".parse().expect("a value"));
    send(&request, body).await.assert_is(503, "unavailable");
    assert_eq!(intake.count().await, 0, "a request that was not accepted is stored");

    intake.watched.be(Mood::Well);
    assert_eq!(send(&request, body).await.status, 202);
    assert_eq!(intake.count().await, 1);
}

/// A body that must not be looked at.
struct Untouchable;

impl http_body::Body for Untouchable {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        panic!("the body is read before the sender has proved who it is")
    }
}

#[tokio::test]
async fn no_body_is_read_before_its_sender_is_known() {
    let intake = Intake::open(EndpointConfig::default()).await;
    let anybody = Request::post(URL).header("content-type", "application/json");
    let answer = intake.send(anybody.body(Untouchable).expect("a request")).await;
    answer.assert_is(401, "unauthorized");

    let intake =
        Intake::open(EndpointConfig { status: Status::Paused, ..EndpointConfig::default() }).await;
    let answer = intake.send(intake.request().body(Untouchable).expect("a request")).await;
    answer.assert_is(403, "endpoint_paused");
}

#[tokio::test]
async fn every_method_but_post_is_refused() {
    let intake = Intake::open(EndpointConfig::default()).await;
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "post"] {
        let request = intake.request().method(method).body(full("{}")).expect("a request");
        let answer = intake.send(request).await;
        answer.assert_is(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some("POST"), "{method}");
    }
}

#[tokio::test]
async fn a_slug_has_one_spelling() {
    let intake = Intake::open(EndpointConfig::default()).await;
    for path in [
        "/api/v1/webhook/Clay",
        "/api/v1/webhook/cl%61y",
        "/api/v1/webhook/clay/",
        "/api/v1/webhook/",
        "/api/v1/webhook/cla",
        "/api/v1/webhook/clay%00",
        "/api/v1/webhook/clay%2F",
        "/",
    ] {
        let request = intake.request().uri(path).body(full("{}")).expect("a request");
        intake.send(request).await.assert_is(404, "endpoint_not_found");
    }
    for path in ["/clay", "/anywhere/clay?trace=1", URL] {
        let request = intake.request().uri(path).body(full("{}")).expect("a request");
        assert_eq!(intake.send(request).await.status, 202, "{path}");
    }
}

#[tokio::test]
async fn an_allow_list_lets_in_who_is_on_it() {
    let ranges = ["203.0.113.0/24", "2001:db8::/32"];
    let intake = Intake::open(EndpointConfig {
        allow: Some(AllowList::new(ranges.map(|range| range.parse().expect("a range")).into())),
        ..EndpointConfig::default()
    })
    .await;
    for (address, status) in [
        (Some("203.0.113.0"), 202),
        (Some("203.0.113.255"), 202),
        (Some("::ffff:203.0.113.7"), 202),
        (Some("2001:db8:ffff::1"), 202),
        (Some("203.0.114.0"), 403),
        (Some("2001:db9::1"), 403),
        (Some("::ffff:203.0.114.7"), 403),
        (None, 403),
    ] {
        let mut request = intake.request().body(full("{}")).expect("a request");
        if let Some(address) = address {
            let address = SourceAddress(address.parse().expect("an address"));
            request.extensions_mut().insert(address);
        }
        assert_eq!(intake.send(request).await.status, status, "{address:?}");
    }
    intake.configure(|config| config.allow = Some(AllowList::new(Vec::new()))).await;
    let mut request = intake.request().body(full("{}")).expect("a request");
    request.extensions_mut().insert(SourceAddress([203, 0, 113, 0].into()));
    intake.send(request).await.assert_is(403, "address_not_allowed");
}
