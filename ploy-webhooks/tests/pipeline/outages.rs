//! A store that fails, hangs, or changes under the request.

use std::sync::atomic::Ordering;
use std::time::Duration;

use ploy_webhooks::ingest::{Outage, Refusal};
use ploy_webhooks::store::{EndpointPatch, StoreErrorKind};
use ploy_webhooks::{Auth, EndpointConfig, Limits, Rate, Secret, Status};
use tokio::time::Instant;

use super::intake::{Answer, Intake, Mood};

fn outage(answer: &Answer) -> &Outage {
    answer.assert_is(503, "unavailable");
    assert_eq!(answer.header("retry-after"), Some("1"));
    match &answer.refusal {
        Some(Refusal::Unavailable { outage, .. }) => outage,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_store_that_fails_is_a_503() {
    let intake = Intake::open(EndpointConfig::default()).await;
    for is_cached in [false, true] {
        for kind in [
            StoreErrorKind::Unavailable,
            StoreErrorKind::Indeterminate,
            StoreErrorKind::Refused,
            StoreErrorKind::Corrupt,
            StoreErrorKind::Misuse,
        ] {
            intake.watched.be(Mood::Fails(kind));
            let answer = intake.post("{}").await;
            assert_eq!(
                outage(&answer).is_indeterminate(),
                kind == StoreErrorKind::Indeterminate,
                "{kind:?}, cached: {is_cached}"
            );
            let detail = answer.json["detail"].as_str().expect("a detail");
            assert!(!detail.contains("as it was told"), "the sender reads the operator's error");
        }
        intake.watched.be(Mood::Well);
        assert_eq!(intake.post("{}").await.status, 202);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_a_503() {
    let intake = Intake::open(EndpointConfig::default()).await;
    for _is_cached in [false, true] {
        intake.watched.be(Mood::Hangs);
        let begin = Instant::now();
        let answer = intake.post("{}").await;
        assert!(matches!(outage(&answer), Outage::StoreTooSlow));
        assert_eq!(begin.elapsed(), Duration::from_secs(10));
        intake.watched.be(Mood::Well);
        assert_eq!(intake.post("{}").await.status, 202);
    }
}

#[tokio::test]
async fn a_fenced_event_is_checked_and_appended_again() {
    let intake = Intake::open(EndpointConfig {
        limits: Limits {
            rate: Some(Rate { per_second: std::num::NonZeroU32::MIN, burst: None }),
            ..Limits::default()
        },
        ..EndpointConfig::default()
    })
    .await;
    for times in [1, 2] {
        intake.watched.appends.store(0, Ordering::Relaxed);
        intake.gate.asked.store(0, Ordering::Relaxed);
        intake.watched.be(Mood::Fences(times));
        let answer = intake.post(r#"{"is":"kept"}"#).await;
        assert_eq!(intake.event(&answer).await.payload, r#"{"is":"kept"}"#);
        assert_eq!(intake.watched.appends.load(Ordering::Relaxed), times + 1);
        assert_eq!(intake.gate.asked.load(Ordering::Relaxed), 1, "it is counted once");
    }
    intake.watched.be(Mood::Fences(usize::MAX));
    let answer = intake.post("{}").await;
    assert!(matches!(outage(&answer), Outage::EndpointChanging), "{answer:?}");
    assert!(!outage(&answer).is_indeterminate());
    assert_eq!(intake.count().await, 2);
}

/// The endpoint changes after the request was checked and before its event is stored: the
/// answer is that of the new state.
#[tokio::test]
async fn a_change_under_way_is_answered_by_the_new_state() {
    let config = |change: fn(&mut EndpointConfig)| {
        let mut config = EndpointConfig::default();
        change(&mut config);
        Mood::Changes(Box::new(EndpointPatch { config: Some(config), auth: None }))
    };
    let rotated = Mood::Changes(Box::new(EndpointPatch {
        config: None,
        auth: Some(Auth::api_key(Secret::mint_api_key().digest())),
    }));
    for (mood, status, code) in [
        (config(|config| config.status = Status::Paused), 403, "endpoint_paused"),
        (config(|config| config.limits.body_bytes = Some(1)), 413, "payload_too_large"),
        (rotated, 401, "unauthorized"),
        (Mood::Deletes, 404, "endpoint_not_found"),
    ] {
        for is_cached in [false, true] {
            let intake = Intake::open(EndpointConfig::default()).await;
            if is_cached {
                assert_eq!(intake.post("{}").await.status, 202);
            }
            let before = intake.count().await;
            let deletes = matches!(mood, Mood::Deletes);
            intake.watched.be(mood.clone());
            intake.post("{}").await.assert_is(status, code);
            let left = if deletes { 0 } else { before };
            assert_eq!(intake.count().await, left, "{code}: an event is there");
        }
    }
    let intake = Intake::open(EndpointConfig::default()).await;
    intake.watched.be(config(|config| config.description = "renamed".into()));
    assert_eq!(intake.post("{}").await.status, 202, "a change that lets the sender send");
}
