//! A receiver on a real socket, which answers as it is told and remembers what it got.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode, Uri};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("visible ASCII"))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) struct Says {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
    /// After how long, by the clock of the test.
    pub(crate) after: Duration,
}

impl Says {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new(), after: Duration::ZERO }
    }
}

#[derive(Debug)]
struct Desk {
    got: Mutex<Vec<Got>>,
    next: Mutex<VecDeque<Says>>,
    otherwise: Mutex<Says>,
    count: watch::Sender<usize>,
}

#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    desk: Arc<Desk>,
    pub(crate) address: SocketAddr,
}

impl Receiver {
    /// One that takes everything.
    pub(crate) async fn start() -> Self {
        let desk = Arc::new(Desk {
            got: Mutex::default(),
            next: Mutex::default(),
            otherwise: Mutex::new(Says::status(200)),
            count: watch::Sender::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let app = Router::new().fallback(take).with_state(desk.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { desk, address }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Has it answer so to the next requests, one each.
    pub(crate) fn next(&self, says: impl IntoIterator<Item = Says>) {
        self.desk.next.lock().expect("no panics").extend(says);
    }

    /// Has it answer so to all others.
    pub(crate) fn always(&self, says: Says) {
        *self.desk.otherwise.lock().expect("no panics") = says;
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.desk.got.lock().expect("no panics").clone()
    }

    pub(crate) fn count(&self) -> usize {
        *self.desk.count.borrow()
    }

    /// Waits until it has got so many.
    pub(crate) async fn has_got(&self, count: usize) -> Vec<Got> {
        let mut counts = self.desk.count.subscribe();
        counts.wait_for(|got| *got >= count).await.expect("the receiver goes on");
        self.got()
    }
}

async fn take(
    State(desk): State<Arc<Desk>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    desk.got.lock().expect("no panics").push(Got { method, uri, headers, body });
    let says = desk.next.lock().expect("no panics").pop_front();
    let says = says.unwrap_or_else(|| desk.otherwise.lock().expect("no panics").clone());
    desk.count.send_modify(|count| *count += 1);
    tokio::time::sleep(says.after).await;
    let mut response = says.body.into_response();
    *response.status_mut() = StatusCode::from_u16(says.status).expect("a status");
    for (name, value) in says.headers {
        response.headers_mut().insert(name, value.parse().expect("a header"));
    }
    response
}
