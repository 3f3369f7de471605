//! Runs, on each store: how fast a queue of them drains, how soon after its event is accepted one
//! begins, on the same node and on another, and what an event that owes one costs beside an event
//! that owes none.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use ploy_webhooks::store::{
    Appended, Created, DefinitionStore, EndpointStore, EventStore, RunQueue, StoreError,
};
use ploy_webhooks::trigger::{Dispatcher, DispatcherSettings, Job, RunError, runner_fn};
use ploy_webhooks::{
    Clock, Endpoint, EndpointConfig, EventId, Fence, NewEvent, NewRun, RunId, SystemClock, Trigger,
    WorkspaceId,
};
use serde::Serialize;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use crate::payload::{Pool, Shape};
use crate::report::show;

pub(crate) mod stores;

use self::stores::Opened;

/// What is run.
#[derive(Clone, Debug, Args)]
#[expect(clippy::exhaustive_structs, reason = "arguments of a program")]
pub struct Options {
    /// Which stores.
    #[arg(long, value_delimiter = ',', default_value = "memory,sqlite,postgres,redis")]
    pub stores: Vec<Kind>,
    /// How many runs wait when the queue begins to drain.
    #[arg(long, default_value_t = 10_000)]
    pub queued: usize,
    /// Of how many endpoints these are.
    #[arg(long, default_value_t = 8)]
    pub endpoints: usize,
    /// How many runs are waited for, one after the other.
    #[arg(long, default_value_t = 200)]
    pub starts: usize,
    /// How many callers append at once, with runs and without.
    #[arg(long, default_value_t = 64)]
    pub callers: usize,
    /// How often that is measured; both take turns.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// How long each such measurement takes.
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// The size of each payload in bytes, at least 200.
    #[arg(long, default_value_t = 1024)]
    pub payload: usize,
    /// Print everything as JSON.
    #[arg(long)]
    pub json: bool,
}

/// A store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "benches go through all of them")]
pub enum Kind {
    /// In memory.
    Memory,
    /// A file.
    Sqlite,
    /// Postgres, with its default settings.
    Postgres,
    /// Redis, with its log flushed before each answer.
    Redis,
}

/// All that is asked of a store here.
pub(crate) trait Store: EventStore + EndpointStore + RunQueue + DefinitionStore {}

impl<S: EventStore + EndpointStore + RunQueue + DefinitionStore> Store for S {}

/// Why a run came to nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunsError {
    /// A folder or a process is not as it should be.
    #[error(transparent)]
    System(#[from] io::Error),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// An event was not stored.
    #[error("an event was not stored")]
    NotStored,
    /// A task panicked.
    #[error("a task panicked")]
    Task(#[from] JoinError),
}

/// What a whole run measured.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Each store.
    pub stores: Vec<StoreReport>,
}

/// What was measured of one store.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct StoreReport {
    /// Which.
    pub kind: Kind,
    /// Runs a second, from the start of the dispatcher until the last was on record.
    pub drained_per_second: f64,
    /// The median time from the answer of `append` to the begin of the run, in milliseconds.
    pub start_p50_ms: f64,
    /// The time that one in a hundred exceeds.
    pub start_p99_ms: f64,
    /// The same median where another node carries runs out; `None` where there is one node.
    pub start_elsewhere_p50_ms: Option<f64>,
    /// Events a second that owe nothing, the median of the rounds.
    pub without_runs_per_second: f64,
    /// Events a second that each owe a run, which nobody carries out meanwhile.
    pub with_runs_per_second: f64,
    /// How often what an event without a run costs one with a run costs, the median of the rounds.
    pub cost_of_owing: f64,
}

/// Measures every store that is asked for.
///
/// # Errors
///
/// When a store fails.
pub async fn run(options: &Options) -> Result<Report, RunsError> {
    let mut stores = Vec::new();
    for &kind in &options.stores {
        stores.push(measure(options, kind).await?);
    }
    show("");
    Ok(Report { stores })
}

async fn measure(options: &Options, kind: Kind) -> Result<StoreReport, RunsError> {
    show(&format!("{kind:?}: a queue drains"));
    let opened = Opened::open(kind).await?;
    let drained_per_second = drain(&opened.store, options).await?;
    show(&format!("{kind:?}: runs begin"));
    let mut starts = starts(&opened.store, &opened.store, options).await?;
    let elsewhere = match opened.another_node().await? {
        Some(other) => Some(median(&mut self::starts(&opened.store, &other, options).await?)),
        None => None,
    };
    opened.close().await;
    let (mut without, mut with, mut cost) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        show(&format!("{kind:?}: events with runs and without, round {round}"));
        // Each on a store that holds nothing else, so that none pays for what another left.
        let mut rates = Vec::new();
        for owes in [0, 1] {
            let opened = Opened::open(kind).await?;
            rates.push(append_rate(&opened.store, owes, options).await?);
            opened.close().await;
        }
        without.push(rates[0]);
        with.push(rates[1]);
        cost.push(rates[0] / rates[1]);
    }
    starts.sort_by(f64::total_cmp);
    Ok(StoreReport {
        kind,
        drained_per_second,
        start_p99_ms: starts[starts.len() * 99 / 100],
        start_p50_ms: median(&mut starts),
        start_elsewhere_p50_ms: elsewhere,
        without_runs_per_second: median(&mut without),
        with_runs_per_second: median(&mut with),
        cost_of_owing: median(&mut cost),
    })
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Makes an endpoint, and says what events for it are checked against.
async fn mint(store: &Arc<dyn Store>) -> Result<Fence, RunsError> {
    let config = EndpointConfig::default();
    let (endpoint, _) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
    let fence = Fence { endpoint: endpoint.id, checked_at: endpoint.revision };
    match store.create(endpoint).await? {
        Created::Created => Ok(fence),
        Created::Taken => Err(RunsError::NotStored),
    }
}

/// Stores an event that owes so many runs.
async fn store_one(
    store: &Arc<dyn Store>,
    fence: Fence,
    payload: Bytes,
    owes: usize,
) -> Result<(), RunsError> {
    let now = SystemClock.now();
    let run = |_| NewRun {
        id: RunId::mint(now),
        trigger: Trigger::ploybook("page".parse().expect("the name of a Ploybook")),
        delay: Duration::ZERO,
    };
    let event = NewEvent {
        fence: Some(fence),
        owes: (0..owes).map(run).collect(),
        ..NewEvent::published(EventId::mint(now), WorkspaceId::DEFAULT, payload)
    };
    match store.append(event).await? {
        Appended::Stored => Ok(()),
        _ => Err(RunsError::NotStored),
    }
}

fn settings() -> DispatcherSettings {
    DispatcherSettings::new("bench".parse().expect("the name of a worker"))
}

/// Has runs wait, carries them out, and says how many a second. They do nothing, so what is
/// measured is how they are claimed and put on record.
async fn drain(store: &Arc<dyn Store>, options: &Options) -> Result<f64, RunsError> {
    let mut fences = Vec::new();
    for _ in 0..options.endpoints.max(1) {
        fences.push(mint(store).await?);
    }
    let pool = Pool::new(Shape::Flat, options.payload);
    let mut appends = JoinSet::new();
    for number in 0..options.queued {
        if appends.len() == 256
            && let Some(appended) = appends.join_next().await
        {
            appended??;
        }
        let (store, fence) = (store.clone(), fences[number % fences.len()]);
        let payload = Bytes::from(pool.numbered(number as u64).into_bytes());
        appends.spawn(async move { store_one(&store, fence, payload, 1).await });
    }
    while let Some(appended) = appends.join_next().await {
        appended??;
    }
    let (tell, mut told) = mpsc::unbounded_channel();
    let runner = runner_fn(move |_: Job| {
        let told = tell.send(());
        async move { told.map(|()| "").map_err(|_| RunError::permanent("nobody waits")) }
    });
    let begin = Instant::now();
    let dispatcher = Dispatcher::start(store.clone(), runner, settings());
    for _ in 0..options.queued {
        told.recv().await;
    }
    // The last of them is on record when this returns.
    dispatcher.drain(Duration::from_secs(60)).await;
    Ok(options.queued as f64 / begin.elapsed().as_secs_f64())
}

/// Stores events one after the other on one node, and says how many milliseconds after each was
/// stored its run began on the other.
async fn starts(
    here: &Arc<dyn Store>,
    there: &Arc<dyn Store>,
    options: &Options,
) -> Result<Vec<f64>, RunsError> {
    let fence = mint(here).await?;
    let pool = Pool::new(Shape::Flat, options.payload);
    let (tell, mut told) = mpsc::unbounded_channel();
    let runner = runner_fn(move |_: Job| {
        let told = tell.send(Instant::now());
        async move { told.map(|()| "").map_err(|_| RunError::permanent("nobody waits")) }
    });
    let dispatcher = Dispatcher::start(there.clone(), runner, settings());
    let mut starts = Vec::new();
    for number in 0..options.starts.max(1) {
        // So long that whoever waits is waiting again.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let payload = Bytes::from(pool.numbered(number as u64).into_bytes());
        store_one(here, fence, payload, 1).await?;
        let stored_at = Instant::now();
        let began_at = told.recv().await.expect("the dispatcher has the runner");
        // It may begin before who appended hears that it is stored.
        let after = began_at.saturating_duration_since(stored_at);
        starts.push(after.as_secs_f64() * 1e3);
    }
    dispatcher.drain(Duration::from_secs(60)).await;
    Ok(starts)
}

/// Events a second that are stored while so many callers wait, each of which owes so many runs.
async fn append_rate(
    store: &Arc<dyn Store>,
    owes: usize,
    options: &Options,
) -> Result<f64, RunsError> {
    let fence = mint(store).await?;
    let pool = Arc::new(Pool::new(Shape::Flat, options.payload));
    let how_long = Duration::from_secs_f64(options.seconds);
    let begin = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..options.callers {
        let (store, pool) = (store.clone(), pool.clone());
        callers.spawn(async move {
            let mut stored = 0;
            while begin.elapsed() < how_long {
                let number = (caller << 32 | stored) as u64;
                let payload = Bytes::from(pool.numbered(number).into_bytes());
                store_one(&store, fence, payload, owes).await?;
                stored += 1;
            }
            Ok::<_, RunsError>(stored)
        });
    }
    let mut stored = 0;
    while let Some(ended) = callers.join_next().await {
        stored += ended??;
    }
    Ok(stored as f64 / begin.elapsed().as_secs_f64())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<10}{:>14}{:>14}{:>14}{:>18}{:>14}{:>14}{:>12}",
            "store",
            "drained/s",
            "start p50 ms",
            "p99 ms",
            "other node p50",
            "events/s",
            "owing/s",
            "costs"
        )?;
        for store in &self.stores {
            let elsewhere =
                store.start_elsewhere_p50_ms.map_or("-".to_owned(), |ms| format!("{ms:.2}"));
            writeln!(
                f,
                "{:<10}{:>14.0}{:>14.2}{:>14.2}{:>18}{:>14.0}{:>14.0}{:>11.2}x",
                format!("{:?}", store.kind).to_lowercase(),
                store.drained_per_second,
                store.start_p50_ms,
                store.start_p99_ms,
                elsewhere,
                store.without_runs_per_second,
                store.with_runs_per_second,
                store.cost_of_owing,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn every_store_is_measured() {
        let options = Options {
            stores: vec![Kind::Memory, Kind::Sqlite, Kind::Postgres, Kind::Redis],
            queued: 40,
            endpoints: 3,
            starts: 2,
            callers: 3,
            rounds: 1,
            seconds: 0.02,
            payload: 1024,
            json: false,
        };
        let report = run(&options).await.unwrap();
        assert_eq!(report.stores.len(), 4);
        for store in &report.stores {
            assert!(store.drained_per_second > 0.0 && store.with_runs_per_second > 0.0);
        }
    }
}
