//! Stores on servers of databases, in process: each beside what an app would write by hand, and
//! beside the most that the server takes at all.
//!
//! The server is a throwaway one with its own durable settings, on this machine, so it shares the
//! cores with the callers.

use std::io;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ploy_webhooks::store::StoreError;
use serde::Serialize;
use thiserror::Error;
use tokio::task::JoinError;

mod callers;
pub mod postgres;
mod redis;
mod report;
mod source;

pub use self::report::{CallersReport, Figures, LimitReport, Report, SubjectReport, Tried};

use self::postgres::PostgresBench;
use self::redis::RedisBench;
use self::report::Round;
use crate::report::show;

/// What is run.
#[derive(Clone, Debug, Args)]
#[expect(clippy::exhaustive_structs, reason = "arguments of a program")]
pub struct Options {
    /// Which database.
    #[arg(long, default_value = "postgres")]
    pub engine: Engine,
    /// How many callers wait for their answers at once.
    #[arg(long, value_delimiter = ',', default_value = "1,64,256")]
    pub callers: Vec<usize>,
    /// The size of each payload in bytes, at least 200.
    #[arg(long, default_value_t = 1024)]
    pub payload: usize,
    /// How often each is measured; they take turns.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// How long each measurement takes.
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// How long the callers run before a measurement.
    #[arg(long, default_value_t = 0.5)]
    pub warm_up_seconds: f64,
    /// Print everything as JSON.
    #[arg(long)]
    pub json: bool,
}

/// A database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "benches go through all of them")]
pub enum Engine {
    /// Postgres, with its default settings.
    Postgres,
    /// Redis, with its log flushed before each answer.
    Redis,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// By hand: a command for each event.
    Single,
    /// By hand: batches, and nobody who waits for an event of his own.
    Limit(Limit),
    /// The store.
    Store,
    /// The store, without its search index.
    StoreWithoutIndex,
}

/// A way to store as much as possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Limit {
    /// How a batch is sent.
    pub way: Way,
    /// How many events are sent at once.
    pub batch: usize,
    /// How many connections are kept busy.
    pub connections: usize,
}

/// How a batch is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "benches go through all of them")]
pub enum Way {
    /// In one round trip: for Postgres `INSERT … SELECT FROM unnest(…)`, for Redis a pipeline of
    /// `XADD`s.
    Batch,
    /// For Postgres alone: `COPY … FROM STDIN`, binary, in two round trips.
    Copy,
}

impl Limit {
    /// The same with as many events under way as there are callers.
    fn for_callers(self, callers: usize) -> Self {
        let connections = self.connections.min(callers);
        Self { connections, batch: self.batch.min(callers / connections), ..self }
    }
}

/// A database that a store is measured on.
pub(crate) trait Bench {
    /// What it is.
    fn version(&self) -> String;

    /// The ways to store that the fastest is looked for among.
    fn limits(&self) -> Vec<Limit>;

    /// What is measured for so many callers. What is written by hand with a command an event comes
    /// first.
    fn subjects(&self, fastest: Limit, callers: usize) -> Vec<(&'static str, Subject)>;

    /// Measures one subject once, on a database that holds nothing else.
    async fn measure(&self, subject: Subject, load: Load) -> Result<Figures, EnginesError>;
}

/// The names of the subjects that the search index is measured by.
pub(crate) const STORE: &str = "store";
pub(crate) const STORE_WITHOUT_INDEX: &str = "store, no search index";

/// Who calls, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) callers: usize,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// Why a run came to nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EnginesError {
    /// Nothing is asked for.
    #[error("at least one round and one caller are needed")]
    Empty,
    /// A folder or a process is not as it should be.
    #[error(transparent)]
    System(#[from] io::Error),
    /// Postgres refused what is done by hand.
    #[error("Postgres failed")]
    Postgres(#[from] sqlx::Error),
    /// Redis refused what is done by hand.
    #[error("Redis failed")]
    Redis(#[from] ::redis::RedisError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// An event was not stored.
    #[error("an event was not stored")]
    NotStored,
    /// A caller panicked.
    #[error("a caller panicked")]
    Caller(#[from] JoinError),
}

/// Finds the fastest way to store, and then measures everything in each round.
///
/// # Errors
///
/// When an event is not stored.
pub async fn run(options: &Options) -> Result<Report, EnginesError> {
    if options.rounds == 0 || options.callers.is_empty() || options.callers.contains(&0) {
        return Err(EnginesError::Empty);
    }
    match options.engine {
        Engine::Postgres => measure(options, &PostgresBench::start(options.payload).await?).await,
        Engine::Redis => measure(options, &RedisBench::start(options.payload).await?).await,
    }
}

async fn measure(options: &Options, bench: &impl Bench) -> Result<Report, EnginesError> {
    let load = |callers| Load {
        callers,
        warm_up: Duration::from_secs_f64(options.warm_up_seconds),
        measured: Duration::from_secs_f64(options.seconds),
    };
    let mut tried = Vec::new();
    for limit in bench.limits() {
        show(&format!("{limit:?}"));
        let shorter = Load { measured: load(0).measured / 2, ..load(0) };
        let figures = bench.measure(Subject::Limit(limit), shorter).await?;
        tried.push(Tried { limit, events_per_second: figures.events_per_second });
    }
    let by_rate =
        |one: &&Tried, other: &&Tried| one.events_per_second.total_cmp(&other.events_per_second);
    let fastest = tried.iter().max_by(by_rate).expect("some were tried").limit;
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        let limit = bench.measure(Subject::Limit(fastest), load(0)).await?;
        let mut round = Round { limit, callers: Vec::new() };
        for &callers in &options.callers {
            let mut measured = Vec::new();
            for (name, subject) in bench.subjects(fastest, callers) {
                show(&format!("round {number}: {callers} callers: {name}"));
                measured.push((name, bench.measure(subject, load(callers)).await?));
            }
            round.callers.push(measured);
        }
        rounds.push(round);
    }
    show("");
    Ok(Report::new(options, bench.version(), tried, fastest, &rounds))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_measured(engine: Engine) {
        let options = Options {
            engine,
            callers: vec![1, 3],
            payload: 1024,
            rounds: 1,
            seconds: 0.02,
            warm_up_seconds: 0.0,
            json: false,
        };
        let report = run(&options).await.unwrap();
        for callers in &report.callers {
            assert!(callers.subjects.iter().all(|subject| subject.median.events_per_second > 0.0));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn postgres_is_measured() {
        is_measured(Engine::Postgres).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn redis_is_measured() {
        is_measured(Engine::Redis).await;
    }
}
