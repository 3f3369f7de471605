//! The servers: each a process of its own on a core of its own, started and asked by pipes.
//!
//! A server prints where it is as one line of JSON. After that it answers each line that it is
//! sent with the CPU time that it has used, in nanoseconds, and ends when its input ends: none
//! outlives who started it.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, thread};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use ploy_webhooks::store::{Created, EndpointStore, EventStore, MemoryStore};
use ploy_webhooks::{Clock, Endpoint, EndpointConfig, Ingest, Secret, SystemClock, WorkspaceId};
use ploy_webhooks_sqlite::{SqliteSettings, SqliteStore};
use serde::Serialize;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::load::Target;
use crate::{cpu, folder};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "benches go through all of them")]
pub enum Kind {
    /// A handler that reads the body and answers 202: what everything is compared with.
    Bare,
    /// The intake over the memory store.
    Memory,
    /// The intake over SQLite, each commit flushed.
    Sqlite,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bare => "bare",
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
        })
    }
}

/// What a server process is told.
#[derive(Clone, Debug, Args)]
#[expect(clippy::exhaustive_structs, reason = "arguments of a program")]
pub struct Serve {
    /// Which server.
    #[arg(long)]
    pub kind: Kind,
    /// The core that it keeps to; without, the system decides.
    #[arg(long)]
    pub core: Option<usize>,
}

/// A server process. Ends when this is dropped, and its data with it.
#[derive(Debug)]
pub struct Server {
    process: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    target: Target,
    _data: TempDir,
}

impl Server {
    /// Starts this program again, as a server.
    ///
    /// # Errors
    ///
    /// When that fails.
    pub fn start(Serve { kind, core }: Serve) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let data = folder::beside_program()?;
        let mut command = Command::new(program);
        command.args(["serve", "--kind", &kind.to_string()]);
        if let Some(core) = core {
            command.args(["--core", &core.to_string()]);
        }
        let mut process =
            command.current_dir(&data).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let questions = process.stdin.take();
        let mut answers = BufReader::new(process.stdout.take().expect("the output is a pipe"));
        let target = serde_json::from_str(&line_of(&mut answers)?)?;
        Ok(Self { process, questions, answers, target, _data: data })
    }

    /// Where it is.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// The CPU time that it has used so far.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn cpu_used(&mut self) -> io::Result<Duration> {
        let questions = self.questions.as_mut().expect("open until this is dropped");
        questions.write_all(b"\n")?;
        let nanos = line_of(&mut self.answers)?;
        let nanos = nanos.trim().parse().map_err(io::Error::other)?;
        Ok(Duration::from_nanos(nanos))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its input ends it; where it hangs, the signal does.
        self.questions = None;
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}

fn line_of(answers: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    match answers.read_line(&mut line)? {
        0 => Err(io::Error::other("the server has ended")),
        _ => Ok(line),
    }
}

/// Is a server, until its input ends.
///
/// # Errors
///
/// When it cannot start.
pub fn serve(Serve { kind, core }: Serve) -> io::Result<()> {
    if let Some(core) = core {
        cpu::pin(core)?;
    }
    // As a server would have it by default: a worker for each core that it may use.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (app, mut target) = match kind {
            Kind::Bare => bare(),
            Kind::Memory => {
                let store = MemoryStore::with_parts(MEMORY_BYTES_MAX, Arc::new(SystemClock));
                intake(Arc::new(store)).await?
            }
            Kind::Sqlite => {
                let settings = SqliteSettings::at("bench.sqlite");
                let store = SqliteStore::open(settings).await.map_err(io::Error::other)?;
                intake(Arc::new(store)).await?
            }
        };
        let listener = TcpListener::bind(target.address).await?;
        target.address = listener.local_addr()?;
        answer_questions(&target)?;
        axum::serve(listener, app).await
    })
}

/// More than a run sends: what is measured is not how a full store refuses.
const MEMORY_BYTES_MAX: u64 = 16 << 30;

fn bare() -> (Router, Target) {
    async fn accept(_body: Bytes) -> StatusCode {
        StatusCode::ACCEPTED
    }
    let target = target_of("bare", &Secret::mint_api_key());
    (Router::new().route(ROUTE, post(accept)), target)
}

async fn intake<S>(store: Arc<S>) -> io::Result<(Router, Target)>
where
    S: EventStore + EndpointStore,
{
    let config = EndpointConfig::default();
    let (endpoint, key) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
    let target = target_of(endpoint.slug.as_str(), &key);
    match store.create(endpoint).await.map_err(io::Error::other)? {
        Created::Created => {}
        Created::Taken => return Err(io::Error::other("the store is not empty")),
    }
    let ingest = Ingest::new(store.clone(), store);
    Ok((Router::new().route_service(ROUTE, ingest), target))
}

const ROUTE: &str = "/api/v1/webhook/{slug}";

fn target_of(slug: &str, key: &Secret) -> Target {
    Target {
        address: ([127, 0, 0, 1], 0).into(),
        path: ROUTE.replace("{slug}", slug),
        key: key.expose().to_owned(),
    }
}

fn answer_questions(target: &Target) -> io::Result<()> {
    println!("{}", serde_json::to_string(target)?);
    thread::Builder::new().spawn(|| {
        for _question in io::stdin().lines().map_while(Result::ok) {
            println!("{}", cpu::used().as_nanos());
        }
        std::process::exit(0)
    })?;
    Ok(())
}
