//! Engines to send to: one that answers as it is told, and sockets for those that misbehave.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use http::HeaderMap;
use ploy_webhooks::trigger::Job;
use ploy_webhooks::{
    Clock, Event, EventId, Lease, LeasedRun, NewEvent, RunId, SystemClock, Trigger, WorkspaceId,
};
use ploy_webhooks_delivery::{HttpRunner, HttpSettings, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Whether the reference implementation takes it.
    pub(crate) fn verifies(&self, secret: &str) -> bool {
        let receiver = standardwebhooks::Webhook::new(secret).unwrap();
        // It compares no more than both signatures have.
        let is_whole = self.header("webhook-signature").split(' ').all(|one| one.len() == 47);
        is_whole && receiver.verify(&self.body, &self.headers).is_ok()
    }
}

/// An engine that speaks HTTP.
pub(crate) struct Engine {
    pub(crate) address: SocketAddr,
    received: mpsc::UnboundedReceiver<Received>,
}

impl Engine {
    /// One that answers every request so.
    pub(crate) async fn start(
        answer: impl Fn(&Received) -> Response + Clone + Send + Sync + 'static,
    ) -> Self {
        let (tell, received) = mpsc::unbounded_channel();
        let handle = async move |request: Request| {
            let (head, body) = request.into_parts();
            let received = Received {
                method: head.method.to_string(),
                path: head.uri.to_string(),
                headers: head.headers,
                body: axum::body::to_bytes(body, usize::MAX).await.unwrap().into(),
            };
            let response = answer(&received);
            // The test may have seen enough.
            let _ = tell.send(received);
            response
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(handle);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, received }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/run", self.address)
    }

    /// The next request.
    pub(crate) async fn received(&mut self) -> Received {
        soon(self.received.recv()).await.expect("the engine is there")
    }

    /// A request that has come already.
    pub(crate) fn has_received(&mut self) -> Option<Received> {
        self.received.try_recv().ok()
    }
}

pub(crate) fn answer(status: u16, body: &'static str) -> Response {
    Response::builder().status(status).body(body.into()).unwrap()
}

/// An engine of which each connection is served so; its URL.
pub(crate) async fn socket<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(serve(connection));
        }
    });
    format!("http://{address}/run")
}

/// An engine that reads a request, says this, and closes.
pub(crate) async fn says(bytes: impl Into<Vec<u8>>) -> String {
    let bytes = bytes.into();
    socket(move |mut connection| {
        let bytes = bytes.clone();
        async move {
            read_request(&mut connection).await;
            connection.write_all(&bytes).await.unwrap();
        }
    })
    .await
}

/// Reads a request to its end.
pub(crate) async fn read_request(connection: &mut TcpStream) {
    let mut request = Vec::new();
    loop {
        connection.read_buf(&mut request).await.unwrap();
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .expect("requests are sent in one piece");
        if body.len() >= length.parse().unwrap() {
            return;
        }
    }
}

/// The first attempt of a run of the Ploybook `page`.
pub(crate) fn job(payload: &str) -> Job {
    let now = SystemClock.now();
    let event =
        NewEvent::published(EventId::mint(now), WorkspaceId::DEFAULT, payload.to_owned().into());
    let leased = LeasedRun {
        lease: Lease { run: RunId::mint(now), attempt: NonZeroU32::MIN, place: 0 },
        is_after_loss: false,
        trigger: Trigger::ploybook("page".parse().unwrap()),
        event: Event::from(event),
    };
    Job::new(leased, Duration::from_secs(30))
}

/// A runner that sends there, unsigned.
pub(crate) fn runner_to(url: &str) -> HttpRunner {
    HttpRunner::to(Target::at(url).unwrap(), HttpSettings::default()).unwrap()
}

/// Whatever is awaited in a test comes, or never does.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(30), future).await.expect("it should have come to that")
}
