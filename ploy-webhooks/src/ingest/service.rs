//! The table of checks as code: [`Ingest`], one line a check.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use tower::Service;

use super::budget::{Budget, Reservation};
use super::cache::{EndpointCache, Known};
use super::check::{self, body};
use super::in_time::in_time;
use super::refusal::Outage;
use super::response::{Accepted, ResponseBody, ResponseFuture};
use super::{Builder, Refusal, Settings, compose};
use crate::clock::Clock;
use crate::endpoint::{Endpoint, Slug};
use crate::limit::{LimitKey, RateLimiter};
use crate::store::{Appended, EventStore, KeyStore, RunQueue, StoreError};
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
    parts: Arc<Parts<E, K>>,
    runner: Arc<T>,
}

/// What the clones of an intake share.
pub(super) struct Parts<E, K> {
    pub(super) events: E,
    pub(super) endpoints: EndpointCache<K>,
    pub(super) limiter: Arc<dyn RateLimiter>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) budget: Budget,
    pub(super) settings: Settings,
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

/// Who sends: what the checks of the sender look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender<'a> {
    pub(super) slug: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) source: Option<IpAddr>,
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
    pub(super) fn of(parts: Parts<E, K>, runner: T) -> Self {
        Self { parts: Arc::new(parts), runner: Arc::new(runner) }
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
        let (queue, runner) = (self.parts.events.clone(), self.runner.clone());
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
    pub async fn accept<B: Body>(&self, request: Request<B>) -> Result<Accepted, Refusal> {
        let (head, body) = request.into_parts();
        self.parts.check_head(&head, &body)?;
        self.parts.take(Sender::of(&head), body).await
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
    pub async fn submit(&self, delivery: Delivery<'_>) -> Result<Accepted, Refusal> {
        let Delivery { slug, headers, source, payload } = delivery;
        self.parts.take(Sender { slug, headers, source }, ResponseBody::from(payload)).await
    }

    /// Drops an endpoint from the cache. Never needed: old entries do no harm. A store that
    /// hears of changes elsewhere can save the next request a fenced append.
    pub fn forget(&self, slug: &Slug) {
        self.parts.endpoints.forget(slug.as_str());
    }

    /// Drops every endpoint from the cache: for a store that may have missed what it would have
    /// heard.
    pub fn forget_all(&self) {
        self.parts.endpoints.forget_all();
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
        if let Err(refusal) = self.parts.check_head(&head, &body) {
            return ResponseFuture::decided(refusal.into_response(head.version));
        }
        let parts = self.parts.clone();
        ResponseFuture::running(async move {
            match parts.take(Sender::of(&head), body).await {
                Ok(accepted) => accepted.into_response(),
                Err(refusal) => refusal.into_response(head.version),
            }
        })
    }
}

impl<E: EventStore, K: KeyStore> Parts<E, K> {
    /// What the head of the request decides alone.
    fn check_head(&self, head: &http::request::Parts, body: &impl Body) -> Result<(), Refusal> {
        check::method::check(&head.method)?;
        check::media_type::check(&head.headers)?;
        check::encoding::check(&head.headers)?;
        check::length::check(&head.headers, &body.size_hint(), self.settings.body_bytes_max)
    }

    /// The rest of the table.
    async fn take(&self, sender: Sender<'_>, body: impl Body) -> Result<Accepted, Refusal> {
        let mut endpoint = self.admit(sender).await?;
        self.check_rate(&endpoint).await?;
        let limit = self.body_bytes_max(&endpoint);
        if body.size_hint().lower() > limit {
            let changed = self.changed(&endpoint, sender).await?;
            endpoint = changed.ok_or(Refusal::PayloadTooLarge { limit })?;
        }
        let (payload, _reservation) = match self.read_object(body, &endpoint).await {
            Ok(read) => read,
            Err(refusal) => {
                self.changed(&endpoint, sender).await?;
                return Err(refusal);
            }
        };
        self.append(endpoint, sender, payload).await
    }

    /// The endpoint, if it takes events of this sender. Nobody is refused on the word of the
    /// cache: it may be older than the key that the sender was just given.
    async fn admit(&self, sender: Sender<'_>) -> Result<Arc<Known>, Refusal> {
        if let Some(seen) = self.endpoints.seen(sender.slug)
            && self.check_sender(&seen, sender).is_ok()
        {
            return Ok(seen);
        }
        self.admit_afresh(sender).await
    }

    async fn admit_afresh(&self, sender: Sender<'_>) -> Result<Arc<Known>, Refusal> {
        let look_up = in_time(self.settings.append_timeout, self.endpoints.fresh(sender.slug));
        let endpoint = match look_up.await {
            Some(found) => found.map_err(|error| self.store_failed(error))?,
            None => return Err(self.unavailable(Outage::StoreTooSlow)),
        };
        let endpoint = endpoint.ok_or(Refusal::EndpointNotFound)?;
        self.check_sender(&endpoint, sender)?;
        Ok(endpoint)
    }

    /// The endpoint as it is now, if that is not how it was seen: asked before a sender is
    /// refused by what may be old. A store that cannot tell changes nothing.
    async fn changed(
        &self,
        seen: &Endpoint,
        sender: Sender<'_>,
    ) -> Result<Option<Arc<Known>>, Refusal> {
        match self.admit_afresh(sender).await {
            Ok(now) if (now.id, now.revision) == (seen.id, seen.revision) => Ok(None),
            Ok(now) => Ok(Some(now)),
            Err(Refusal::Unavailable { .. }) => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    fn check_sender(&self, endpoint: &Endpoint, sender: Sender<'_>) -> Result<(), Refusal> {
        check::address::check(endpoint, sender.source)?;
        check::credential::check(endpoint, sender.headers, &*self.clock)?;
        check::status::check(endpoint)
    }

    async fn check_rate(&self, endpoint: &Endpoint) -> Result<(), Refusal> {
        let Some(rate) = endpoint.config.limits.rate else {
            return Ok(());
        };
        let checked = check::rate::check(LimitKey::Endpoint(endpoint.id), rate, &self.limiter);
        match in_time(self.settings.append_timeout, checked).await {
            Some(Ok(verdict)) => verdict.map(drop),
            Some(Err(error)) => Err(self.store_failed(error)),
            None => Err(self.unavailable(Outage::StoreTooSlow)),
        }
    }

    async fn read_object(
        &self,
        body: impl Body,
        endpoint: &Endpoint,
    ) -> Result<(Bytes, Reservation<'_>), Refusal> {
        let allowance = body::Allowance {
            bytes_max: self.body_bytes_max(endpoint),
            timeout: self.settings.body_timeout,
        };
        let read = body::read(body, allowance, &self.budget).await;
        let read = read.map_err(|fault| match fault {
            body::Fault::Refused(refusal) => refusal,
            body::Fault::OutOfBudget => self.unavailable(Outage::BodiesInFlight),
        })?;
        check::json::check(&read.0)?;
        Ok(read)
    }

    fn body_bytes_max(&self, endpoint: &Endpoint) -> u64 {
        let own = endpoint.config.limits.body_bytes.unwrap_or(u64::MAX);
        own.min(self.settings.body_bytes_max)
    }

    /// Appends the event under the state that it was checked against. Where that has changed
    /// meanwhile, the sender is checked against the new one, a few times at most.
    async fn append(
        &self,
        mut endpoint: Arc<Known>,
        sender: Sender<'_>,
        mut payload: Bytes,
    ) -> Result<Accepted, Refusal> {
        const ROUNDS: usize = 3;
        for _ in 0..ROUNDS {
            let kept_headers = &self.settings.kept_headers;
            let now = self.clock.now();
            let event = match compose::event(&endpoint, &sender, kept_headers, payload, now) {
                Ok(event) => event,
                Err(compose::KeyMissing(back)) => {
                    payload = back;
                    let changed = self.changed(&endpoint, sender).await?;
                    endpoint = changed.ok_or(Refusal::DedupKeyMissing)?;
                    continue;
                }
            };
            let id = event.id;
            match in_time(self.settings.append_timeout, self.events.append(event)).await {
                Some(Ok(Appended::Stored)) => {
                    return Ok(Accepted { id, duplicate: false });
                }
                Some(Ok(Appended::Duplicate(id))) => {
                    return Ok(Accepted { id, duplicate: true });
                }
                Some(Ok(Appended::OverQuota { resets_in })) => {
                    return Err(Refusal::QuotaExceeded { resets_in });
                }
                Some(Ok(Appended::Fenced(event))) => payload = event.payload,
                Some(Err(error)) => return Err(self.store_failed(error)),
                None => return Err(self.unavailable(Outage::StoreTooSlow)),
            }
            endpoint = self.admit_afresh(sender).await?;
            let limit = self.body_bytes_max(&endpoint);
            if payload.len() as u64 > limit {
                return Err(Refusal::PayloadTooLarge { limit });
            }
        }
        Err(self.unavailable(Outage::EndpointChanging))
    }

    fn store_failed(&self, error: StoreError) -> Refusal {
        self.unavailable(Outage::Store(Arc::new(error)))
    }

    const fn unavailable(&self, outage: Outage) -> Refusal {
        Refusal::Unavailable { outage, retry_after: self.settings.retry_after }
    }
}

impl<'a> Sender<'a> {
    /// The slug is the last segment of the path; where the service is mounted is the app's
    /// business.
    fn of(head: &'a http::request::Parts) -> Self {
        let path = head.uri.path();
        Self {
            slug: path.rsplit_once('/').map_or(path, |(_, last)| last),
            headers: &head.headers,
            source: head.extensions.get().map(|SourceAddress(address)| *address),
        }
    }
}

impl<E, K, T> Clone for Ingest<E, K, T> {
    fn clone(&self) -> Self {
        Self { parts: self.parts.clone(), runner: self.runner.clone() }
    }
}

impl<E: fmt::Debug, K: fmt::Debug, T> fmt::Debug for Ingest<E, K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { events, settings, .. } = &*self.parts;
        f.debug_struct("Ingest")
            .field("events", events)
            .field("settings", settings)
            .finish_non_exhaustive()
    }
}
