//! [`Ingest`]: the pipeline as a tower service.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use tower::Service;

use super::pipeline::{Pipeline, Sender};
use super::response::{Received, ResponseBody, ResponseFuture};
use super::{Builder, Refusal};
use crate::endpoint::Slug;
use crate::store::{EventStore, KeyStore, Observation, RunQueue};
use crate::trigger::{Dispatcher, DispatcherSettings, Observer, TriggerRunner};

/// The webhook intake: a tower [`Service`] that checks a request, stores its event, and answers.
///
/// Cheap to clone; clones share the cache, the budget and the limiter. Always ready: load is
/// shed inside, with 503 and `Retry-After`. Its error is [`Infallible`]: every fault is an
/// answer.
///
/// `T` is what carries out the runs that events owe: see [`dispatch`](Self::dispatch). `()` stores
/// them, for whoever else carries them out.
///
/// See the [module](super) for how to mount it.
pub struct Ingest<E, K, T = ()> {
    pipeline: Arc<Pipeline<E, K>>,
    runner: Arc<T>,
}

/// The address that a request comes from: an extension of the request, set by the app, which
/// alone knows whether there is a proxy in between.
///
/// Without it, an endpoint with an allow-list takes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a name for an address, nothing more")]
pub struct SourceAddress(pub IpAddr);

/// A request that came by another way than HTTP.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers build it from its parts")]
pub struct Delivery<'a> {
    /// The slug of the endpoint.
    pub slug: &'a str,
    /// What HTTP would have in its head, `Authorization` among it.
    pub headers: &'a HeaderMap,
    /// Where it comes from, if that is known.
    pub source: Option<IpAddr>,
    /// The event.
    pub payload: Bytes,
}

impl<E: EventStore, K: KeyStore> Ingest<E, K> {
    /// An intake that keeps events in `events` and looks endpoints up in `keys`; often the two
    /// are one store.
    #[must_use]
    pub fn new(events: E, keys: K) -> Self {
        Builder::new(events, keys).assemble()
    }

    /// An intake with parts or settings of one's own.
    pub fn builder(events: E, keys: K) -> Builder<E, K> {
        Builder::new(events, keys)
    }
}

impl<E, K, T> Ingest<E, K, T> {
    pub(super) fn of(pipeline: Pipeline<E, K>, runner: T) -> Self {
        Self { pipeline: Arc::new(pipeline), runner: Arc::new(runner) }
    }
}

impl<E: RunQueue + Clone, K, T: TriggerRunner> Ingest<E, K, T> {
    /// Starts to carry out what events owe, with the runner of this intake. Nothing else starts
    /// it: a node that only takes events in leaves it to others.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with a timer.
    pub fn dispatch(&self, settings: DispatcherSettings) -> Dispatcher {
        self.dispatch_observed(settings, ())
    }

    /// The same, and tells `observer` what happens.
    ///
    /// # Panics
    ///
    /// As [`dispatch`](Self::dispatch).
    pub fn dispatch_observed(
        &self,
        settings: DispatcherSettings,
        observer: impl Observer,
    ) -> Dispatcher {
        let (queue, runner) = (self.pipeline.events.clone(), self.runner.clone());
        Dispatcher::start_observed(queue, runner, settings, observer)
    }
}

impl<E: EventStore, K: KeyStore, T> Ingest<E, K, T> {
    /// Takes a request and says what became of it, for an app that words its own answers. The
    /// service does the same and answers by the contract.
    ///
    /// # Errors
    ///
    /// The first check that fails.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may store the event or not.
    pub async fn accept<B: Body>(&self, request: Request<B>) -> Result<Received, Refusal> {
        let (head, body) = request.into_parts();
        self.pipeline.check_head(&head, &body)?;
        self.pipeline.take(Sender::of(&head), body).await.outcome
    }

    /// Takes an event that came by another way than HTTP: every check applies but those of
    /// HTTP's own (method, media type, encoding).
    ///
    /// # Errors
    ///
    /// The first check that fails.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may store the event or not.
    pub async fn submit(&self, delivery: Delivery<'_>) -> Result<Received, Refusal> {
        let Delivery { slug, headers, source, payload } = delivery;
        let sender = Sender { slug, query: None, headers, source };
        self.pipeline.take(sender, ResponseBody::from(payload)).await.outcome
    }

    /// What was observed of senders since this was asked last: which credentials were used, which
    /// requests were refused. To be handed to an
    /// [`ActivityStore`](crate::store::ActivityStore), a few times a minute.
    ///
    /// Where nobody asks, what is observed is let go of in time.
    #[must_use]
    pub fn take_observations(&self) -> Vec<Observation> {
        self.pipeline.endpoints.counts.take()
    }

    /// How many bytes of bodies are held now, of the
    /// [`in_flight_bytes_max`](super::Settings::in_flight_bytes_max) that may be.
    #[must_use]
    pub fn in_flight_bytes(&self) -> u64 {
        self.pipeline.budget.held()
    }

    /// How many endpoints are cached now.
    #[must_use]
    pub fn cached_endpoints(&self) -> usize {
        self.pipeline.endpoints.len()
    }

    /// Drops an endpoint from the cache. Never needed: old entries do no harm. A store that
    /// hears of changes elsewhere can save the next request a fenced append.
    pub fn forget(&self, slug: &Slug) {
        self.pipeline.endpoints.forget(slug.as_str());
    }

    /// Drops every endpoint from the cache: for a store that may have missed what it would have
    /// heard.
    pub fn forget_all(&self) {
        self.pipeline.endpoints.forget_all();
    }
}

impl<E, K, T, B> Service<Request<B>> for Ingest<E, K, T>
where
    E: EventStore,
    K: KeyStore,
    B: Body + Send + 'static,
    B::Data: Send,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let (head, body) = request.into_parts();
        if let Err(refusal) = self.pipeline.check_head(&head, &body) {
            return ResponseFuture::decided(refusal.into_response(head.version));
        }
        let pipeline = self.pipeline.clone();
        ResponseFuture::running(async move {
            pipeline.take(Sender::of(&head), body).await.into_response(head.version)
        })
    }
}

impl<E, K, T> Clone for Ingest<E, K, T> {
    fn clone(&self) -> Self {
        Self { pipeline: self.pipeline.clone(), runner: self.runner.clone() }
    }
}

impl<E: fmt::Debug, K: fmt::Debug, T> fmt::Debug for Ingest<E, K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pipeline { events, settings, .. } = &*self.pipeline;
        f.debug_struct("Ingest")
            .field("events", events)
            .field("settings", settings)
            .finish_non_exhaustive()
    }
}
