//! What the service answers with: its body, its future, and the answer to an accepted event.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::pipeline::Taken;
use crate::answer::{SuccessAnswer, SuccessStatus};
use crate::id::EventId;
use crate::verify::HandshakeReply;

/// An event that is stored: what the sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the answer has these two parts")]
pub struct Accepted {
    /// The event; the first one, where this one repeats it.
    pub id: EventId,
    /// Whether the event repeats one that was stored before.
    pub duplicate: bool,
}

/// What came of a request that was not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
#[expect(clippy::exhaustive_enums, reason = "callers act on each of these")]
pub enum Received {
    /// It was an event, and is stored.
    Event(Accepted),
    /// The sender, which has proved itself, asks something before it sends: it is to be told
    /// this. Nothing is stored.
    Handshake(HandshakeReply),
}

impl Received {
    /// The event, if it was one.
    #[must_use]
    pub const fn event(&self) -> Option<Accepted> {
        match self {
            Self::Event(accepted) => Some(*accepted),
            Self::Handshake(_) => None,
        }
    }
}

impl Accepted {
    /// The answer: 202 with the event's id, or what the endpoint says in its place.
    fn into_response(self, answer: Option<&SuccessAnswer>) -> Response<ResponseBody> {
        let status = answer.map_or(SuccessStatus::Accepted, |answer| answer.status);
        let body = match answer.and_then(|answer| answer.body.as_ref()) {
            Some(body) => Bytes::copy_from_slice(body.as_str().as_bytes()),
            None => self.body(),
        };
        respond(
            match status {
                SuccessStatus::Ok => StatusCode::OK,
                SuccessStatus::Accepted => StatusCode::ACCEPTED,
            },
            body,
        )
    }

    fn body(self) -> Bytes {
        let end: &[u8] = match self.duplicate {
            true => br#"","status":"accepted","duplicate":true}"#,
            false => br#"","status":"accepted"}"#,
        };
        // Exactly as large as it gets: `Bytes` takes such a vector over as it is.
        let mut body = Vec::with_capacity(br#"{"id":""#.len() + 30 + end.len());
        body.extend_from_slice(br#"{"id":""#);
        self.id.write_to(&mut body);
        body.extend_from_slice(end);
        Bytes::from(body)
    }
}

fn respond(status: StatusCode, body: Bytes) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::from(body));
    *response.status_mut() = status;
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.headers_mut() = headers;
    response
}

impl Taken {
    /// The answer by the contract.
    pub(super) fn into_response(self, version: http::Version) -> Response<ResponseBody> {
        let Self { outcome, trail } = self;
        let mut response = match outcome {
            Ok(Received::Event(accepted)) => {
                let endpoint = trail.endpoint.as_ref();
                let answer = endpoint.and_then(|endpoint| endpoint.config.answer.as_ref());
                accepted.into_response(answer)
            }
            Ok(Received::Handshake(reply)) => respond(reply.status, reply.body),
            Err(refusal) => refusal.into_response(version),
        };
        trail.rates.write_to(response.headers_mut());
        response
    }
}

/// The body of an answer: at most one piece, known in full.
#[derive(Debug, Default)]
pub struct ResponseBody(Option<Bytes>);

impl From<Bytes> for ResponseBody {
    fn from(bytes: Bytes) -> Self {
        Self(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// The future of an answer. Ready at once where the head of the request alone decides.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture(State);

type Running = Pin<Box<dyn Future<Output = Response<ResponseBody>> + Send>>;

enum State {
    Decided(Option<Box<Response<ResponseBody>>>),
    Running(Running),
}

impl ResponseFuture {
    pub(super) fn decided(response: Response<ResponseBody>) -> Self {
        Self(State::Decided(Some(Box::new(response))))
    }

    pub(super) fn running(
        future: impl Future<Output = Response<ResponseBody>> + Send + 'static,
    ) -> Self {
        Self(State::Running(Box::pin(future)))
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<ResponseBody>, Infallible>;

    /// # Panics
    ///
    /// When polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Decided(response) => {
                Poll::Ready(Ok(*response.take().expect("not polled after it was ready")))
            }
            State::Running(future) => future.as_mut().poll(cx).map(Ok),
        }
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
