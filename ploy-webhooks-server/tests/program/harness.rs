//! A server as a child process, and a client for it.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::{Instant, sleep};

use crate::openapi::contract;

pub(crate) const ROOT_TOKEN: &str = "root-token-of-the-tests-0123456789";

/// The program with these arguments and nothing of this process's environment.
pub(crate) fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ploy-webhooks"));
    command
        .args(args)
        .env_clear()
        .kill_on_drop(true)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A server that listens.
pub(crate) struct Server {
    pub(crate) url: String,
    /// Goes through no proxy, whatever the environment says: the server is on this machine.
    pub(crate) http: reqwest::Client,
    /// What it printed before it listened.
    pub(crate) greeting: String,
    child: Child,
    logs: Lines<BufReader<ChildStderr>>,
}

/// An endpoint that was just made.
pub(crate) struct Endpoint {
    pub(crate) id: String,
    pub(crate) slug: String,
    pub(crate) key: String,
}

impl Server {
    /// In memory, with a root token that the tests know.
    pub(crate) async fn in_memory() -> Self {
        Self::in_memory_with(&[]).await
    }

    pub(crate) async fn in_memory_with(settings: &[(&str, &str)]) -> Self {
        let mut command = program(&["serve", "--listen", "127.0.0.1:0", "--store", "memory:"]);
        command.env("PLOY_ROOT_TOKEN", ROOT_TOKEN);
        command.envs(settings.iter().copied());
        Self::start(command).await
    }

    /// On a file in that folder, which outlives the server.
    pub(crate) async fn in_folder(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let mut command = program(&["serve", "--listen", "127.0.0.1:0"]);
        command.current_dir(folder).env("PLOY_ROOT_TOKEN", ROOT_TOKEN);
        command.envs(settings.iter().copied());
        Self::start(command).await
    }

    pub(crate) async fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut logs = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut greeting = String::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some(url) = line.strip_prefix("listening on ") {
                let url = url.to_owned();
                let http = reqwest::Client::builder().no_proxy().build().unwrap();
                return Self { url, http, greeting, child, logs };
            }
            greeting.push_str(&line);
            greeting.push('\n');
        }
        panic!("did not start: {:?}", logs.next_line().await);
    }

    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    pub(crate) fn ingest_url(&self, endpoint: &Endpoint) -> String {
        format!("{}/api/v1/webhook/{}", self.url, endpoint.slug)
    }

    /// Waits for a line of the log in which this stands.
    pub(crate) async fn log_line(&mut self, text: &str) -> String {
        loop {
            let line = self.logs.next_line().await.unwrap();
            let line = line.expect("the line is written before the server ends");
            if line.contains(text) {
                return line;
            }
        }
    }

    pub(crate) fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// What a terminal does at Ctrl-C.
    pub(crate) fn interrupt(&self) {
        self.signal(rustix::process::Signal::INT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) async fn exit_code(mut self) -> Option<i32> {
        self.child.wait().await.unwrap().code()
    }

    /// A call of the management API with the root token, which is held against the description of
    /// the API.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let request = self.request(method.clone(), path, body).bearer_auth(ROOT_TOKEN);
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.unwrap();
        // What is not described, a test may call to see that it is not there.
        if let Some(operation) = contract::operation(&method, &format!("/api/v1{path}")) {
            let fault = contract::fault(operation, status.as_u16(), &headers, &body);
            assert_eq!(fault, None, "{method} {path} does not answer as it is described");
        }
        (status, json_of(&headers, &body))
    }

    /// A request to the management API, yet without a token.
    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}/api/v1{path}", self.url));
        match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.call(Method::GET, path, None).await
    }

    /// A call that succeeds, and what it answers.
    pub(crate) async fn done(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    /// A call that is refused with that status, and why.
    pub(crate) async fn refused(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        with: u16,
    ) -> String {
        let (status, problem) = self.call(method, path, body).await;
        assert_eq!(status, with, "{path}: {problem}");
        problem["detail"].as_str().unwrap().to_owned()
    }

    /// The runs of an event, in order, once there are so many and each has ended.
    pub(crate) async fn ended(&self, event: &str, count: usize) -> Vec<Value> {
        let path = format!("/events/{event}");
        let has_ended = |run: &Value| {
            ["succeeded", "failed", "cancelled"].iter().any(|state| run["state"] == *state)
        };
        let event = self
            .until(&path, |event| {
                let runs = event["runs"].as_array().unwrap();
                runs.len() >= count && runs.iter().all(has_ended)
            })
            .await;
        let runs = event["runs"].as_array().unwrap();
        assert_eq!(runs.len(), count, "{event}");
        runs.clone()
    }

    /// The run, once it is in that state.
    pub(crate) async fn run_in(&self, id: &str, state: &str) -> Value {
        self.until(&format!("/runs/{id}"), |run| run["state"] == state).await
    }

    /// What is on record there, once it is so.
    pub(crate) async fn until(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let found = self.done(Method::GET, path, None).await;
            if is_so(&found) {
                return found;
            }
            assert!(Instant::now() < deadline, "still: {found}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// A command that talks to this server.
    pub(crate) async fn shell(&self, args: &[&str]) -> Output {
        let mut command = program(args);
        command.env("PLOY_URL", &self.url).env("PLOY_TOKEN", ROOT_TOKEN);
        command.output().await.unwrap()
    }

    /// What a command prints that succeeds.
    pub(crate) async fn printed(&self, args: &[&str]) -> String {
        let output = self.shell(args).await;
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {message}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) async fn create(&self, form: Value) -> Endpoint {
        let (status, made) = self.call(Method::POST, "/endpoints", Some(form)).await;
        assert_eq!(status, 201, "{made}");
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        Endpoint { id: text("id"), slug: text("slug"), key: text("api_key") }
    }

    pub(crate) async fn send(
        &self,
        endpoint: &Endpoint,
        key: &str,
        payload: &str,
    ) -> (StatusCode, Value) {
        let request = self
            .http
            .post(self.ingest_url(endpoint))
            .bearer_auth(key)
            .header("content-type", "application/json")
            .body(payload.to_owned());
        answer(request).await
    }

    /// Sends events that are accepted, and returns their ids.
    pub(crate) async fn accepted(&self, endpoint: &Endpoint, payloads: &[&str]) -> Vec<String> {
        let mut ids = Vec::new();
        for payload in payloads {
            let (status, answer) = self.send(endpoint, &endpoint.key, payload).await;
            assert_eq!(status, 202, "{answer}");
            ids.push(answer["id"].as_str().unwrap().to_owned());
        }
        ids
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }
}

/// Status and JSON of an answer.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let headers = response.headers().clone();
    (status, json_of(&headers, &response.bytes().await.unwrap()))
}

/// What an answer says; of lines, each that is not empty.
fn json_of(headers: &HeaderMap, body: &[u8]) -> Value {
    let is_lines = headers.get("content-type").is_some_and(|kind| kind == "application/x-ndjson");
    match body {
        [] => Value::Null,
        _ if is_lines => {
            let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            lines.map(|line| serde_json::from_slice::<Value>(line).unwrap()).collect()
        }
        _ => serde_json::from_slice(body).unwrap(),
    }
}

/// Sends text over a connection as it stands.
pub(crate) async fn write(connection: &mut TcpStream, text: &str) {
    connection.write_all(text.as_bytes()).await.unwrap();
}

/// Reads until this stands in what came, and returns all that came.
pub(crate) async fn read_until(connection: &mut TcpStream, text: &str) -> String {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(text) {
        let bytes = connection.read_buf(&mut read).await.unwrap();
        assert_ne!(bytes, 0, "closed after {:?}", String::from_utf8_lossy(&read));
    }
    String::from_utf8(read).unwrap()
}

/// Reads a request to the end of its body.
pub(crate) async fn read_request(connection: &mut TcpStream) -> (String, Vec<u8>) {
    let mut head = read_until(connection, "\r\n\r\n").await;
    let mut body = head.split_off(head.find("\r\n\r\n").unwrap() + 4).into_bytes();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
    });
    while body.len() < length.unwrap_or(0) {
        assert_ne!(connection.read_buf(&mut body).await.unwrap(), 0);
    }
    (head, body)
}

/// Reads until the server closes the connection.
pub(crate) async fn read_to_end(connection: &mut TcpStream) -> String {
    let mut read = String::new();
    connection.read_to_string(&mut read).await.unwrap();
    read
}
