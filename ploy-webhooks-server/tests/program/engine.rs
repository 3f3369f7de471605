//! What carries runs out in the tests: an engine that is asked over HTTP, and small programs.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::harness::{read_request, write};

/// How long it is waited for what ought to happen before a test says that it does not.
const PATIENCE: Duration = Duration::from_secs(60);

/// An engine that answers when the test says so.
pub(crate) struct Engine {
    pub(crate) url: String,
    listener: TcpListener,
}

/// What the engine was asked, and waits for an answer.
pub(crate) struct Asked {
    pub(crate) head: String,
    pub(crate) body: Value,
    connection: TcpStream,
}

impl Engine {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/run", listener.local_addr().unwrap());
        Self { url, listener }
    }

    /// One that answers whatever it is asked with the name of the Ploybook, and its URL.
    pub(crate) async fn that_names_ploybooks() -> String {
        let engine = Self::start().await;
        let url = engine.url.clone();
        tokio::spawn(async move {
            loop {
                let asked = engine.next().await;
                let said = format!("did {}", asked.body["data"]["ploybook"].as_str().unwrap());
                asked.answer("200 OK", &said).await;
            }
        });
        url
    }

    /// Waits until it is asked.
    pub(crate) async fn asked(&self) -> Asked {
        timeout(PATIENCE, self.next()).await.expect("the engine is asked")
    }

    async fn next(&self) -> Asked {
        let (mut connection, _) = self.listener.accept().await.unwrap();
        let (head, body) = read_request(&mut connection).await;
        Asked { head, body: serde_json::from_slice(&body).unwrap(), connection }
    }

    /// The form of a Ploybook that is run by this engine.
    pub(crate) fn ploybook(&self, name: &str) -> Value {
        ploybook_at(&self.url, name)
    }
}

impl Asked {
    pub(crate) async fn answer(mut self, status: &str, body: &str) {
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        write(&mut self.connection, &answer).await;
    }

    /// Waits until whoever has asked has hung up.
    pub(crate) async fn hung_up(mut self) {
        // A reset is as good as an end.
        let read = timeout(PATIENCE, self.connection.read_u8()).await.expect("it hangs up");
        assert!(read.is_err(), "{read:?}");
    }
}

/// The form of a Ploybook that is run by the engine with that URL, once only.
pub(crate) fn ploybook_at(url: &str, name: &str) -> Value {
    json!({"name": name, "run": {"http": {"url": url}}, "retry": {"attempts_max": 1}})
}

/// The form of a Ploybook that is run by a program: this script for `sh`, kept in that folder.
/// The shell is named, so that the file is read and not executed: a child of another test that has
/// it open for a moment does no harm.
pub(crate) fn ploybook_by(script: &str, folder: &Path, name: &str) -> Value {
    let path = folder.join("program.sh");
    std::fs::write(&path, script).unwrap();
    json!({
        "name": name,
        "run": {"command": {"argv": ["/bin/sh", path]}},
        "retry": {"attempts_max": 1},
    })
}
