//! Where a request goes: the intake on the short way, everything else through the router.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::Router;
use axum::routing::future::RouteFuture;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Either;
use hyper::body::Incoming;
use ploy_webhooks::Ingest;
use ploy_webhooks::ingest::{
    Outage, Refusal, ResponseBody, ResponseFuture, SourceAddress, TrustedProxies,
};
use ploy_webhooks::store::StoreErrorKind;
use tower::Service;
use tracing::Level;

use super::runs::Runner;
use crate::log::chain;
use crate::store::Store;

/// The pipeline over a store that is chosen at the start.
pub(super) type Intake = Ingest<Arc<dyn Store>, Arc<dyn Store>, Runner>;
type Body = Either<ResponseBody, axum::body::Body>;

/// What is behind every connection.
#[derive(Clone, Debug)]
pub(super) struct Front {
    ingest: Intake,
    router: Router,
    proxies: Option<Arc<TrustedProxies>>,
}

/// The service of one connection.
#[derive(Debug)]
pub(super) struct ConnectionService {
    front: Front,
    peer: IpAddr,
}

impl Front {
    pub(super) fn new(ingest: Intake, router: Router, proxies: Option<TrustedProxies>) -> Self {
        Self { ingest, router, proxies: proxies.map(Arc::new) }
    }

    fn source(&self, peer: IpAddr, headers: &HeaderMap) -> Option<SourceAddress> {
        let source = match &self.proxies {
            Some(proxies) => proxies.source(peer, headers)?,
            None => peer,
        };
        Some(SourceAddress(source))
    }

    pub(super) fn for_peer(&self, peer: IpAddr) -> ConnectionService {
        ConnectionService { front: self.clone(), peer }
    }
}

impl hyper::service::Service<Request<Incoming>> for ConnectionService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, mut request: Request<Incoming>) -> Answer {
        let line = tracing::enabled!(Level::DEBUG).then(|| Box::new(Line::of(&request)));
        let pending = if is_for_the_intake(request.uri().path()) {
            if let Some(source) = self.front.source(self.peer, request.headers()) {
                request.extensions_mut().insert(source);
            }
            Pending::Ingest(self.front.ingest.clone().call(request))
        } else {
            Pending::Router(Box::pin(self.front.router.clone().call(request)))
        };
        Answer { pending, line }
    }
}

/// `/api/v1/webhook/{slug}`, and what is so near to it that it deserves the intake's answer.
fn is_for_the_intake(path: &str) -> bool {
    path.strip_prefix("/api/v1/webhook").is_some_and(|rest| {
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        rest.is_empty() || rest.strip_prefix('/').is_some_and(|slug| !slug.contains('/'))
    })
}

/// The answer to a request, on its way.
pub(super) struct Answer {
    pending: Pending,
    line: Option<Box<Line>>,
}

enum Pending {
    Ingest(ResponseFuture),
    Router(Pin<Box<RouteFuture<Infallible>>>),
}

impl Future for Answer {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = match &mut self.pending {
            Pending::Ingest(answer) => {
                let Ok(response) = ready!(Pin::new(answer).poll(cx));
                if response.status() == StatusCode::SERVICE_UNAVAILABLE {
                    log_outage(&response);
                }
                response.map(Either::Left)
            }
            Pending::Router(answer) => {
                let Ok(response) = ready!(answer.as_mut().poll(cx));
                response.map(Either::Right)
            }
        };
        if let Some(line) = self.line.take() {
            line.log(response.status());
        }
        Poll::Ready(Ok(response))
    }
}

/// The sender is told little; the operator is told why. What senders can bring about at will is
/// said at debug only: it must not fill the log.
fn log_outage(response: &Response<ResponseBody>) {
    match response.extensions().get() {
        Some(Refusal::Unavailable { outage: Outage::Store(error), .. })
            if error.kind() != StoreErrorKind::Busy =>
        {
            tracing::warn!(error = chain(error), "an event could not be stored");
        }
        Some(Refusal::Unavailable { outage: outage @ Outage::StoreTooSlow, .. }) => {
            tracing::warn!(error = %outage, "an event could not be stored");
        }
        Some(Refusal::Unavailable { outage: outage @ Outage::Secrets(_), .. }) => {
            tracing::warn!(error = chain(outage), "a signature could not be verified");
        }
        Some(Refusal::Unavailable { outage, .. }) => {
            tracing::debug!(error = %outage, "an event was turned away");
        }
        _ => {}
    }
}

/// What is logged of a request: no query, no header, no body.
#[derive(Debug)]
struct Line {
    method: Method,
    path: String,
    began: Instant,
}

impl Line {
    fn of(request: &Request<Incoming>) -> Self {
        Self {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            began: Instant::now(),
        }
    }

    fn log(&self, status: StatusCode) {
        tracing::debug!(
            method = %self.method,
            path = self.path,
            status = status.as_u16(),
            micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            "request"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::is_for_the_intake;

    #[test]
    fn the_intake_has_one_segment() {
        for path in ["", "/", "/a", "/a/", "//"] {
            assert!(is_for_the_intake(&format!("/api/v1/webhook{path}")), "{path}");
        }
        for path in ["s", "s/a", "/a/b", "/a/b/", "///"] {
            assert!(!is_for_the_intake(&format!("/api/v1/webhook{path}")), "{path}");
        }
        assert!(!is_for_the_intake("/api/v1/endpoints"));
    }
}
