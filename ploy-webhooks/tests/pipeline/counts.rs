//! What an intake observes of senders: which credentials they use, what they are refused for.

use std::time::Duration;

use http::{HeaderMap, Request};
use ploy_webhooks::ingest::SourceAddress;
use ploy_webhooks::store::{Activity, ActivityStore, EndpointPatch, Observed};
use ploy_webhooks::{
    AllowList, Auth, Clock, EndpointConfig, KeyDigest, Limits, Secret, SignatureAuth, Status,
};

use super::intake::{Intake, Mood, URL, full};
use super::signed_intake::{SetUp, summed};

fn shown(intake: &Intake) -> Vec<(String, u64)> {
    summed(intake.ingest.take_observations())
}

#[tokio::test]
async fn the_uses_of_each_key_are_counted() {
    let intake = Intake::open(EndpointConfig::default()).await;
    let (old, new) = (intake.key.clone(), Secret::mint_api_key());
    let digests = [&old, &new].map(|key| KeyDigest { digest: key.digest(), expires_at: None });
    let [of_old, of_new] = digests.each_ref().map(|digest| digest.id().to_string());
    intake
        .change(EndpointPatch { config: None, auth: Some(Auth::ApiKey { keys: digests.to_vec() }) })
        .await;
    let send = async |key: &Secret| {
        let request = Request::post(URL)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", key.expose()));
        intake.send(request.body(full("{}")).expect("a request")).await
    };
    for (key, times) in [(&old, 3), (&new, 2)] {
        for _ in 0..times {
            assert_eq!(send(key).await.status, 202);
        }
    }
    let mut expected = vec![(of_old, 3), (of_new.clone(), 2)];
    expected.sort();
    assert_eq!(shown(&intake), expected);
    assert_eq!(shown(&intake), [], "what was taken is not there again");
    assert_eq!(send(&new).await.status, 202);
    assert_eq!(shown(&intake), [(of_new, 1)]);
}

#[tokio::test]
async fn an_observation_says_of_whom_and_when() {
    let intake = Intake::open(EndpointConfig::default()).await;
    let endpoint = intake.endpoint().await;
    assert_eq!(intake.post("{}").await.status, 202);
    intake.clock.0.advance(Duration::from_secs(7));
    assert_eq!(intake.post("{}").await.status, 202);
    let taken = intake.ingest.take_observations();
    let [seen] = &taken[..] else { panic!("{taken:?}") };
    assert_eq!((seen.workspace, seen.endpoint), (endpoint.workspace, endpoint.id));
    assert_eq!((seen.count, seen.last_at), (2, intake.clock.now()));
    let [(credential, _)] = endpoint.auth.credentials()[..] else { panic!("one key") };
    assert_eq!(seen.what, Observed::Credential(credential));

    // A store adds them up.
    let store = &intake.watched.store;
    store.observe(taken.clone()).await.expect("memory answers");
    store.observe(taken.clone()).await.expect("memory answers");
    let activity = store.activity(&endpoint.workspace, &endpoint.id).await;
    let Some(Activity { observed, .. }) = activity.expect("memory answers") else {
        panic!("the endpoint is there")
    };
    assert_eq!(observed.iter().map(|tally| tally.count).collect::<Vec<_>>(), [4]);
}

#[tokio::test]
async fn the_uses_of_each_secret_are_counted() {
    let intake = SetUp::of("stripe").open().await;
    let new = Secret::mint_signing_secret();
    let sealed = intake.sealed(&new).await;
    let of_new = sealed.id.to_string();
    let now = intake.clock.now();
    let auth = intake.auth().await;
    let of_old = auth.secrets[0].id.to_string();
    intake.set_auth(auth.rotated(sealed, Duration::from_secs(60), now)).await;
    for (secret, times) in [(&intake.secret, 2), (&new, 3)] {
        for _ in 0..times {
            let headers = intake.sign_with(secret, "", "", b"{}");
            assert_eq!(intake.send_as(&headers, b"{}").await.status, 202);
        }
    }
    let mut expected = vec![(of_old, 2), (of_new, 3)];
    expected.sort();
    assert_eq!(intake.observed(), expected);
}

#[tokio::test]
async fn refusals_are_counted_by_their_codes() {
    let intake = SetUp::of("stripe").open().await;
    let of_secret = intake.auth().await.secrets[0].id.to_string();
    intake.send_as(&HeaderMap::new(), b"{}").await.assert_is(401, "invalid_signature");
    intake.send_as(&intake.sign(b"{}"), b"{ }").await.assert_is(401, "invalid_signature");
    let old = intake.sign(b"{}");
    intake.clock.0.advance(Duration::from_secs(301));
    intake.send_as(&old, b"{}").await.assert_is(401, "stale_timestamp");
    intake.post("no JSON").await.assert_is(400, "invalid_json");
    intake.post("[]").await.assert_is(400, "not_an_object");
    assert_eq!(intake.post("{}").await.status, 202);
    // An endpoint that changes keeps what was counted.
    intake.configure(|config| config.status = Status::Paused).await;
    intake.post("{}").await.assert_is(403, "endpoint_paused");
    intake
        .configure(|config| {
            config.status = Status::Active;
            config.limits = Limits { body_bytes: Some(2), ..Limits::default() };
        })
        .await;
    intake.post("{  }").await.assert_is(413, "payload_too_large");
    intake.configure(|config| config.allow = Some(AllowList::new(Vec::new()))).await;
    let mut request = intake.request(&intake.sign(b"{}")).body(full("{}")).expect("a request");
    request.extensions_mut().insert(SourceAddress([203, 0, 113, 9].into()));
    intake.send(request).await.assert_is(403, "address_not_allowed");

    let expected = [
        ("address_not_allowed", 1),
        // Also where what it sends is refused then.
        (of_secret.as_str(), 4),
        ("endpoint_paused", 1),
        ("invalid_json", 1),
        ("invalid_signature", 2),
        ("not_an_object", 1),
        ("payload_too_large", 1),
        ("stale_timestamp", 1),
    ];
    assert_eq!(intake.observed(), expected.map(|(what, count)| (what.to_owned(), count)));
}

#[tokio::test]
async fn what_belongs_to_no_endpoint_or_fails_here_is_not_counted() {
    let intake = SetUp::of("clay").open().await;
    for path in ["/nowhere", "/Clay", "/"] {
        let request = intake.request(&intake.sign(b"{}")).uri(path).body(full("{}"));
        intake.send(request.expect("a request")).await.assert_is(404, "endpoint_not_found");
    }
    let get = Request::get(URL).body(full("{}")).expect("a request");
    intake.send(get).await.assert_is(405, "method_not_allowed");
    assert_eq!(intake.observed(), []);
    let kind = ploy_webhooks::store::StoreErrorKind::Unavailable;
    intake.watched.be(Mood::Fails(kind));
    intake.post("{}").await.assert_is(503, "unavailable");
    intake.watched.be(Mood::Well);
    assert!(intake.observed().iter().all(|(what, _)| what != "unavailable"));
}

/// Who asks something first has proved itself too.
#[tokio::test]
async fn a_handshake_is_a_use() {
    let intake = SetUp::of("crm").open().await;
    let of_secret = intake.auth().await.secrets[0].id.to_string();
    assert_eq!(intake.post(r#"{"confirmation_token":"x"}"#).await.status, 200);
    assert_eq!(intake.observed(), [(of_secret, 1)]);
}

/// One request is one use, however often its endpoint changes on its way into the store.
#[tokio::test]
async fn a_request_is_counted_once_though_it_is_fenced() {
    let intake = SetUp::of("clay").open().await;
    let of_secret = intake.auth().await.secrets[0].id.to_string();
    assert_eq!(intake.post("{}").await.status, 202);
    intake.watched.be(Mood::Fences(2));
    assert_eq!(intake.post("{}").await.status, 202);
    let config = Some(EndpointConfig::default());
    intake.watched.be(Mood::Changes(Box::new(EndpointPatch { config, auth: None })));
    assert_eq!(intake.post("{}").await.status, 202);
    assert_eq!(intake.observed(), [(of_secret, 3)]);

    // What the state of now refuses is no use.
    let config = EndpointConfig { status: Status::Paused, ..EndpointConfig::default() };
    intake.configure(|now| *now = config).await;
    intake.post("{}").await.assert_is(403, "endpoint_paused");
    assert_eq!(intake.observed(), [("endpoint_paused".to_owned(), 1)]);
}

/// What was counted under a state that is gone is handed over all the same.
#[tokio::test]
async fn nothing_is_lost_when_an_endpoint_changes() {
    let intake = SetUp::of("clay").open().await;
    let of_old = intake.auth().await.secrets[0].id.to_string();
    assert_eq!(intake.post("{}").await.status, 202);
    let new = Secret::mint_signing_secret();
    let sealed = intake.sealed(&new).await;
    let of_new = sealed.id.to_string();
    let auth = SignatureAuth::new(intake.scheme.clone(), sealed);
    intake.set_auth(auth).await;
    let headers = intake.sign_with(&new, "", "", b"{}");
    assert_eq!(intake.send_as(&headers, b"{}").await.status, 202);
    let mut expected = vec![(of_old, 1), (of_new, 1)];
    expected.sort();
    assert_eq!(intake.observed(), expected);
}
