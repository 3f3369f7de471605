//! Endpoints whose senders sign: what is checked before what, secrets that come and go, and what
//! a process needs to check any.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request};
use http_body::{Body, Frame};
use ploy_webhooks::ingest::{Outage, Refusal, Settings, SourceAddress};
use ploy_webhooks::store::{EndpointPatch, KeyStore, StoreErrorKind};
use ploy_webhooks::verify::{Preset, SignatureFault};
use ploy_webhooks::{
    AllowList, Auth, Clock, DedupBy, DedupRule, EndpointConfig, Ingest, Keyring, Limits, Rate,
    Secret, SignatureAuth, Status,
};

use super::intake::{Mood, URL, full};
use super::pieces::{Pieces, Then};
use super::signed_intake::{PUBLIC_URL, SetUp, SignedIntake, Told};

/// A body that must not be looked at.
struct Untouchable;

impl Body for Untouchable {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        panic!("the body is read though its headers cannot be right")
    }
}

fn one_a_second() -> Limits {
    let one = std::num::NonZeroU32::MIN;
    Limits {
        rate: Some(Rate { per_second: one, burst: None }),
        body_bytes: Some(17),
        ..Limits::default()
    }
}

/// Everything is wrong; one thing after the other is put right, and the answer is always the first
/// that is still wrong.
#[tokio::test]
async fn the_first_fault_wins_where_senders_sign() {
    let mut rule = DedupRule::new(DedupBy::Header("idempotency-key".parse().expect("a name")));
    rule.required = true;
    let set_up = SetUp::of("stripe").config(EndpointConfig {
        status: Status::Paused,
        allow: Some(AllowList::new(vec!["203.0.113.0/24".parse().expect("a range")])),
        limits: one_a_second(),
        dedup: Some(rule),
        ..EndpointConfig::default()
    });
    let intake = set_up.open().await;
    intake.gate.is_closed.store(true, Ordering::Relaxed);
    let long: &[u8] = b"far from any JSON";
    let longer: &[u8] = b"far from any JSON, and longer than is allowed";

    let mut request = Request::post("/nowhere")
        .header("content-type", "application/json")
        .body(())
        .expect("a request");
    let send = async |request: &Request<()>, body: &'static [u8], then: Then| {
        let pieces = Pieces::new([body], then);
        intake.send(request.clone().map(|()| pieces)).await
    };
    send(&request, longer, Then::End).await.assert_is(404, "endpoint_not_found");

    *request.uri_mut() = URL.parse().expect("a path");
    send(&request, longer, Then::End).await.assert_is(403, "address_not_allowed");

    request.extensions_mut().insert(SourceAddress([203, 0, 113, 9].into()));
    send(&request, longer, Then::End).await.assert_is(401, "invalid_signature");

    let stale = intake.sign(long);
    request.headers_mut().extend(stale);
    intake.clock.0.advance(Duration::from_secs(301));
    send(&request, longer, Then::End).await.assert_is(401, "stale_timestamp");

    // From here on what the headers say can be right, and the signature is of something else.
    let name: HeaderName = "stripe-signature".parse().expect("a name");
    let wrong = intake.sign(b"something else")[&name].clone();
    request.headers_mut().insert(name.clone(), wrong);
    send(&request, longer, Then::End).await.assert_is(413, "payload_too_large");
    send(&request, long, Then::Break).await.assert_is(400, "invalid_json");
    send(&request, long, Then::End).await.assert_is(401, "invalid_signature");
    assert_eq!(intake.gate.asked.load(Ordering::Relaxed), 0, "a refused sender spends the rate");

    let right = intake.sign(long)[&name].clone();
    request.headers_mut().insert(name.clone(), right);
    send(&request, long, Then::End).await.assert_is(403, "endpoint_paused");
    assert_eq!(intake.gate.asked.load(Ordering::Relaxed), 0, "a paused endpoint's rate is spent");

    intake.configure(|config| config.status = Status::Active).await;
    send(&request, long, Then::End).await.assert_is(429, "rate_limited");

    intake.gate.is_closed.store(false, Ordering::Relaxed);
    send(&request, long, Then::End).await.assert_is(400, "invalid_json");

    let mut sign = |body: &[u8]| {
        request.headers_mut().insert(name.clone(), intake.sign(body)[&name].clone());
        request.clone()
    };
    let request = sign(b"[]");
    send(&request, b"[]", Then::End).await.assert_is(400, "not_an_object");
    let mut request = sign(b"{}");
    send(&request, b"{}", Then::End).await.assert_is(400, "deduplication_key_missing");

    request.headers_mut().insert("idempotency-key", "1".parse().expect("a value"));
    intake.watched.be(Mood::Fails(StoreErrorKind::Unavailable));
    send(&request, b"{}", Then::End).await.assert_is(503, "unavailable");
    assert_eq!(intake.count().await, 0, "a request that was not accepted is stored");

    intake.watched.be(Mood::Well);
    assert_eq!(send(&request, b"{}", Then::End).await.status, 202);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_a_408_before_its_signature_is_looked_at() {
    let intake = SetUp::of("clay").open().await;
    let headers = intake.sign(b"{}");
    let request = intake.request(&headers).body(Pieces::new([b"{"], Then::Stall));
    intake.send(request.expect("a request")).await.assert_is(408, "request_timeout");
}

#[tokio::test]
async fn no_body_is_read_where_the_headers_cannot_be_right() {
    for preset in Preset::all() {
        let intake = SetUp::of(preset.name()).open().await;
        let scheme = preset.description();
        let headers = intake.sign(b"{}");
        let send = async |headers: &HeaderMap| {
            let request = intake.request(headers).body(Untouchable).expect("a request");
            intake.send(request).await
        };
        send(&HeaderMap::new()).await.assert_is(401, "invalid_signature");
        let mut twice = headers.clone();
        twice.append(&scheme.header, headers[&scheme.header].clone());
        send(&twice).await.assert_is(401, "invalid_signature");
        let source = scheme.timestamp.as_ref();
        for name in [source.and_then(|source| source.header.as_ref()), scheme.id.as_ref()] {
            let Some(name) = name else { continue };
            let mut without = headers.clone();
            without.remove(name);
            send(&without).await.assert_is(401, "invalid_signature");
        }
        if scheme.timestamp.is_some() {
            intake.clock.0.advance(Duration::from_secs(302));
            let told = send(&headers).await;
            told.assert_is(401, "stale_timestamp");
            let challenge = Some("Signature realm=\"webhook\"");
            assert_eq!(told.header("www-authenticate"), challenge, "{}", preset.name());
        }
        assert_eq!(intake.count().await, 0);
    }
}

#[tokio::test]
async fn a_length_that_is_declared_is_refused_before_anything_of_the_sender() {
    let intake = SetUp::of("stripe").open().await;
    let request = Request::post(URL)
        .header("content-type", "application/json")
        .header("content-length", (1 << 20) + 1);
    let told = intake.send(request.body(Untouchable).expect("a request")).await;
    told.assert_is(413, "payload_too_large");
}

#[tokio::test]
async fn a_key_is_of_no_use_where_senders_sign() {
    let intake = SetUp::of("clay").open().await;
    let request = Request::post(URL)
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {}", intake.secret.expose()));
    let told = intake.send(request.body(full("{}")).expect("a request")).await;
    told.assert_is(401, "invalid_signature");
    let fault = match told.refusal {
        Some(Refusal::InvalidSignature { fault, header }) => {
            assert_eq!(header, "x-clay-signature");
            fault
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(fault, SignatureFault::Missing);
}

#[tokio::test]
async fn a_rotation_leaves_both_secrets_for_the_time_of_the_overlap() {
    for preset in ["clay", "stripe", "standard-webhooks", "gitlab"] {
        let intake = SetUp::of(preset).open().await;
        let (old, new) = (intake.secret.clone(), Secret::mint_signing_secret());
        let send = async |secret: &Secret| {
            let headers = intake.sign_with(secret, "msg_1", &intake.url(), b"{}");
            intake.send_as(&headers, b"{}").await.status
        };
        assert_eq!(send(&old).await, 202);
        let sealed = intake.sealed(&new).await;
        let now = intake.clock.now();
        let rotated = intake.auth().await.rotated(sealed, Duration::from_secs(60), now);
        intake.set_auth(rotated).await;
        for (elapsed, of_old) in [(0, 202), (59_999, 202), (1, 401), (86_400_000, 401)] {
            intake.clock.0.advance(Duration::from_millis(elapsed));
            assert_eq!(send(&old).await, of_old, "{preset}: the old secret");
            assert_eq!(send(&new).await, 202, "{preset}: the new secret");
        }
        assert_eq!(send(&Secret::mint_signing_secret()).await, 401, "{preset}: no secret of it");
    }
}

#[tokio::test]
async fn a_change_of_secret_takes_hold_at_once() {
    let mut intake = SetUp::of("clay").open().await;
    assert_eq!(intake.post("{}").await.status, 202);
    let new = Secret::mint_signing_secret();
    let sealed = intake.sealed(&new).await;
    let auth = SignatureAuth::new(intake.scheme.clone(), sealed);
    intake.set_auth(auth.clone()).await;
    intake.post("{}").await.assert_is(401, "invalid_signature");
    intake.secret = new;
    assert_eq!(intake.post("{}").await.status, 202);

    // While the event is on its way into the store.
    let newest = Secret::mint_signing_secret();
    let sealed = intake.sealed(&newest).await;
    let auth = Auth::Signature(SignatureAuth::new(intake.scheme.clone(), sealed));
    let patch = EndpointPatch { config: None, auth: Some(auth) };
    intake.watched.be(Mood::Changes(Box::new(patch)));
    intake.post("{}").await.assert_is(401, "invalid_signature");
    intake.secret = newest;
    assert_eq!(intake.post("{}").await.status, 202);
    assert_eq!(intake.count().await, 3);
}

#[tokio::test]
async fn senders_may_change_from_signatures_to_keys_and_back_at_once() {
    let intake = SetUp::of("stripe").open().await;
    let signed = intake.auth().await;
    assert_eq!(intake.post("{}").await.status, 202);
    let key = Secret::mint_api_key();
    let auth = Some(Auth::api_key(key.digest()));
    intake.change(EndpointPatch { config: None, auth }).await;
    intake.post("{}").await.assert_is(401, "unauthorized");
    let keyed = || {
        Request::post(URL)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", key.expose()))
            .body(full("{}"))
            .expect("a request")
    };
    assert_eq!(intake.send(keyed()).await.status, 202);
    intake.set_auth(signed).await;
    intake.send(keyed()).await.assert_is(401, "invalid_signature");
    assert_eq!(intake.post("{}").await.status, 202);
}

/// The same endpoint, served with another keyring or none.
fn served_by(intake: SignedIntake, keyring: Option<Keyring>, settings: Settings) -> SignedIntake {
    let (events, keys) = (Arc::clone(&intake.watched), Arc::clone(&intake.watched));
    let builder = Ingest::builder(events, keys).settings(settings).clock(intake.clock.clone());
    let builder = match keyring {
        Some(keyring) => builder.keyring(keyring),
        None => builder,
    };
    let ingest = builder.build().expect("the settings can be kept");
    SignedIntake { ingest, ..intake }
}

fn outage(told: &Told) -> &Outage {
    match &told.refusal {
        Some(Refusal::Unavailable { outage, .. }) => outage,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn without_the_keyring_of_its_secrets_an_endpoint_takes_nothing() {
    for keyring in [None, Some(Keyring::mint())] {
        let intake = SetUp::of("clay").open().await;
        let settings = intake.settings.clone();
        let is_given = keyring.is_some();
        let intake = served_by(intake, keyring, settings);
        let told = intake.post("{}").await;
        told.assert_is(503, "unavailable");
        assert!(told.header("retry-after").is_some());
        match (is_given, outage(&told)) {
            (false, Outage::NoKeyring) | (true, Outage::Secrets(_)) => {}
            (_, other) => panic!("{other:?}"),
        }
        assert!(!outage(&told).is_indeterminate());
        // Nor does it say whether a signature would be right.
        intake.send_as(&HeaderMap::new(), b"{}").await.assert_is(503, "unavailable");
        assert_eq!(intake.count().await, 0);
        assert_eq!(intake.observed(), [], "what fails here is no fault of senders");
    }
}

#[tokio::test]
async fn who_signs_a_url_is_not_taken_in_where_it_is_not_known() {
    for preset in ["hubspot", "square"] {
        let intake = SetUp::of(preset).open().await;
        let keyring = intake.keyring.clone();
        let intake = served_by(intake, Some(keyring), Settings::default());
        let told = intake.post("{}").await;
        told.assert_is(503, "unavailable");
        assert!(matches!(outage(&told), Outage::NoPublicUrl), "{told:?}");
        assert_eq!(intake.count().await, 0);
    }
    // Who signs none does not need it.
    let intake = SetUp::of("stripe").open().await;
    let keyring = intake.keyring.clone();
    let intake = served_by(intake, Some(keyring), Settings::default());
    assert_eq!(intake.post("{}").await.status, 202);
}

#[tokio::test]
async fn the_query_is_part_of_the_url_that_is_signed() {
    for preset in ["hubspot", "square"] {
        let intake = SetUp::of(preset).open().await;
        let send = async |signed: &str, path: &str| {
            let url = format!("{PUBLIC_URL}{signed}");
            let headers = intake.sign_with(&intake.secret, "", &url, b"{}");
            let request = intake.request(&headers).uri(format!("/anywhere/{path}"));
            intake.send(request.body(full("{}")).expect("a request")).await.status
        };
        for (signed, sent, status) in [
            ("clay", "clay", 202),
            ("clay?a=1&b=%20/?", "clay?a=1&b=%20/?", 202),
            ("clay?", "clay?", 202),
            ("clay", "clay?a=1", 401),
            ("clay?a=1", "clay", 401),
            ("clay?a=1", "clay?a=2", 401),
            ("clay?a=1&b=2", "clay?b=2&a=1", 401),
            ("clay?a=%20", "clay?a=+", 401),
            ("Clay", "clay", 401),
            ("clay/", "clay", 401),
        ] {
            assert_eq!(send(signed, sent).await, status, "{preset}: {signed} as {sent}");
        }
    }
    // Of no account to who signs none.
    let intake = SetUp::of("clay").open().await;
    let request = intake.request(&intake.sign(b"{}")).uri("/clay?a=1");
    assert_eq!(intake.send(request.body(full("{}")).expect("a request")).await.status, 202);
}

#[tokio::test]
async fn the_header_of_a_signature_is_never_kept() {
    for preset in Preset::all() {
        let mut set_up = SetUp::of(preset.name());
        let header = preset.description().header.clone();
        set_up.settings.kept_headers.push(header.clone());
        // Most names say themselves that they carry a secret, and are refused from the start.
        if set_up.settings.check().is_err() {
            continue;
        }
        let intake = set_up.open().await;
        let mut headers = intake.sign(b"{}");
        headers.insert("user-agent", "Acme/1".parse().expect("a value"));
        let event = intake.event(&intake.send_as(&headers, b"{}").await).await;
        let names: Vec<_> = event.headers.iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names, ["user-agent"], "{}", preset.name());
    }
    let names = Preset::all().map(|preset| preset.description().header.clone());
    let mut unsuspicious = 0;
    for name in names {
        let mut settings = Settings::default();
        settings.kept_headers.push(name);
        unsuspicious += usize::from(settings.check().is_ok());
    }
    assert!(unsuspicious > 0, "no preset was looked at");
}

/// What the cache has is not believed where it refuses, and is believed where it does not.
#[tokio::test]
async fn an_endpoint_whose_senders_sign_is_looked_up_once() {
    let intake = SetUp::of("stripe").open().await;
    for _ in 0..5 {
        assert_eq!(intake.post("{}").await.status, 202);
    }
    assert_eq!(intake.watched.look_ups.load(Ordering::Relaxed), 1);
    let slug = "clay".parse().expect("a slug");
    assert!(intake.watched.endpoint(&slug).await.expect("memory answers").is_some());
}
