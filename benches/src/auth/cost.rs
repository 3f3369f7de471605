//! Endpoints whose senders sign beside one whose senders show a key.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::Full;
use ploy_webhooks::verify::{Preset, Scheme, Signed};
use ploy_webhooks::{
    Auth, Clock, DedupBy, DedupRule, Endpoint, EndpointConfig, Ingest, Keyring, Secret,
    SystemClock, ValueSource, WorkspaceId,
};
use serde::Serialize;
use sha2::Sha256;
use tower::Service;

use super::{Void, at_once};
use crate::payload::{Payload, Shape};
use crate::report::median;

/// The presets that are measured.
pub const PRESETS: [&str; 3] = ["clay", "stripe", "standard-webhooks"];

/// What an endpoint reads in a payload besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::exhaustive_enums, reason = "benches go through all of them")]
pub enum Reads {
    /// Nothing, whoever sends: what is left is the proof.
    Nothing,
    /// What the preset says: deliveries and types, where an endpoint with keys reads nothing.
    Defaults,
}

/// What was measured of one preset; times in nanoseconds a call, medians of rounds.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Row {
    /// The preset.
    pub preset: &'static str,
    /// What it reads in the payload.
    pub reads: Reads,
    /// The size of the body.
    pub payload_bytes: usize,
    /// A call where the sender signs.
    pub signed_ns: f64,
    /// A call where it shows a key.
    pub keyed_ns: f64,
    /// One HMAC-SHA256 over the body, keyed afresh.
    pub hmac_ns: f64,
    /// (signed − keyed) / hmac, of each round.
    pub ratio: f64,
}

/// An intake and a request that it takes.
struct Door {
    ingest: Ingest<Void, Void>,
    path: String,
    headers: HeaderMap,
    payload: Bytes,
}

impl Door {
    /// For senders that show a key.
    fn keyed(payload: &Bytes, reads: Reads) -> Self {
        let (endpoint, key) =
            Endpoint::mint(WorkspaceId::DEFAULT, config(reads), SystemClock.now());
        let bearer = HeaderValue::try_from(format!("Bearer {}", key.expose()));
        let headers = HeaderMap::from_iter([(AUTHORIZATION, bearer.expect("a key is text"))]);
        Self::of(endpoint, Keyring::mint(), headers, payload)
    }

    /// For senders that sign.
    fn signed(payload: &Bytes, reads: Reads, preset: &str, secret: &Secret) -> Self {
        let scheme = Scheme::Preset(Preset::named(preset).expect("a preset"));
        let (keyring, now) = (Keyring::mint(), SystemClock.now());
        let signed = Signed { method: "POST", url: "", body: payload };
        let headers = scheme.description().sign(secret, "msg_1", now, &signed);
        let headers = headers.expect("the secret is of its form").into_iter().collect();
        let workspace = WorkspaceId::DEFAULT;
        let endpoint =
            Endpoint::mint_signed(workspace, config(reads), now, &keyring, scheme, secret);
        let mut endpoint = endpoint.expect("the secret is of its form");
        if let Auth::Signature(auth) = &mut endpoint.auth {
            // One signature lasts for the whole run.
            auth.tolerance_seconds = NonZeroU32::MAX;
        }
        Self::of(endpoint, keyring, headers, payload)
    }

    fn of(endpoint: Endpoint, keyring: Keyring, mut headers: HeaderMap, payload: &Bytes) -> Self {
        headers.insert(HOST, HeaderValue::from_static("hooks.acme.example"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(payload.len()));
        let path = format!("/api/v1/webhook/{}", endpoint.slug);
        let store = Void::of(endpoint);
        let ingest = Ingest::builder(store.clone(), store).keyring(keyring).build();
        let ingest = ingest.expect("the default settings can be kept");
        Self { ingest, path, headers, payload: payload.clone() }
    }

    fn call(&mut self) {
        let mut request = Request::post(self.path.as_str())
            .body(Full::new(self.payload.clone()))
            .expect("the path is well-formed");
        *request.headers_mut() = self.headers.clone();
        let status = match at_once(self.ingest.call(request)) {
            Ok(response) => response.status(),
        };
        assert_eq!(status, StatusCode::ACCEPTED, "a bench of refusals says nothing");
    }
}

fn config(reads: Reads) -> EndpointConfig {
    match reads {
        Reads::Defaults => EndpointConfig::default(),
        Reads::Nothing => EndpointConfig {
            dedup: Some(DedupRule::new(DedupBy::Nothing)),
            event_type: Some(ValueSource::Header(http::HeaderName::from_static("x-type"))),
            ..EndpointConfig::default()
        },
    }
}

/// Measures all presets with bodies of that size, in turns.
#[must_use]
pub fn measure(reads: Reads, payload_bytes: usize, rounds: usize) -> Vec<Row> {
    let payload = Payload::new(Shape::Flat, payload_bytes, 1);
    let payload = Bytes::from(payload.into_bytes());
    let secret = Secret::mint_signing_secret();
    let mut keyed = Door::keyed(&payload, reads);
    let mut signed = PRESETS.map(|preset| Door::signed(&payload, reads, preset, &secret));
    // Far shorter than what the system gives a program at a time: what interrupts one of them
    // interrupts a few rounds, not all.
    let calls = ((32 << 10) / payload_bytes).clamp(1, 32);

    let (mut of_keyed, mut of_hmac) = (Vec::new(), Vec::new());
    let mut of_signed = PRESETS.map(|_| Vec::new());
    for round in 0..=rounds {
        let keyed_ns = timed(calls, || keyed.call());
        let hmac_ns = timed(calls, || black_box(hmac(secret.expose(), &payload)));
        let signed_ns = signed.each_mut().map(|door| timed(calls, || door.call()));
        // The first round fills caches.
        if round > 0 {
            of_keyed.push(keyed_ns);
            of_hmac.push(hmac_ns);
            for (all, one) in of_signed.iter_mut().zip(signed_ns) {
                all.push(one);
            }
        }
    }
    let rows = PRESETS.into_iter().zip(of_signed).map(|(preset, of_signed)| {
        let ratio = |round: usize| (of_signed[round] - of_keyed[round]) / of_hmac[round];
        Row {
            preset,
            reads,
            payload_bytes,
            ratio: median((0..rounds).map(ratio).collect()),
            signed_ns: median(of_signed.clone()),
            keyed_ns: median(of_keyed.clone()),
            hmac_ns: median(of_hmac.clone()),
        }
    });
    rows.collect()
}

/// A signature as it is made by hand, the key's setup included.
fn hmac(secret: &str, body: &[u8]) -> [u8; 32] {
    let keyed = Hmac::<Sha256>::new_from_slice(secret.as_bytes());
    let mut keyed = keyed.expect("HMAC takes keys of any length");
    keyed.update(black_box(body));
    keyed.finalize().into_bytes().into()
}

fn timed<T>(times: usize, mut work: impl FnMut() -> T) -> f64 {
    let begin = Instant::now();
    for _ in 0..times {
        black_box(work());
    }
    let elapsed: Duration = begin.elapsed();
    elapsed.as_nanos() as f64 / times as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_measured() {
        for reads in [Reads::Nothing, Reads::Defaults] {
            let rows = measure(reads, 256, 3);
            assert_eq!(rows.len(), PRESETS.len());
            assert!(rows.iter().all(|row| row.hmac_ns > 0.0 && row.signed_ns > 0.0), "{rows:?}");
        }
    }
}
