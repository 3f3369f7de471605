//! Who receives at a destination in the tests.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::harness::{Server, read_request, write};

/// How long it is waited for what ought to happen before a test says that it does not.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that delivers to this machine, and on which runs stay as they are.
pub(crate) async fn delivering_here() -> Server {
    let settings = [("PLOY_DELIVERY_ALLOW", "127.0.0.0/8"), ("PLOY_DISPATCH", "false")];
    Server::in_memory_with(&settings).await
}

/// Receives requests, and answers when the test says so.
pub(crate) struct Receiver {
    pub(crate) url: String,
    listener: TcpListener,
}

/// A request that waits for its answer.
pub(crate) struct Received {
    head: String,
    pub(crate) body: Vec<u8>,
    connection: TcpStream,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/in", listener.local_addr().unwrap());
        Self { url, listener }
    }

    /// Waits for a request.
    pub(crate) async fn received(&self) -> Received {
        let next = async {
            let (mut connection, _) = self.listener.accept().await.unwrap();
            let (head, body) = read_request(&mut connection).await;
            Received { head, body, connection }
        };
        timeout(PATIENCE, next).await.expect("something is received")
    }
}

impl Received {
    /// Method and path.
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap().trim_end_matches(" HTTP/1.1")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) async fn answer(mut self, status: &str, body: &str) {
        self.reply(status, body).await;
    }

    /// Answers, and keeps what was received.
    pub(crate) async fn reply(&mut self, status: &str, body: &str) {
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        write(&mut self.connection, &answer).await;
    }
}
