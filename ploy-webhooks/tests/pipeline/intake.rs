//! An intake over a store that counts, and that fails when it is told to.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, request};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use ploy_webhooks::ingest::{Refusal, Settings};
use ploy_webhooks::limit::{Admission, LimitKey, RateLimiter};
use ploy_webhooks::store::{
    Appended, EndpointPatch, EndpointStore, EventQuery, EventStore, KeyStore, MemoryStore, Page,
    StoreError, StoreErrorKind,
};
use ploy_webhooks::{
    Auth, Clock, Endpoint, EndpointConfig, EndpointId, Event, EventId, EventSummary, Ingest,
    ManualClock, NewEvent, Rate, Secret, Slug, Timestamp, WorkspaceId,
};
use tower::Service;

pub(crate) const URL: &str = "/api/v1/webhook/clay";

/// What the store does to the next calls.
#[derive(Clone, Debug, Default)]
pub(crate) enum Mood {
    #[default]
    Well,
    /// So many appends are fenced, though nothing has changed.
    Fences(usize),
    /// Before the next append the endpoint is changed.
    Changes(Box<EndpointPatch>),
    /// Before the next append the endpoint is deleted.
    Deletes,
    /// Every call fails.
    Fails(StoreErrorKind),
    /// No call returns.
    Hangs,
}

#[derive(Debug, Default)]
pub(crate) struct Watched {
    pub(crate) store: MemoryStore,
    pub(crate) look_ups: AtomicUsize,
    pub(crate) appends: AtomicUsize,
    mood: Mutex<Mood>,
}

impl Watched {
    pub(crate) fn be(&self, mood: Mood) {
        *self.mood.lock().expect("no holder panics") = mood;
    }

    async fn ail(&self) -> Result<(), StoreError> {
        let mood = self.mood.lock().expect("no holder panics").clone();
        match mood {
            Mood::Fails(kind) => Err(StoreError::new(kind, "as it was told")),
            Mood::Hangs => std::future::pending().await,
            _ => Ok(()),
        }
    }

    /// Whether the append is to be fenced, after what is to happen before it has happened.
    async fn act(&self, event: &NewEvent) -> Result<bool, StoreError> {
        let mood = std::mem::take(&mut *self.mood.lock().expect("no holder panics"));
        let fence = event.fence.expect("the pipeline names the state");
        match mood {
            Mood::Fences(times) => {
                if times > 1 {
                    self.be(Mood::Fences(times - 1));
                }
                return Ok(true);
            }
            Mood::Changes(patch) => {
                let (id, revision) = (&fence.endpoint, fence.checked_at);
                let updated = self.store.update(&event.workspace, id, revision, *patch);
                let _updated = updated.await?;
            }
            Mood::Deletes => {
                self.store.delete(&event.workspace, &fence.endpoint).await?;
            }
            other => self.be(other),
        }
        Ok(false)
    }
}

#[async_trait]
impl KeyStore for Watched {
    async fn endpoint(&self, slug: &Slug) -> Result<Option<Arc<Endpoint>>, StoreError> {
        self.look_ups.fetch_add(1, Ordering::Relaxed);
        self.ail().await?;
        self.store.endpoint(slug).await
    }
}

#[async_trait]
impl EventStore for Watched {
    async fn append(&self, event: NewEvent) -> Result<Appended, StoreError> {
        self.appends.fetch_add(1, Ordering::Relaxed);
        self.ail().await?;
        if self.act(&event).await? {
            return Ok(Appended::Fenced(Box::new(event)));
        }
        self.store.append(event).await
    }

    async fn event(
        &self,
        workspace: &WorkspaceId,
        id: &EventId,
    ) -> Result<Option<Event>, StoreError> {
        self.store.event(workspace, id).await
    }

    async fn search(&self, query: &EventQuery) -> Result<Page<EventSummary>, StoreError> {
        self.store.search(query).await
    }
}

/// A limiter that counts, and refuses when it is told to.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    pub(crate) asked: AtomicUsize,
    pub(crate) is_closed: AtomicBool,
}

#[async_trait]
impl RateLimiter for Gate {
    async fn check(&self, _: LimitKey, _: Rate) -> Result<Admission, StoreError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(match self.is_closed.load(Ordering::Relaxed) {
            true => Admission::Exceeded { retry_after: Duration::from_millis(2_001) },
            false => Admission::Admitted { remaining: 1 },
        })
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Hands(pub(crate) Arc<ManualClock>);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

/// The endpoint `clay`, its key, and the intake that serves it.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) watched: Arc<Watched>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) clock: Hands,
    pub(crate) ingest: Ingest<Arc<Watched>, Arc<Watched>>,
    pub(crate) key: Secret,
}

impl Intake {
    pub(crate) async fn open(config: EndpointConfig) -> Self {
        Self::with(config, Settings::default()).await
    }

    pub(crate) async fn with(config: EndpointConfig, settings: Settings) -> Self {
        let (watched, gate) = (Arc::<Watched>::default(), Arc::<Gate>::default());
        let clock = Hands::default();
        let ingest = Ingest::builder(Arc::clone(&watched), Arc::clone(&watched))
            .settings(settings)
            .limiter(Arc::clone(&gate))
            .clock(clock.clone())
            .build();
        let intake = Self {
            watched,
            gate,
            clock,
            ingest: ingest.expect("the settings can be kept"),
            key: Secret::mint_api_key(),
        };
        intake.create("clay", intake.key.clone(), config).await;
        intake
    }

    pub(crate) async fn create(&self, slug: &str, key: Secret, config: EndpointConfig) {
        let now = self.clock.now();
        let slug = slug.parse().expect("a slug");
        let auth = Auth::api_key(key.digest());
        let id = EndpointId::mint(now);
        let endpoint = Endpoint::new(id, WorkspaceId::DEFAULT, slug, now, auth, config);
        let _created = self.watched.store.create(endpoint).await;
    }

    /// The endpoint as it is.
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

    /// A request that is in order but for its body.
    pub(crate) fn request(&self) -> request::Builder {
        Request::post(URL)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", self.key.expose()))
    }

    pub(crate) async fn send<B>(&self, request: Request<B>) -> Answer
    where
        B: Body + Send + 'static,
        B::Data: Send,
    {
        let response = self.ingest.clone().call(request).await;
        let (head, body) = response.unwrap_or_else(|never| match never {}).into_parts();
        let body = body.collect().await.unwrap_or_else(|never| match never {}).to_bytes();
        let answer = Answer {
            status: head.status,
            json: serde_json::from_slice(&body).expect("every answer is JSON"),
            headers: head.headers,
            refusal: head.extensions.get().cloned(),
        };
        answer.assert_keeps_the_form(&self.key);
        answer
    }

    /// Sends that body with a head that is in order.
    pub(crate) async fn post(&self, body: &'static str) -> Answer {
        self.send(self.request().body(full(body)).expect("a request")).await
    }

    pub(crate) async fn event(&self, answer: &Answer) -> Event {
        let id = answer.id();
        let found = self.watched.store.event(&WorkspaceId::DEFAULT, &id).await;
        found.expect("memory answers").expect("an accepted event is there")
    }

    pub(crate) async fn count(&self) -> usize {
        let query = EventQuery::all(WorkspaceId::DEFAULT);
        let found = self.watched.store.search(&query).await;
        found.expect("memory answers").items.len()
    }
}

pub(crate) fn full(body: impl Into<Bytes>) -> Full<Bytes> {
    Full::new(body.into())
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) json: serde_json::Value,
    pub(crate) refusal: Option<Refusal>,
}

impl Answer {
    pub(crate) fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("headers are text"))
    }

    pub(crate) fn id(&self) -> EventId {
        assert_eq!(self.status, StatusCode::ACCEPTED, "{self:?}");
        let id = self.json["id"].as_str().expect("an accepted event has an id");
        id.parse().expect("the id of an event")
    }

    pub(crate) fn assert_is(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), self.code()), (status, code), "{self:?}");
    }

    /// What holds of every answer.
    fn assert_keeps_the_form(&self, key: &Secret) {
        assert_eq!(self.header("cache-control"), Some("no-store"));
        let content_type = self.header("content-type");
        assert!(!self.json.to_string().contains(key.expose()), "a key is in an answer");
        if self.status == StatusCode::ACCEPTED {
            assert_eq!(content_type, Some("application/json"));
            assert_eq!(self.json["status"], "accepted");
            return;
        }
        assert_eq!(content_type, Some("application/problem+json"));
        assert_eq!(self.json["status"], self.status.as_u16());
        assert_eq!(self.json["title"], self.status.canonical_reason().unwrap_or_default());
        let refusal = self.refusal.as_ref().expect("the refusal is among the extensions");
        assert_eq!(self.json["code"], refusal.code());
        assert_eq!(self.json["detail"], refusal.to_string());
        let waits = [429, 503].contains(&self.status.as_u16());
        assert_eq!(self.header("retry-after").is_some(), waits, "{self:?}");
    }
}
