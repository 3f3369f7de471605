//! The intake in process, beside the parts that it cannot do without.
//!
//! Everything runs on one thread without a runtime: over the memory store an answer is there as
//! soon as it is asked for.

use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use ploy_webhooks::store::{Appended, EndpointStore, EventStore, MemoryStore};
use ploy_webhooks::{
    Clock, Endpoint, EndpointConfig, EventId, Fence, Ingest, NewEvent, Secret, SystemClock,
    WorkspaceId,
};
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};
use tower::Service;

use crate::payload::{Payload, Shape};

/// An intake over a memory store, and a request for it.
#[derive(Debug)]
pub struct Fixture {
    store: Arc<MemoryStore>,
    ingest: Ingest<Arc<MemoryStore>, Arc<MemoryStore>>,
    endpoint: Endpoint,
    path: String,
    key: Secret,
    authorization: HeaderValue,
    content_length: HeaderValue,
    payload: Bytes,
}

/// A part of what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "benches go through all of them")]
pub enum Part {
    /// Building the request, and calling the intake with it.
    Call,
    /// Building the request alone, as a server would hand it over.
    Request,
    /// That the body is UTF-8 and JSON.
    Check,
    /// SHA-256 of the key.
    Digest,
    /// The event's append, called on the store itself.
    Append,
    /// The body's way into a buffer of its own.
    Copy,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Call, Self::Request, Self::Check, Self::Digest, Self::Append, Self::Copy];

    /// The part's name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Request => "request",
            Self::Check => "check",
            Self::Digest => "digest",
            Self::Append => "append",
            Self::Copy => "copy",
        }
    }
}

impl Fixture {
    /// An intake that has taken one event, so that it knows its endpoint.
    ///
    /// # Panics
    ///
    /// When the intake does not accept the request.
    #[must_use]
    pub fn new(shape: Shape, payload_bytes: usize) -> Self {
        let store = Arc::new(MemoryStore::new());
        let config = EndpointConfig::default();
        let (endpoint, key) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
        let _created = at_once(store.create(endpoint.clone())).expect("the store is new");
        let payload = Payload::new(shape, payload_bytes, 1);
        let authorization = HeaderValue::try_from(format!("Bearer {}", key.expose()));
        let mut fixture = Self {
            ingest: Ingest::new(store.clone(), store.clone()),
            store,
            path: format!("/api/v1/webhook/{}", endpoint.slug),
            endpoint,
            key,
            authorization: authorization.expect("a key is visible ASCII"),
            content_length: HeaderValue::from(payload.as_bytes().len()),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        };
        assert_eq!(fixture.call(fixture.request()), StatusCode::ACCEPTED);
        fixture
    }

    /// A request as a server hands it over: the body in one piece, in the server's own buffer.
    #[must_use]
    pub fn request(&self) -> Request<Full<Bytes>> {
        Request::post(self.path.as_str())
            .header(HOST, HeaderValue::from_static("hooks.acme.example"))
            .header(USER_AGENT, HeaderValue::from_static("ploy-webhooks-benches"))
            .header(ACCEPT, HeaderValue::from_static("*/*"))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_LENGTH, self.content_length.clone())
            .body(Full::new(self.payload.clone()))
            .expect("the path and the headers are well-formed")
    }

    /// Calls the intake.
    pub fn call(&mut self, request: Request<Full<Bytes>>) -> StatusCode {
        match at_once(self.ingest.call(request)) {
            Ok(response) => response.status(),
        }
    }

    /// Does the part so many times, and says how long that took.
    ///
    /// # Panics
    ///
    /// When an event is not stored: a bench of refusals says nothing.
    pub fn time(&mut self, part: Part, times: usize) -> Duration {
        match part {
            Part::Call => timed(times, || {
                let status = self.call(self.request());
                assert_eq!(status, StatusCode::ACCEPTED);
            }),
            Part::Request => timed(times, || self.request()),
            Part::Check => timed(times, || {
                let text = std::str::from_utf8(black_box(&self.payload)).expect("it is text");
                serde_json::from_str::<IgnoredAny>(text).expect("it is JSON")
            }),
            Part::Digest => timed(times, || Sha256::digest(black_box(self.key.expose()))),
            Part::Append => {
                let mut events = self.events(times);
                timed(times, || {
                    let event = events.pop().expect("one for each time");
                    let appended = at_once(MemoryStore::append(&self.store, event));
                    assert!(matches!(appended, Ok(Appended::Stored)));
                })
            }
            Part::Copy => {
                let mut copies = Vec::with_capacity(times);
                timed(times, || copies.push(self.payload.to_vec()))
            }
        }
    }

    /// Events that are ready for the store; the last is the oldest.
    fn events(&self, count: usize) -> Vec<NewEvent> {
        let now = SystemClock.now();
        let fence = Fence { endpoint: self.endpoint.id, checked_at: self.endpoint.revision };
        let event = || NewEvent {
            fence: Some(fence),
            ..NewEvent::published(EventId::mint(now), self.endpoint.workspace, self.payload.clone())
        };
        let mut events: Vec<_> = std::iter::repeat_with(event).take(count).collect();
        events.reverse();
        events
    }
}

/// How many calls a store takes before a new one is begun: 16 MiB of payloads, so that what is
/// measured is neither a cache that fits everything nor a machine that runs out of memory.
#[must_use]
pub fn calls_a_store(payload_bytes: usize) -> usize {
    ((16 << 20) / payload_bytes).clamp(1, 10_000)
}

/// Lets the allocator keep what it is given back, up to 64 MiB. Otherwise a new store after an
/// old one measures how the kernel takes memory away and gives it back, zeroed.
///
/// glibc raises its threshold to twice the largest block that it was given back.
pub fn keep_freed_memory() {
    drop(black_box(Vec::<u8>::with_capacity(31 << 20)));
}

fn timed<T>(times: usize, mut work: impl FnMut() -> T) -> Duration {
    let begin = Instant::now();
    for _ in 0..times {
        black_box(work());
    }
    begin.elapsed()
}

fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the memory store answers at once"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_can_be_done_on_one_store() {
        for shape in [Shape::Flat, Shape::Nested] {
            let mut fixture = Fixture::new(shape, 1_024);
            for part in Part::ALL {
                assert!(fixture.time(part, 3) > Duration::ZERO, "{part:?}");
            }
        }
    }
}
