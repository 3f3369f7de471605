//! An intake whose one endpoint takes what is signed, over the store that counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use http::{HeaderMap, HeaderValue, Request, request};
use http_body::Body;
use http_body_util::BodyExt;
use ploy_webhooks::ingest::{Refusal, Settings};
use ploy_webhooks::store::{
    EndpointPatch, EndpointStore, EventQuery, EventStore, KeyStore, MemoryStore, Observation,
};
use ploy_webhooks::verify::{Digest, Preset, Scheme, Signed};
use ploy_webhooks::{
    Auth, Clock, Endpoint, EndpointConfig, Event, EventId, Ingest, Keyring, Secret, SignatureAuth,
    SigningSecret, Timestamp, WorkspaceId,
};
use tower::Service;

use super::intake::{Gate, Hands, URL, Watched, full};

/// The address that senders are told.
pub(crate) const PUBLIC_URL: &str = "https://hooks.example/in/";

/// The private key of those whose scheme has a pair.
pub(crate) const PRIVATE: [u8; 32] = [7; 32];

/// How the endpoint and its intake are set up.
#[derive(Clone, Debug)]
pub(crate) struct SetUp {
    pub(crate) scheme: Scheme,
    pub(crate) config: EndpointConfig,
    pub(crate) once: bool,
    pub(crate) settings: Settings,
}

impl SetUp {
    pub(crate) fn of(preset: &str) -> Self {
        let mut settings = Settings::default();
        settings.public_url = Some(PUBLIC_URL.to_owned());
        let scheme = Scheme::Preset(Preset::named(preset).expect("a preset"));
        Self { scheme, config: EndpointConfig::default(), once: false, settings }
    }

    pub(crate) fn once(mut self) -> Self {
        self.once = true;
        self
    }

    pub(crate) fn config(self, config: EndpointConfig) -> Self {
        Self { config, ..self }
    }

    pub(crate) async fn open(self) -> SignedIntake {
        SignedIntake::open(self).await
    }
}

/// The endpoint `clay`, which takes what is signed with its secret, and the intake that serves
/// it.
#[derive(Debug)]
pub(crate) struct SignedIntake {
    pub(crate) watched: Arc<Watched>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) clock: Hands,
    pub(crate) keyring: Keyring,
    pub(crate) ingest: Ingest<Arc<Watched>, Arc<Watched>>,
    pub(crate) scheme: Scheme,
    pub(crate) secret: Secret,
    pub(crate) settings: Settings,
}

impl SignedIntake {
    async fn open(set_up: SetUp) -> Self {
        let SetUp { scheme, config, once, settings } = set_up;
        let clock = Hands::default();
        let mut watched = Watched::default();
        watched.store = MemoryStore::with_parts(1 << 24, clock.0.clone());
        let (watched, gate) = (Arc::new(watched), Arc::<Gate>::default());
        let (keyring, secret) = (Keyring::mint(), Self::secret_for(&scheme));
        let ingest = Ingest::builder(Arc::clone(&watched), Arc::clone(&watched))
            .settings(settings.clone())
            .limiter(Arc::clone(&gate))
            .clock(clock.clone())
            .keyring(keyring.clone())
            .build();
        let ingest = ingest.expect("the settings can be kept");
        let (now, workspace) = (clock.now(), WorkspaceId::DEFAULT);
        let endpoint =
            Endpoint::mint_signed(workspace, config, now, &keyring, scheme.clone(), &secret);
        let mut endpoint = endpoint.expect("the scheme can use the secret");
        endpoint.slug = "clay".parse().expect("a slug");
        if let Auth::Signature(auth) = &mut endpoint.auth {
            auth.once = once;
        }
        let _created = watched.store.create(endpoint).await;
        Self { watched, gate, clock, keyring, ingest, scheme, secret, settings }
    }

    fn secret_for(scheme: &Scheme) -> Secret {
        match scheme.description().method.digest {
            Digest::Ed25519 => {
                Secret::from(hex::encode(SigningKey::from_bytes(&PRIVATE).verifying_key()))
            }
            _ => Secret::mint_signing_secret(),
        }
    }

    /// The headers that sign that body now.
    pub(crate) fn sign(&self, body: &[u8]) -> HeaderMap {
        self.sign_with(&self.secret, "msg_1", &self.url(), body)
    }

    /// The URL that the sender knows.
    pub(crate) fn url(&self) -> String {
        format!("{PUBLIC_URL}clay")
    }

    /// The headers that sign that body as of then, by a secret of the scheme's main method.
    pub(crate) fn sign_at(&self, then: Timestamp, body: &[u8]) -> HeaderMap {
        let signed = Signed { method: "POST", url: &self.url(), body };
        let headers = self.scheme.description().sign(&self.secret, "msg_1", then, &signed);
        headers.expect("the scheme can use the secret").into_iter().collect()
    }

    pub(crate) fn sign_with(&self, secret: &Secret, id: &str, url: &str, body: &[u8]) -> HeaderMap {
        let (scheme, now) = (self.scheme.description(), self.clock.now());
        if scheme.method.digest == Digest::Ed25519 {
            let time = (now.as_millis() / 1_000).to_string();
            let message = [time.as_bytes(), body].concat();
            let signature = SigningKey::from_bytes(&PRIVATE).sign(&message).to_bytes();
            let source = scheme.timestamp.as_ref().and_then(|source| source.header.clone());
            let value = |text: String| HeaderValue::try_from(text).expect("digits");
            return HeaderMap::from_iter([
                (scheme.header.clone(), value(hex::encode(signature))),
                (source.expect("the time is in a header"), value(time)),
            ]);
        }
        let signed = Signed { method: "POST", url, body };
        let headers = scheme.sign(secret, id, now, &signed);
        headers.expect("the scheme can use the secret").into_iter().collect()
    }

    /// A request with these headers, in order but for its body.
    pub(crate) fn request(&self, headers: &HeaderMap) -> request::Builder {
        let mut request = Request::post(URL).header("content-type", "application/json");
        let all = request.headers_mut().expect("it is in order");
        all.extend(headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        request
    }

    pub(crate) async fn send<B>(&self, request: Request<B>) -> Told
    where
        B: Body + Send + 'static,
        B::Data: Send,
    {
        let response = self.ingest.clone().call(request).await;
        let (head, body) = response.unwrap_or_else(|never| match never {}).into_parts();
        let body = body.collect().await.unwrap_or_else(|never| match never {}).to_bytes();
        let told = Told {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            refusal: head.extensions.get().cloned(),
        };
        assert_eq!(told.header("cache-control"), Some("no-store"));
        assert!(told.header("content-type").is_some(), "{told:?}");
        let text = String::from_utf8_lossy(&told.body);
        assert!(!text.contains(self.secret.expose()), "a secret is in an answer: {text}");
        told
    }

    /// Sends that body under these headers.
    pub(crate) async fn send_as(&self, headers: &HeaderMap, body: &[u8]) -> Told {
        let body = full(Bytes::copy_from_slice(body));
        self.send(self.request(headers).body(body).expect("a request")).await
    }

    /// Sends that body, signed now.
    pub(crate) async fn post(&self, body: &str) -> Told {
        self.send_as(&self.sign(body.as_bytes()), body.as_bytes()).await
    }

    pub(crate) async fn endpoint(&self) -> Arc<Endpoint> {
        let slug = "clay".parse().expect("a slug");
        let found = self.watched.store.endpoint(&slug).await;
        found.expect("memory answers").expect("it is there")
    }

    pub(crate) async fn change(&self, patch: EndpointPatch) {
        let now = self.endpoint().await;
        let updated = self.watched.store.update(&now.workspace, &now.id, now.revision, patch);
        let _updated = updated.await.expect("memory answers");
    }

    pub(crate) async fn configure(&self, change: impl FnOnce(&mut EndpointConfig)) {
        let mut config = self.endpoint().await.config.clone();
        change(&mut config);
        self.change(EndpointPatch { config: Some(config), auth: None }).await;
    }

    /// What the endpoint knows of its senders.
    pub(crate) async fn auth(&self) -> SignatureAuth {
        match &self.endpoint().await.auth {
            Auth::Signature(auth) => auth.clone(),
            other => panic!("its senders sign: {other:?}"),
        }
    }

    /// A secret sealed for the endpoint.
    pub(crate) async fn sealed(&self, secret: &Secret) -> SigningSecret {
        let (endpoint, scheme) = (self.endpoint().await.id, self.auth().await.scheme);
        let sealed =
            SigningSecret::seal(&self.keyring, endpoint, &scheme, secret, self.clock.now());
        sealed.expect("the scheme can use the secret")
    }

    /// Sets what the endpoint knows of its senders.
    pub(crate) async fn set_auth(&self, auth: SignatureAuth) {
        let auth = Some(Auth::Signature(auth));
        self.change(EndpointPatch { config: None, auth }).await;
    }

    pub(crate) async fn event(&self, told: &Told) -> Event {
        let found = self.watched.store.event(&WorkspaceId::DEFAULT, &told.id()).await;
        found.expect("memory answers").expect("an accepted event is there")
    }

    pub(crate) async fn count(&self) -> usize {
        let query = EventQuery::all(WorkspaceId::DEFAULT);
        let found = self.watched.store.search(&query).await;
        found.expect("memory answers").items.len()
    }

    /// What was counted since this was asked last, in all states of the endpoint together.
    pub(crate) fn observed(&self) -> Vec<(String, u64)> {
        summed(self.ingest.take_observations())
    }
}

/// The counts of each text.
pub(crate) fn summed(observations: Vec<Observation>) -> Vec<(String, u64)> {
    let mut counts = BTreeMap::new();
    for seen in observations {
        *counts.entry(seen.what.to_string()).or_default() += seen.count;
    }
    counts.into_iter().collect()
}

/// An answer, whatever its form.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) refusal: Option<Refusal>,
}

impl Told {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the answer is JSON")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("headers are text"))
    }

    #[track_caller]
    pub(crate) fn assert_is(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.json()["code"], code, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
    }

    /// The id of the event, where it was accepted.
    #[track_caller]
    pub(crate) fn id(&self) -> EventId {
        assert_eq!(self.status, 202, "{self:?}");
        self.json()["id"].as_str().expect("an id").parse().expect("the id of an event")
    }

    pub(crate) fn is_duplicate(&self) -> bool {
        self.json()["duplicate"] == true
    }
}
