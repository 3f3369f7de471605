//! The HTTP client: one request, its bounded answer, and in words what became of it where there is
//! none.
//!
//! Everything that is sent is sent by [`Client::send`]: where to is judged by the
//! [`AddressPolicy`](crate::AddressPolicy), how long it takes and how much is read of the answer is
//! bounded, and a redirect is an answer like any other. Connections are used again, by HTTP/1.1
//! alone.

mod failure;
mod signed;
#[cfg(test)]
mod tests;
pub(crate) mod timings;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use hyper_util::client::legacy::connect::HttpInfo;
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Body, Method, Response, StatusCode, Url};
use tokio::time::{Instant, timeout};

use self::timings::{Timings, Watch};
use crate::address::PolicyResolver;
use crate::settings::{ClientError, HttpSettings};

pub use self::failure::FailureClass;
pub(crate) use self::failure::NoAnswer;
pub(crate) use self::signed::Message;

/// For how long a connection is kept for the next request. Servers commonly close theirs after
/// five seconds, and a request that is sent at that moment is lost.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// How long the body of what is no success is waited for: what it means is known without.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends requests to whatever URL its policy lets it.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    settings: HttpSettings,
}

/// What is sent. It is not printed: there may be secrets in all of it.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    /// Beside `host`, `content-length`, `accept` and `user-agent`, which are there anyway.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// How long all of it may take, the body of the answer included.
    pub(crate) time_limit: Duration,
    /// How much is read of a success.
    pub(crate) answer_bytes_max: usize,
    /// How much is read of any other answer.
    pub(crate) refusal_bytes_max: usize,
}

/// An answer, whatever it says.
///
/// An answer that is no success is one all the same where its body breaks off, or does not come
/// within five seconds: then there is as much of the body as came.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// A hundred at most, and no more than 400 KiB with the status line: hyper's bounds.
    pub(crate) headers: HeaderMap,
    /// No longer than was asked for.
    pub(crate) body: Bytes,
    /// Whether there is less of the body than was meant to be.
    pub(crate) is_cut: bool,
    pub(crate) timings: Timings,
    /// Who answered.
    pub(crate) peer: Option<SocketAddr>,
}

/// A request that is under way.
struct Exchange<'a> {
    client: &'a Client,
    /// Where to, for what is said of a failure.
    url: Url,
    time_limit: Duration,
    begun: Instant,
    first_byte: Option<Duration>,
}

impl Client {
    pub(crate) fn new(settings: HttpSettings) -> Result<Self, ClientError> {
        let HttpSettings { addresses, lookup, .. } = &settings;
        if settings.proxy_from_environment && !addresses.is_anywhere() {
            return Err(ClientError::ProxyBesidePolicy);
        }
        let builder = reqwest::Client::builder()
            .user_agent(concat!("ploy-webhooks/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http1_only()
            .dns_resolver(PolicyResolver::new(lookup.clone(), addresses.clone()))
            .connector_layer(Watch)
            // What is signed for one receiver is not carried on to another, and where it would be
            // carried to has not been judged.
            .redirect(Policy::none());
        let builder = if settings.proxy_from_environment { builder } else { builder.no_proxy() };
        Ok(Self { http: builder.build()?, settings })
    }

    pub(crate) const fn settings(&self) -> &HttpSettings {
        &self.settings
    }

    /// Sends it once, and reads the answer. Nothing is connected to that the policy refuses.
    ///
    /// When the future is dropped, the connection is closed.
    pub(crate) async fn send(&self, request: Request) -> Result<Answer, NoAnswer> {
        let exchange = Exchange {
            client: self,
            url: request.url.clone(),
            time_limit: request.time_limit,
            begun: Instant::now(),
            first_byte: None,
        };
        timings::watched(exchange.run(request)).await
    }
}

impl Exchange<'_> {
    async fn run(mut self, request: Request) -> Result<Answer, NoAnswer> {
        let judged = self.client.settings.addresses.check_url(&request.url);
        judged.map_err(|refused| self.refused(refused))?;
        let (answer_bytes_max, refusal_bytes_max) =
            (request.answer_bytes_max, request.refusal_bytes_max);

        let sent = timeout(self.time_limit, self.client.http.execute(request.into())).await;
        let mut response =
            sent.map_err(|_| self.too_late())?.map_err(|error| self.failed(error))?;
        self.first_byte = Some(self.begun.elapsed());

        let status = response.status();
        let bytes_max = if status.is_success() { answer_bytes_max } else { refusal_bytes_max };
        let (body, is_cut) = self.body(&mut response, bytes_max).await?;
        let timings = self.timings();
        let peer = response.remote_addr();
        let headers = std::mem::take(response.headers_mut());
        Ok(Answer { status, headers, body: body.into(), is_cut, timings, peer })
    }

    /// The body, and whether it is cut off.
    async fn body(
        &self,
        response: &mut Response,
        bytes_max: usize,
    ) -> Result<(Vec<u8>, bool), NoAnswer> {
        if let Some(connection) = response.extensions().get::<HttpInfo>() {
            timings::answered_over(connection.local_addr());
        }
        let is_success = response.status().is_success();
        let time_left = self.time_limit.saturating_sub(self.begun.elapsed());
        let time_left = if is_success { time_left } else { time_left.min(REFUSAL_TIMEOUT) };
        let mut body = Vec::new();
        match timeout(time_left, read(response, bytes_max, &mut body)).await {
            Ok(Ok(is_cut)) => Ok((body, is_cut)),
            // What it means is known, and what was said until then is said.
            _ if !is_success => Ok((body, true)),
            Ok(Err(error)) => Err(self.failed(error)),
            Err(_) => Err(self.too_late()),
        }
    }

    fn timings(&self) -> Timings {
        Timings::now(self.begun, self.first_byte)
    }
}

impl From<Request> for reqwest::Request {
    fn from(request: Request) -> Self {
        let mut asked = Self::new(request.method, request.url);
        *asked.headers_mut() = request.headers;
        *asked.body_mut() = Some(Body::from(request.body));
        asked
    }
}

/// Reads the body as far as that. Whether there is more of it; then its connection is not used
/// again.
async fn read(
    response: &mut Response,
    bytes_max: usize,
    body: &mut Vec<u8>,
) -> Result<bool, reqwest::Error> {
    while let Some(chunk) = response.chunk().await? {
        let room = bytes_max - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Ok(true);
        }
    }
    Ok(false)
}
