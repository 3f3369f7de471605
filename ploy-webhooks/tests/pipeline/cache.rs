//! Endpoints are cached, and nobody can tell but the store, which is asked less.

use std::sync::atomic::Ordering;

use http::Request;
use ploy_webhooks::ingest::Settings;
use ploy_webhooks::store::{EndpointPatch, EndpointStore};
use ploy_webhooks::{Auth, DedupBy, DedupRule, EndpointConfig, Limits, Secret, Status};

use super::intake::{Intake, full};
use super::pieces::{Pieces, Then};

#[tokio::test]
async fn an_endpoint_is_looked_up_once() {
    let intake = Intake::open(EndpointConfig::default()).await;
    for _ in 0..10 {
        assert_eq!(intake.post("{}").await.status, 202);
    }
    assert_eq!(intake.watched.look_ups.load(Ordering::Relaxed), 1);
    intake.ingest.forget(&"clay".parse().expect("a slug"));
    assert_eq!(intake.post("{}").await.status, 202);
    assert_eq!(intake.watched.look_ups.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn without_a_cache_every_request_looks_up() {
    let mut settings = Settings::default();
    settings.cached_endpoints_max = 0;
    let intake = Intake::with(EndpointConfig::default(), settings).await;
    for _ in 0..3 {
        assert_eq!(intake.post("{}").await.status, 202);
    }
    assert_eq!(intake.watched.look_ups.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_full_cache_still_serves_everybody() {
    let mut settings = Settings::default();
    settings.cached_endpoints_max = 2;
    let intake = Intake::with(EndpointConfig::default(), settings).await;
    for number in 0..5 {
        let slug = format!("clay-{number}");
        intake.create(&slug, intake.key.clone(), EndpointConfig::default()).await;
    }
    for number in (0..5).chain(0..5) {
        let request = intake.request().uri(format!("/clay-{number}"));
        let answer = intake.send(request.body(full("{}")).expect("a request")).await;
        assert_eq!(answer.status, 202);
    }
}

#[tokio::test]
async fn a_change_is_seen_by_the_next_request() {
    let intake = Intake::open(EndpointConfig::default()).await;
    assert_eq!(intake.post("{}").await.status, 202);

    intake.configure(|config| config.status = Status::Paused).await;
    intake.post("{}").await.assert_is(403, "endpoint_paused");
    intake.configure(|config| config.status = Status::Active).await;
    assert_eq!(intake.post("{}").await.status, 202);

    intake
        .configure(|config| {
            config.limits = Limits { rate: None, body_bytes: Some(2), ..Limits::default() }
        })
        .await;
    assert_eq!(intake.post("{}").await.status, 202);
    intake.post("{ }").await.assert_is(413, "payload_too_large");
    intake.configure(|config| config.limits.body_bytes = Some(3)).await;
    assert_eq!(intake.post("{ }").await.status, 202);
}

/// What the cache has may be stricter than the endpoint is by now, and may hide a fault that
/// comes first.
#[tokio::test]
async fn nobody_is_refused_by_an_old_state() {
    let mut rule = DedupRule::new(DedupBy::Header("webhook-id".parse().expect("a name")));
    rule.required = true;
    let strict = EndpointConfig {
        limits: Limits { rate: None, body_bytes: Some(2), ..Limits::default() },
        dedup: Some(rule),
        ..EndpointConfig::default()
    };
    for body in ["{}", "{ }"] {
        let intake = Intake::open(strict.clone()).await;
        let refused = intake.post(body).await;
        assert!([400, 413].contains(&refused.status.as_u16()), "{refused:?}");
        intake.change(EndpointPatch { config: Some(EndpointConfig::default()), auth: None }).await;
        assert_eq!(intake.post(body).await.status, 202, "{body:?} is refused by an old state");
    }
    let intake = Intake::open(EndpointConfig::default()).await;
    intake.post("no JSON").await.assert_is(400, "invalid_json");
    intake.configure(|config| config.status = Status::Paused).await;
    intake.post("no JSON").await.assert_is(403, "endpoint_paused");
}

/// How long it is shows only as it is read, and then it cannot be read again: the first is
/// refused, and the next is not.
#[tokio::test]
async fn a_body_of_unknown_length_is_refused_by_an_old_limit_once() {
    let intake = Intake::open(EndpointConfig::default()).await;
    intake.configure(|config| config.limits.body_bytes = Some(2)).await;
    assert_eq!(intake.post("{}").await.status, 202);
    intake.configure(|config| config.limits.body_bytes = None).await;
    for status in [413, 202] {
        let body = Pieces::new([b"{  }"], Then::End);
        let answer = intake.send(intake.request().body(body).expect("a request")).await;
        assert_eq!(answer.status, status);
    }
}

#[tokio::test]
async fn a_rotated_key_opens_at_once_and_the_old_one_no_more() {
    let mut intake = Intake::open(EndpointConfig::default()).await;
    assert_eq!(intake.post("{}").await.status, 202);
    let new = Secret::mint_api_key();
    let rotate = EndpointPatch { config: None, auth: Some(Auth::api_key(new.digest())) };
    intake.change(rotate).await;
    intake.post("{}").await.assert_is(401, "unauthorized");
    intake.key = new;
    assert_eq!(intake.post("{}").await.status, 202);
}

#[tokio::test]
async fn a_deleted_endpoint_is_gone_and_a_new_one_is_there_at_once() {
    let intake = Intake::open(EndpointConfig::default()).await;
    assert_eq!(intake.post("{}").await.status, 202);
    let endpoint = intake.endpoint().await;
    let store = &intake.watched.store;
    let deleted = store.delete(&endpoint.workspace, &endpoint.id).await;
    assert!(deleted.expect("memory answers"));
    intake.post("{}").await.assert_is(404, "endpoint_not_found");
    assert_eq!(intake.count().await, 0, "an event of a deleted endpoint");

    let heir = Secret::mint_api_key();
    intake.create("clay", heir.clone(), EndpointConfig::default()).await;
    intake.post("{}").await.assert_is(401, "unauthorized");
    let request = Request::post("/clay")
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {}", heir.expose()));
    let answer = intake.send(request.body(full("{}")).expect("a request")).await;
    let event = intake.event(&answer).await;
    assert_ne!(event.endpoint, Some(endpoint.id), "the event is the new endpoint's");
}
