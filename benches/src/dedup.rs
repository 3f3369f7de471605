//! What deduplication costs: the rate of events that each have a new key, by the rate of events
//! without one, on one store that remembers many keys already. Both take turns.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use fastrand::Rng;
use hdrhistogram::Histogram;
use ploy_webhooks::store::{Appended, Created, EndpointStore, EventStore, StoreError};
use ploy_webhooks::{
    Clock, Dedup, DedupKey, Endpoint, EndpointConfig, EventId, Fence, NewEvent, SystemClock,
    WorkspaceId,
};
use serde::Serialize;
use thiserror::Error;
use tokio::task::{JoinError, JoinSet};

use crate::cpu;
use crate::payload::{Pool, Shape};
use crate::report::show;

mod postgres;
mod sqlite;

use self::postgres::PostgresGround;
use self::sqlite::SqliteGround;

/// What is run.
#[derive(Clone, Debug, Args)]
#[expect(clippy::exhaustive_structs, reason = "arguments of a program")]
pub struct Options {
    /// Which store.
    #[arg(long, default_value = "sqlite")]
    pub store: Kind,
    /// How many keys the store remembers before anything is measured.
    #[arg(long, default_value_t = 10_000_000)]
    pub keys: u64,
    /// For how long a key is remembered.
    #[arg(long, default_value_t = 86_400)]
    pub window_seconds: u64,
    /// How many callers wait for their answers at once.
    #[arg(long, default_value_t = 64)]
    pub callers: usize,
    /// How often each is measured; they take turns.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// How long each measurement takes.
    #[arg(long, default_value_t = 5.0)]
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
    /// A file.
    Sqlite,
    /// Postgres, with its default settings.
    Postgres,
}

/// All that is asked of a store here.
pub(crate) trait Store: EventStore + EndpointStore {}

impl<S: EventStore + EndpointStore> Store for S {}

/// What a store stands on: a file or a server.
pub(crate) trait Ground: Sized {
    /// A ground with nothing on it.
    async fn make() -> Result<Self, DedupError>;

    /// Opens the store that is measured, with its default settings.
    async fn store(&self) -> Result<Arc<dyn Store>, DedupError>;

    /// Has the store remember so many more keys, for so long, and leaves behind the state that as
    /// many appends would. As it stands it appends, which is right for every store.
    async fn remember(
        &self,
        store: &Arc<dyn Store>,
        fence: Fence,
        keys: Keys,
    ) -> Result<(), DedupError> {
        append_all(store, fence, keys).await
    }

    /// Anything about the ground that the figures are to be read beside: sizes, say.
    async fn describe(&self) -> Result<String, DedupError>;

    /// Ends the store.
    async fn close(self);
}

/// Keys that a store is to remember.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    pub(crate) count: u64,
    pub(crate) window: Duration,
}

/// Why a run came to nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DedupError {
    /// Nothing is asked for.
    #[error("at least one round and one caller are needed")]
    Empty,
    /// A folder or a process is not as it should be.
    #[error(transparent)]
    System(#[from] io::Error),
    /// Postgres refused what is done by hand.
    #[error("Postgres failed")]
    Postgres(#[from] sqlx::Error),
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

/// What a run measured.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Which store.
    pub store: Kind,
    /// How many keys it remembered at the beginning.
    pub keys: u64,
    /// How many callers there were.
    pub callers: usize,
    /// How long it took to have them remembered.
    pub remembered_seconds: f64,
    /// How long the store took to open with them.
    pub opened_seconds: f64,
    /// What the store stands on, at the end.
    pub ground: String,
    /// Each round.
    pub rounds: Vec<Round>,
    /// The median over the rounds of the rate with keys by that without.
    pub ratio: f64,
}

/// What was measured in a round.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct Round {
    /// Events without keys.
    pub without: Figures,
    /// Events with a new key each.
    pub with: Figures,
}

/// What came of a measurement.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct Figures {
    /// Events a second.
    pub events_per_second: f64,
    /// The median latency of a call, in microseconds.
    pub p50_us: f64,
    /// The latency that one call in a hundred exceeds, in microseconds.
    pub p99_us: f64,
    /// The longest, in microseconds.
    pub max_us: f64,
    /// CPU time of this process an event, in microseconds: the steadiest of these where others use
    /// the machine. That of a server of a database is not in it.
    pub cpu_us: f64,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.with.events_per_second / self.without.events_per_second
    }
}

/// Fills a store with keys and then measures.
///
/// # Errors
///
/// When an event is not stored.
pub async fn run(options: &Options) -> Result<Report, DedupError> {
    if options.rounds == 0 || options.callers == 0 {
        return Err(DedupError::Empty);
    }
    match options.store {
        Kind::Sqlite => measure::<SqliteGround>(options).await,
        Kind::Postgres => measure::<PostgresGround>(options).await,
    }
}

async fn measure<G: Ground>(options: &Options) -> Result<Report, DedupError> {
    let ground = G::make().await?;
    let window = Duration::from_secs(options.window_seconds);
    let begin = Instant::now();
    let store = ground.store().await?;
    let fence = mint(&*store).await?;
    ground.remember(&store, fence, Keys { count: options.keys, window }).await?;
    drop(store);
    let remembered_seconds = begin.elapsed().as_secs_f64();
    // Opened anew, so that what only a process that has run for long would know does not help.
    let begin = Instant::now();
    let store = ground.store().await?;
    let opened_seconds = begin.elapsed().as_secs_f64();
    let without =
        Caller { store, fence, window: None, payloads: Arc::new(Payloads::new(options.payload)) };
    let with = Caller { window: Some(window), ..without.clone() };
    // Warm up.
    call(&with, options.callers, Duration::from_secs_f64(options.seconds / 5.0)).await?;
    let how_long = Duration::from_secs_f64(options.seconds);
    let mut rounds = Vec::new();
    for number in 0..options.rounds {
        show(&format!("round {} of {}", number + 1, options.rounds));
        // Whoever comes second is not always the same.
        let round = if number % 2 == 0 {
            let without = call(&without, options.callers, how_long).await?;
            Round { without, with: call(&with, options.callers, how_long).await? }
        } else {
            let with = call(&with, options.callers, how_long).await?;
            Round { without: call(&without, options.callers, how_long).await?, with }
        };
        rounds.push(round);
    }
    show("");
    let described = ground.describe().await?;
    drop((without, with));
    ground.close().await;
    Ok(Report {
        store: options.store,
        keys: options.keys,
        callers: options.callers,
        remembered_seconds,
        opened_seconds,
        ground: described,
        ratio: median(rounds.iter().map(Round::ratio)),
        rounds,
    })
}

/// Makes an endpoint, and says what events for it are checked against.
async fn mint(store: &dyn Store) -> Result<Fence, DedupError> {
    let config = EndpointConfig::default();
    let (endpoint, _) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
    let fence = Fence { endpoint: endpoint.id, checked_at: endpoint.revision };
    match store.create(endpoint).await? {
        Created::Created => Ok(fence),
        Created::Taken => Err(DedupError::NotStored),
    }
}

/// So many appends are under way when a store is filled: as large a commit as it makes.
const FILLERS: u64 = 1_024;

/// Appends events of two bytes with a new key each, as fast as the store takes them.
pub(crate) async fn append_all(
    store: &Arc<dyn Store>,
    fence: Fence,
    keys: Keys,
) -> Result<(), DedupError> {
    let left = Arc::new(AtomicU64::new(keys.count));
    let mut tasks = JoinSet::new();
    for _ in 0..FILLERS {
        let (store, left) = (store.clone(), left.clone());
        tasks.spawn(async move {
            let take = |left: u64| left.checked_sub(1);
            while let Ok(left) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
                if left % 100_000 == 0 {
                    show(&format!("{left} keys to go"));
                }
                let payload = Bytes::from_static(b"{}");
                append(&*store, fence, Some(keys.window), payload).await?;
            }
            Ok::<_, DedupError>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

async fn append(
    store: &dyn Store,
    fence: Fence,
    window: Option<Duration>,
    payload: Bytes,
) -> Result<(), DedupError> {
    let id = EventId::mint(SystemClock.now());
    let event = NewEvent {
        fence: Some(fence),
        dedup: window.map(|window| Dedup { key: new_key(), window }),
        ..NewEvent::published(id, WorkspaceId::DEFAULT, payload)
    };
    match store.append(event).await? {
        Appended::Stored => Ok(()),
        _ => Err(DedupError::NotStored),
    }
}

/// As good as a digest: that is random too.
fn new_key() -> DedupKey {
    let mut bytes = [0; 32];
    Rng::new().fill(&mut bytes);
    DedupKey::from_bytes(bytes)
}

#[derive(Debug)]
struct Payloads {
    pool: Pool,
    next: AtomicU64,
}

impl Payloads {
    fn new(bytes: usize) -> Self {
        Self { pool: Pool::new(Shape::Flat, bytes), next: AtomicU64::new(0) }
    }

    fn next(&self) -> Bytes {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Bytes::from(self.pool.numbered(number).into_bytes())
    }
}

/// Who appends, with keys or without.
#[derive(Clone)]
struct Caller {
    store: Arc<dyn Store>,
    fence: Fence,
    window: Option<Duration>,
    payloads: Arc<Payloads>,
}

/// Lets so many append for so long, each waiting for its answer before it goes on.
async fn call(caller: &Caller, callers: usize, how_long: Duration) -> Result<Figures, DedupError> {
    let cpu_before = cpu::used();
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let Caller { store, fence, window, payloads } = caller.clone();
        tasks.spawn(async move {
            let mut latency = nanoseconds();
            while begin.elapsed() < how_long {
                let called = Instant::now();
                append(&*store, fence, window, payloads.next()).await?;
                latency.saturating_record(called.elapsed().as_nanos() as u64);
            }
            Ok::<_, DedupError>(latency)
        });
    }
    let mut latency = nanoseconds();
    while let Some(ended) = tasks.join_next().await {
        latency += ended??;
    }
    let micros = |nanos: u64| nanos as f64 / 1e3;
    Ok(Figures {
        events_per_second: latency.len() as f64 / begin.elapsed().as_secs_f64(),
        p50_us: micros(latency.value_at_quantile(0.5)),
        p99_us: micros(latency.value_at_quantile(0.99)),
        max_us: micros(latency.max()),
        cpu_us: (cpu::used() - cpu_before).as_secs_f64() * 1e6 / latency.len().max(1) as f64,
    })
}

fn nanoseconds() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 3).expect("three digits up to a minute")
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            store, keys, callers, remembered_seconds, opened_seconds, ground, rounds, ..
        } = self;
        writeln!(f, "{store:?}: {keys} keys, {callers} callers; {ground}")?;
        writeln!(
            f,
            "  remembered in {remembered_seconds:.0} s, then opened in {opened_seconds:.2} s"
        )?;
        writeln!(f, "  {:>46} {:>46}", "without a key", "with a new key each")?;
        let titles = format!(
            "{:>10} {:>8} {:>8} {:>8} {:>8}",
            "events/s", "p50 µs", "p99 µs", "max µs", "CPU µs"
        );
        writeln!(f, "  {titles} {titles} {:>7}", "ratio")?;
        for round in rounds {
            write!(f, "  ")?;
            for figures in [round.without, round.with] {
                let Figures { events_per_second, p50_us, p99_us, max_us, cpu_us } = figures;
                write!(
                    f,
                    "{events_per_second:>10.0} {p50_us:>8.0} {p99_us:>8.0} {max_us:>8.0} {cpu_us:>8.1} "
                )?;
            }
            writeln!(f, "{:>7.3}", round.ratio())?;
        }
        let cpu = median(rounds.iter().map(|round| round.with.cpu_us / round.without.cpu_us));
        writeln!(f, "  ratio, median of the rounds: {:.3}; of the CPU: {cpu:.3}", self.ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_measured(store: Kind) {
        let options = Options {
            store,
            keys: 200,
            window_seconds: 60,
            callers: 3,
            rounds: 2,
            seconds: 0.02,
            payload: 1024,
            json: false,
        };
        let report = run(&options).await.unwrap();
        assert_eq!(report.rounds.len(), 2);
        assert!(report.ratio > 0.0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sqlite_is_measured() {
        is_measured(Kind::Sqlite).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn postgres_is_measured() {
        is_measured(Kind::Postgres).await;
    }
}
