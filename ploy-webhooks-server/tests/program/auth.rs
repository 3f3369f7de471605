//! How senders prove who they are: presets, secrets and their changes, bounds, proxies, the master
//! key.

mod activity;
mod changes;
mod custom;
mod handshakes;
mod master_key;
mod presets;
mod proxies;
mod quotas;
mod shell;
mod signed;

use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use ploy_webhooks::verify::{Preset, Signed};
use ploy_webhooks::{Clock, Secret, SystemClock, Timestamp};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Server, answer};

/// Discord's: nobody but the sender has the private key.
const PRIVATE_KEY: [u8; 32] = [7; 32];

/// Who signs events for one endpoint.
#[derive(Clone)]
struct Sender {
    scheme: &'static str,
    secret: String,
    id: String,
    slug: String,
    /// As the endpoint was shown: what schemes that sign a URL sign.
    url: String,
}

impl Sender {
    /// An endpoint whose senders sign by that preset, with these settings beside it.
    async fn on(server: &Server, scheme: &'static str, settings: Value) -> Self {
        let mut form = json!({"description": scheme, "auth": auth_of(scheme)});
        form.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let made = server.done(Method::POST, "/endpoints", Some(form)).await;
        Self::of(scheme, &made)
    }

    /// By an answer that shows the secret.
    fn of(scheme: &'static str, made: &Value) -> Self {
        let text = |name: &str| made[name].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        Self {
            scheme,
            secret: text("signing_secret"),
            id: text("id"),
            slug: text("slug"),
            url: text("url"),
        }
    }

    fn with_secret(&self, secret: &str) -> Self {
        Self { secret: secret.to_owned(), ..self.clone() }
    }

    fn path(&self) -> String {
        format!("/endpoints/{}", self.id)
    }

    /// The headers that sign this body, as of now.
    fn sign(&self, body: &str) -> HeaderMap {
        self.sign_at(SystemClock.now(), body)
    }

    fn sign_at(&self, now: Timestamp, body: &str) -> HeaderMap {
        match self.scheme {
            "discord" => by_private_key(now, body),
            scheme => {
                let scheme = Preset::named(scheme).unwrap().description();
                let request = Signed { method: "POST", url: &self.url, body: body.as_bytes() };
                let secret = Secret::from(self.secret.clone());
                scheme.sign(&secret, "msg_1", now, &request).unwrap().into_iter().collect()
            }
        }
    }

    /// Sends this body under these headers.
    async fn post(&self, server: &Server, headers: HeaderMap, body: &str) -> (StatusCode, Value) {
        answer(self.request(server, headers, body)).await
    }

    fn request(&self, server: &Server, headers: HeaderMap, body: &str) -> reqwest::RequestBuilder {
        let url = format!("{}/api/v1/webhook/{}", server.url, self.slug);
        let request = server.http.post(url).headers(headers);
        request.header("content-type", "application/json").body(body.to_owned())
    }

    /// Sends this body, signed, and returns the status and the code of the answer.
    async fn send(&self, server: &Server, body: &str) -> (u16, String) {
        said(self.post(server, self.sign(body), body).await)
    }
}

/// The status of an answer, and its code if it has one.
fn said((status, answer): (StatusCode, Value)) -> (u16, String) {
    (status.as_u16(), answer["code"].as_str().unwrap_or_default().to_owned())
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// What an endpoint of that preset is made with.
fn auth_of(scheme: &str) -> Value {
    match scheme {
        "discord" => json!({"scheme": scheme, "secret": public_key()}),
        _ => json!({"scheme": scheme}),
    }
}

fn public_key() -> String {
    let key = SigningKey::from_bytes(&PRIVATE_KEY).verifying_key();
    key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn by_private_key(now: Timestamp, body: &str) -> HeaderMap {
    let time = (now.as_millis() / 1_000).to_string();
    let signature = SigningKey::from_bytes(&PRIVATE_KEY).sign(format!("{time}{body}").as_bytes());
    let hex: String = signature.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let value = |text: &str| HeaderValue::from_str(text).unwrap();
    HeaderMap::from_iter([
        (HeaderName::from_static("x-signature-ed25519"), value(&hex)),
        (HeaderName::from_static("x-signature-timestamp"), value(&time)),
    ])
}

/// Every preset, by name.
fn presets() -> impl Iterator<Item = &'static str> {
    Preset::all().map(|preset| preset.name())
}

fn seconds_ago(seconds: u64) -> Timestamp {
    let now = SystemClock.now();
    Timestamp::from_millis(now.as_millis() - seconds * 1_000)
}

fn in_seconds(seconds: u64) -> Timestamp {
    SystemClock.now().after(Duration::from_secs(seconds))
}

/// Neither of these members is anywhere in the answer.
fn assert_shows_no_secret(answer: &Value) {
    let text = answer.to_string();
    for word in ["signing_secret", "api_key", "whsec_", "pwk_", "sealed", "digest"] {
        assert!(!text.contains(word), "`{word}` in {text}");
    }
}
