//! A signed request as it is received, and the two ways to ask whether it is right: the verifier
//! alone, and the whole pipeline.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use ploy_webhooks::ingest::Settings;
use ploy_webhooks::store::{EndpointStore, EventQuery, EventStore, MemoryStore};
use ploy_webhooks::verify::{
    Preset, Scheme, SignatureFault, SignatureScheme, Signed, TOLERANCE_DEFAULT, Verifier,
};
use ploy_webhooks::{
    CredentialId, Endpoint, EndpointConfig, Ingest, Keyring, ManualClock, Secret, Slug, Timestamp,
    WorkspaceId,
};
use tower::Service;

/// A request, the secret of the endpoint that it comes to, and when it comes.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) preset: Preset,
    pub(crate) secret: String,
    /// The URL that the endpoint has.
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) now: Timestamp,
}

/// What the pipeline answers, and what it keeps.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    pub(crate) payloads: Vec<Bytes>,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the answer is JSON")
    }
}

impl Sent {
    pub(crate) const fn scheme(&self) -> &'static SignatureScheme {
        self.preset.description()
    }

    pub(crate) fn secret(&self) -> Secret {
        Secret::from(self.secret.clone())
    }

    pub(crate) fn signed(&self) -> Signed<'_> {
        Signed { method: "POST", url: &self.url, body: &self.body }
    }

    pub(crate) fn value(&self, name: &HeaderName) -> &str {
        self.headers[name].to_str().expect("the headers of a vector are text")
    }

    pub(crate) fn with(mut self, name: &HeaderName, value: &str) -> Self {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header value");
        self.headers.insert(name, value);
        self
    }

    pub(crate) fn without(mut self, name: &HeaderName) -> Self {
        self.headers.remove(name).expect("it was there");
        self
    }

    pub(crate) fn twice(mut self, name: &HeaderName) -> Self {
        let value = self.headers[name].clone();
        self.headers.append(name, value);
        self
    }

    /// What the verifier says of it.
    pub(crate) fn verify(&self) -> Result<(), SignatureFault> {
        verify(Scheme::Preset(self.preset), &self.secret(), &self.headers, &self.signed(), self.now)
    }

    /// The URL up to its query.
    fn path(&self) -> &str {
        self.url.split('?').next().unwrap_or_default()
    }

    /// The last segment of the path of the URL, if an endpoint may have that slug.
    pub(crate) fn slug(&self) -> Option<Slug> {
        self.path().rsplit('/').next().unwrap_or_default().parse().ok()
    }

    /// What the pipeline makes of it.
    pub(crate) async fn post(&self) -> Answer {
        let clock = Arc::new(ManualClock::new(self.now));
        let store = Arc::new(MemoryStore::with_parts(1 << 20, clock.clone()));
        let keyring = Keyring::mint();
        let endpoint = Endpoint::mint_signed(
            WorkspaceId::DEFAULT,
            EndpointConfig::default(),
            self.now,
            &keyring,
            Scheme::Preset(self.preset),
            &self.secret(),
        );
        let mut endpoint = endpoint.expect("the scheme can use the secret");
        endpoint.slug = self.slug().expect("a slug");
        let mut settings = Settings::default();
        let (until_slug, _) = self.path().rsplit_once('/').expect("a URL");
        settings.public_url = Some(format!("{until_slug}/"));
        let _created = store.create(endpoint).await.expect("memory has room");
        let ingest = Ingest::builder(store.clone(), store.clone())
            .settings(settings)
            .clock(ClockOf(clock))
            .keyring(keyring)
            .build();

        let (_, after_scheme) = self.url.split_once("://").expect("a URL");
        let path = &after_scheme[after_scheme.find('/').expect("a path")..];
        let mut request = Request::post(path).body(Full::new(Bytes::from(self.body.clone())));
        let request_mut = request.as_mut().expect("a request");
        *request_mut.headers_mut() = self.headers.clone();
        request_mut
            .headers_mut()
            .insert("content-type", HeaderValue::from_static("application/json"));
        let called = ingest.expect("the settings can be kept").call(request.expect("a request"));
        let (head, body) = called.await.unwrap_or_else(|never| match never {}).into_parts();
        let body = body.collect().await.unwrap_or_else(|never| match never {}).to_bytes();
        Answer { status: head.status.as_u16(), body, payloads: payloads(&store).await }
    }
}

async fn payloads(store: &MemoryStore) -> Vec<Bytes> {
    let workspace = WorkspaceId::DEFAULT;
    let mut payloads = Vec::new();
    let found = store.search(&EventQuery::all(workspace)).await.expect("memory answers");
    for summary in found.items {
        let event = store.event(&workspace, &summary.id).await.expect("memory answers");
        payloads.push(event.expect("it was found").payload);
    }
    payloads
}

/// Whether this is signed by that scheme with that secret.
pub(crate) fn verify(
    scheme: Scheme,
    secret: &Secret,
    headers: &HeaderMap,
    signed: &Signed<'_>,
    now: Timestamp,
) -> Result<(), SignatureFault> {
    let tolerance = Duration::from_secs(TOLERANCE_DEFAULT.get().into());
    let verifier = Verifier::new(scheme, tolerance);
    let verifier = verifier.with_secret(CredentialId::mint(now), secret, None);
    let verifier = verifier.expect("the scheme can use the secret");
    let presented = verifier.present(headers, now)?;
    verifier.verify(&presented, signed, now).map(|_proven| ())
}

#[derive(Debug)]
struct ClockOf(Arc<ManualClock>);

impl ploy_webhooks::Clock for ClockOf {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}
