//! The program as a process, and its management API.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::http::{Answer, Connection, Request};

const ROOT_TOKEN: &str = "a-root-token-for-tests-of-32-or-more-characters";
/// The base64 of 32 bytes.
const MASTER_KEY: &str = "YS1tYXN0ZXIta2V5LWZvci10ZXN0cy1vZi0zMi1ieXQ=";

/// Where the server keeps its events.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "tests name the one they mean")]
pub enum Store<'a> {
    /// Nowhere but in memory.
    Memory,
    /// In a file of this folder.
    Sqlite(&'a Path),
    /// On the engine with this URL.
    At(&'a str),
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    process: Child,
    address: SocketAddr,
}

/// An endpoint and what opens it.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "tests take it apart")]
pub struct Endpoint {
    /// Its id.
    pub id: String,
    /// The path of its ingest address.
    pub path: String,
    /// Its key.
    pub key: String,
}

impl Server {
    /// Starts `program` on that store, with these variables and no others in its environment, and
    /// returns when it listens.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start(program: &str, store: Store<'_>, variables: &[(&str, &str)]) -> Self {
        Self::spawn(Command::new(program), store, variables)
    }

    /// As [`start`](Self::start), by a shell script that ends in the program.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start_script(script: &Path, store: Store<'_>, variables: &[(&str, &str)]) -> Self {
        let mut shell = Command::new("bash");
        shell.arg(script);
        Self::spawn(shell, store, variables)
    }

    fn spawn(mut command: Command, store: Store<'_>, variables: &[(&str, &str)]) -> Self {
        let store = match store {
            Store::Memory => "memory:".to_owned(),
            Store::Sqlite(folder) => format!("sqlite:{}", folder.join("ploy.db").display()),
            Store::At(url) => url.to_owned(),
        };
        command.args(["serve", "--listen", "127.0.0.1:0", "--store", &store]);
        // Nothing of this process's environment, where a developer may have a PLOY_… set. The
        // path remains, by which a script finds what it calls.
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        // On an engine it would be a file of the folder that the tests are run in.
        command.env("PLOY_MASTER_KEY", MASTER_KEY);
        for (name, value) in variables {
            command.env(name, value);
        }
        let mut process = command
            .env("PLOY_ROOT_TOKEN", ROOT_TOKEN)
            .env("PLOY_LOG", "error")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
        let address = loop {
            let mut line = String::new();
            let read = output.read_line(&mut line).expect("the program prints text");
            assert!(read > 0, "the program ended: {:?}", process.wait());
            if let Some((_, address)) = line.split_once("listening on http://") {
                break address.trim().parse().expect("an address");
            }
        };
        // What it prints later goes nowhere, and must not block it.
        std::thread::spawn(move || output.read_to_end(&mut Vec::new()));
        Self { process, address }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A new connection to it.
    ///
    /// # Panics
    ///
    /// When it does not listen.
    #[must_use]
    pub fn connect(&self) -> Connection {
        Connection::open(self.address).expect("the server listens")
    }

    /// `SIGKILL`, and its end.
    ///
    /// # Panics
    ///
    /// When the process cannot be waited for.
    pub fn kill(mut self) {
        self.process.kill().expect("the process can be killed");
        self.process.wait().expect("the process ends");
    }

    /// `SIGTERM`, and the exit code.
    ///
    /// # Panics
    ///
    /// When the process cannot be waited for.
    #[must_use]
    pub fn stop(mut self) -> Option<i32> {
        let _ = kill_process(self.pid(), Signal::TERM);
        self.process.wait().expect("the process ends").code()
    }

    /// How much memory it holds now, in bytes.
    ///
    /// # Panics
    ///
    /// When `/proc` does not tell.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))
            .expect("the process is there");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kibibytes.and_then(|text| text.parse::<u64>().ok()).expect("a size in kB") * 1_024
    }

    fn pid(&self) -> Pid {
        let id = i32::try_from(self.process.id()).expect("a process id");
        Pid::from_raw(id).expect("a process id is not zero")
    }

    /// Calls the management API, with the root token.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    #[must_use]
    pub fn manage(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let mut request = Request::new(method, &format!("/api/v1{path}")).bearer(ROOT_TOKEN);
        if let Some(body) = body {
            request = request.json(body.to_string());
        }
        self.connect().send(&request).expect("the API answers")
    }

    /// Makes an endpoint, with these settings beside its description.
    ///
    /// # Panics
    ///
    /// When it is not made.
    #[must_use]
    pub fn endpoint(&self, settings: &Value) -> Endpoint {
        let mut body = json!({"description": "under test"});
        if let (Some(body), Some(settings)) = (body.as_object_mut(), settings.as_object()) {
            body.extend(settings.clone());
        }
        let answer = self.manage("POST", "/endpoints", Some(&body));
        assert_eq!(answer.status, 201, "{}", answer.json());
        Endpoint {
            id: answer.string("id"),
            path: format!("/api/v1/webhook/{}", answer.string("slug")),
            key: answer.string("api_key"),
        }
    }

    /// Everything that a list of the management API has, page after page.
    ///
    /// # Panics
    ///
    /// When it cannot be read.
    #[must_use]
    pub fn list(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let separator = if path.contains('?') { '&' } else { '?' };
            let page = self.manage("GET", &format!("{path}{separator}limit=200{cursor}"), None);
            assert_eq!(page.status, 200, "{}", page.json());
            let mut page = page.json();
            match page["data"].take() {
                Value::Array(data) => items.extend(data),
                other => panic!("a list is {other}"),
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    /// Every event of the endpoint: its id and the bytes that are kept.
    ///
    /// # Panics
    ///
    /// When they cannot be read.
    #[must_use]
    pub fn events(&self, endpoint: &Endpoint) -> Vec<(String, Vec<u8>)> {
        let listed = self.list(&format!("/events?endpoint={}", endpoint.id));
        let read = |event: Value| {
            let id = event["id"].as_str().expect("an id").to_owned();
            let payload = self.manage("GET", &format!("/events/{id}/payload"), None);
            assert_eq!(payload.status, 200);
            (id, payload.body)
        };
        listed.into_iter().map(read).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Endpoint {
    /// A request that sends it this event.
    #[must_use]
    pub fn event(&self, payload: impl Into<Vec<u8>>) -> Request {
        Request::new("POST", &self.path).bearer(&self.key).json(payload)
    }
}
