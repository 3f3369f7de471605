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
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use ploy_webhooks::store::{Created, EndpointStore, EventStore, MemoryStore};
use ploy_webhooks::{Clock, Endpoint, EndpointConfig, Ingest, Secret, SystemClock, WorkspaceId};
use ploy_webhooks_engines::{Postgres, Redis};
use ploy_webhooks_postgres::{PostgresSettings, PostgresStore};
use ploy_webhooks_redis::{RedisSettings, RedisStore};
use ploy_webhooks_sqlite::{SqliteSettings, SqliteStore};
use serde::Serialize;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::engines::postgres::Inserts;
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
    /// A handler that reads the body, stores it by an INSERT in Postgres and answers 202: what an
    /// app does by hand.
    Insert,
    /// The intake over Postgres.
    Postgres,
    /// The intake over Redis, its log flushed before each answer.
    Redis,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bare => "bare",
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
            Self::Insert => "insert",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
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
    /// Where its database is, if it needs one.
    #[arg(long)]
    pub database: Option<String>,
}

/// The server of a database that a server needs. Gone, data and all, when this is dropped.
#[derive(Debug)]
enum Database {
    Postgres(Postgres),
    Redis(Redis),
}

impl Database {
    /// Starts the one that this kind needs, with durable settings. Where it runs is left to the
    /// system.
    fn start(kind: Kind) -> io::Result<Option<Self>> {
        let database = match kind {
            Kind::Bare | Kind::Memory | Kind::Sqlite => return Ok(None),
            Kind::Insert | Kind::Postgres => Self::Postgres(Postgres::start()),
            Kind::Redis => Self::Redis(Redis::start()),
        };
        folder::on_disk(match &database {
            Self::Postgres(server) => server.folder(),
            Self::Redis(server) => server.folder(),
        })?;
        Ok(Some(database))
    }

    fn url(&self) -> &str {
        match self {
            Self::Postgres(server) => server.url(),
            Self::Redis(server) => server.url(),
        }
    }
}

/// A server process. Ends when this is dropped, and its data with it.
#[derive(Debug)]
pub struct Server {
    process: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    target: Target,
    _data: TempDir,
    _database: Option<Database>,
}

impl Server {
    /// Starts this program again, as a server, and the database that it needs. The thread that
    /// does so must not be kept to a core: the database would be too.
    ///
    /// # Errors
    ///
    /// When that fails.
    pub fn start(kind: Kind, core: Option<usize>) -> io::Result<Self> {
        let database = Database::start(kind)?;
        let program = std::env::current_exe()?;
        let data = folder::beside_program()?;
        let mut command = Command::new(program);
        command.args(["serve", "--kind", &kind.to_string()]);
        if let Some(core) = core {
            command.args(["--core", &core.to_string()]);
        }
        if let Some(database) = &database {
            command.args(["--database", database.url()]);
        }
        let mut process =
            command.current_dir(&data).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let questions = process.stdin.take();
        let mut answers = BufReader::new(process.stdout.take().expect("the output is a pipe"));
        let target = serde_json::from_str(&line_of(&mut answers)?)?;
        Ok(Self { process, questions, answers, target, _data: data, _database: database })
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
pub fn serve(Serve { kind, core, database }: Serve) -> io::Result<()> {
    if let Some(core) = core {
        cpu::pin(core)?;
    }
    // As a server would have it by default: a worker for each core that it may use.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let database = database.unwrap_or_default();
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
            Kind::Insert => inserts(&database).await.map_err(io::Error::other)?,
            Kind::Postgres => {
                let settings = PostgresSettings::from_url(&database).map_err(io::Error::other)?;
                let store = PostgresStore::open(settings).await.map_err(io::Error::other)?;
                intake(Arc::new(store)).await?
            }
            Kind::Redis => {
                let settings = RedisSettings::at(database);
                let store = RedisStore::open(settings).await.map_err(io::Error::other)?;
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

async fn inserts(database: &str) -> sqlx::Result<(Router, Target)> {
    async fn insert(State(inserts): State<Arc<Inserts>>, body: Bytes) -> StatusCode {
        match inserts.insert(&body).await {
            Ok(()) => StatusCode::ACCEPTED,
            Err(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
    let inserts = Arc::new(Inserts::open(&database.parse()?, "by_hand").await?);
    let target = target_of("insert", &Secret::mint_api_key());
    Ok((Router::new().route(ROUTE, post(insert)).with_state(inserts), target))
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
