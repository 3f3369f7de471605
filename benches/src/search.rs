//! Looking for a rare text among many events: at rest, and while events come in at full rate.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use ploy_webhooks::store::{
    Appended, Created, EventQuery, EventStore, Needle, NeedleError, StoreError,
};
use ploy_webhooks::{
    Clock, Endpoint, EndpointConfig, EventId, Fence, NewEvent, SystemClock, WorkspaceId,
};
use serde::Serialize;
use thiserror::Error;
use tokio::task::{JoinError, JoinSet};

use crate::payload::{Pool, Shape};
use crate::report::{median, quantile};

mod opened;

use self::opened::{Indexed, Opened};

/// What is run.
#[derive(Clone, Debug, Args)]
#[expect(clippy::exhaustive_structs, reason = "arguments of a program")]
pub struct Options {
    /// Where they are loaded into.
    #[arg(long, value_enum, default_value_t = Kind::Sqlite)]
    pub store: Kind,
    /// How many events are loaded.
    #[arg(long, default_value_t = 1_000_000)]
    pub events: u64,
    /// The size of each payload in bytes, at least 200.
    #[arg(long, default_value_t = 1024)]
    pub payload: usize,
    /// How many callers append at once.
    #[arg(long, default_value_t = 256)]
    pub callers: usize,
    /// How often each needle is looked for.
    #[arg(long, default_value_t = 21)]
    pub searches: usize,
    /// What payloads are filled with.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "words,hex")]
    pub fillers: Vec<Filler>,
    /// Do not load everything a second time without an index.
    #[arg(long)]
    pub indexed_only: bool,
    /// Print everything as JSON.
    #[arg(long)]
    pub json: bool,
}

/// A store that has a search index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "benches go through all of them")]
pub enum Kind {
    /// SQLite.
    Sqlite,
    /// Postgres: a new server for each history, with its default settings.
    Postgres,
}

/// What payloads are filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "benches go through all of them")]
pub enum Filler {
    /// Fields with words.
    Words,
    /// Random hexadecimal digits.
    Hex,
}

/// What was measured with one filler.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The store.
    pub store: Kind,
    /// The filler.
    pub filler: Filler,
    /// How many events were loaded.
    pub events: u64,
    /// Events a second while the history was loaded, and indexed behind it.
    pub ingest_per_second: f64,
    /// The same into a store without an index.
    pub ingest_per_second_without_index: Option<f64>,
    /// Events a second while searches ran.
    pub ingest_per_second_while_searched: f64,
    /// Each needle.
    pub needles: Vec<NeedleReport>,
}

/// How long it took to look for one needle to the end of the history; in milliseconds.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct NeedleReport {
    /// What kind of text.
    pub kind: &'static str,
    /// The text.
    pub text: &'static str,
    /// In how many events it stands.
    pub found: usize,
    /// Once loading had ended.
    pub at_rest_ms: Latency,
    /// While events came in at full rate.
    pub during_ingest_ms: Latency,
}

/// Some searches for one needle.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct Latency {
    /// The first.
    pub first: f64,
    /// The median.
    pub median: f64,
    /// What one in a hundred exceeds.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// Why a run came to nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The folder cannot be had.
    #[error("cannot make a folder")]
    Folder(#[from] io::Error),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// An event was not stored.
    #[error("an event was not stored")]
    NotStored,
    /// A search did not find what is there.
    #[error("`{text}` stands in {expected} events, and was found in {found}")]
    Incomplete {
        /// What was looked for.
        text: &'static str,
        /// In how many events it stands.
        expected: usize,
        /// In how many it was found.
        found: usize,
    },
    /// A text that cannot be looked for.
    #[error("not a needle")]
    Needle(#[from] NeedleError),
    /// A caller panicked.
    #[error("a caller panicked")]
    Caller(#[from] JoinError),
}

/// What is looked for: the kind, the text, and in how many events it stands.
const NEEDLES: [(&str, &str, usize); 7] = [
    ("email", "Jo.Quixley+7f@Zephyr.example", 3),
    ("hex id", "e3b0c44298fc1c149afbf4c8", 3),
    ("word", "zyxwqv", 3),
    ("common syllables", "bandorsul", 3),
    ("absent email", "no.quixley+7f@zephyr.example", 0),
    ("absent word", "qvwxyz", 0),
    ("absent syllables", "murtalben", 0),
];

/// Loads, and searches.
///
/// # Errors
///
/// When the store fails, or a search does not find what is there.
pub async fn run(options: &Options, filler: Filler) -> Result<Report, SearchError> {
    let without_index = match options.indexed_only {
        true => None,
        false => {
            let history = History::open(options, filler, Indexed::No).await?;
            let rate = history.load().await?;
            history.store.close().await;
            Some(rate)
        }
    };
    let history = History::open(options, filler, Indexed::Yes).await?;
    let ingest_per_second = history.load().await?;
    let mut at_rest = Vec::new();
    for (_, text, expected) in NEEDLES {
        at_rest.push(history.look_for(text, expected, options.searches).await?);
    }
    let ingest = history.begin_ingest();
    let mut during_ingest = Vec::new();
    for (_, text, expected) in NEEDLES {
        during_ingest.push(history.look_for(text, expected, options.searches).await?);
    }
    let ingest_per_second_while_searched = ingest.end().await?;
    history.store.close().await;
    let latencies = at_rest.into_iter().zip(during_ingest);
    let needles = NEEDLES.into_iter().zip(latencies);
    Ok(Report {
        store: options.store,
        filler,
        events: options.events,
        ingest_per_second,
        ingest_per_second_without_index: without_index,
        ingest_per_second_while_searched,
        needles: needles
            .map(|((kind, text, found), (at_rest_ms, during_ingest_ms))| NeedleReport {
                kind,
                text,
                found,
                at_rest_ms,
                during_ingest_ms,
            })
            .collect(),
    })
}

/// A store, and the events that go into it.
struct History {
    store: Opened,
    source: Arc<Source>,
    events: u64,
    callers: usize,
}

/// Events without end.
struct Source {
    fence: Fence,
    pool: Pool,
    next: AtomicU64,
    events: u64,
}

impl History {
    async fn open(
        options: &Options,
        filler: Filler,
        indexed: Indexed,
    ) -> Result<Self, SearchError> {
        let store = Opened::open(options.store, indexed).await?;
        let config = EndpointConfig::default();
        let (endpoint, _) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
        let fence = Fence { endpoint: endpoint.id, checked_at: endpoint.revision };
        match store.endpoints().create(endpoint).await? {
            Created::Created => {}
            Created::Taken => return Err(SearchError::NotStored),
        }
        let shape = match filler {
            Filler::Words => Shape::Flat,
            Filler::Hex => Shape::Hex,
        };
        Ok(Self {
            store,
            source: Arc::new(Source {
                fence,
                pool: Pool::new(shape, options.payload),
                next: AtomicU64::new(0),
                events: options.events,
            }),
            events: options.events,
            callers: options.callers,
        })
    }

    /// Stores all events. Returns events a second.
    async fn load(&self) -> Result<f64, SearchError> {
        let begin = Instant::now();
        let source = self.source.clone();
        let stored = self.append_while(move |number| number < source.events);
        joined(stored).await?;
        Ok(self.events as f64 / begin.elapsed().as_secs_f64())
    }

    /// Goes on storing events until it is told to end.
    fn begin_ingest(&self) -> Ingesting {
        let goes_on = Arc::new(AtomicBool::new(true));
        let flag = goes_on.clone();
        Ingesting {
            goes_on,
            begin: Instant::now(),
            callers: self.append_while(move |_| flag.load(Ordering::Relaxed)),
        }
    }

    fn append_while<F>(&self, goes_on: F) -> JoinSet<Result<u64, SearchError>>
    where
        F: Fn(u64) -> bool + Clone + Send + 'static,
    {
        let mut callers = JoinSet::new();
        for _ in 0..self.callers {
            let (store, source, goes_on) =
                (self.store.events(), self.source.clone(), goes_on.clone());
            callers.spawn(async move {
                let mut stored = 0;
                loop {
                    let number = source.next.fetch_add(1, Ordering::Relaxed);
                    if !goes_on(number) {
                        return Ok(stored);
                    }
                    match store.append(source.event(number)).await? {
                        Appended::Stored => stored += 1,
                        _ => return Err(SearchError::NotStored),
                    }
                }
            });
        }
        callers
    }

    /// Looks for the text to the end of the history, so many times.
    async fn look_for(
        &self,
        text: &'static str,
        expected: usize,
        times: usize,
    ) -> Result<Latency, SearchError> {
        let mut query = EventQuery::all(WorkspaceId::DEFAULT);
        query.contains = Some(Needle::new(text)?);
        let mut millis = Vec::new();
        for _ in 0..times.max(1) {
            let begin = Instant::now();
            let found = count(&*self.store.events(), query.clone()).await?;
            millis.push(begin.elapsed().as_secs_f64() * 1e3);
            if found != expected {
                return Err(SearchError::Incomplete { text, expected, found });
            }
        }
        Ok(Latency {
            first: millis[0],
            p99: quantile(millis.clone(), 0.99),
            max: millis.iter().copied().fold(0.0, f64::max),
            median: median(millis),
        })
    }
}

async fn count(store: &dyn EventStore, query: EventQuery) -> Result<usize, StoreError> {
    let mut found = 0;
    let mut rest = Some(query);
    while let Some(query) = rest {
        let page = store.search(&query).await?;
        found += page.items.len();
        rest = page.next;
    }
    Ok(found)
}

/// Ingest under way.
struct Ingesting {
    goes_on: Arc<AtomicBool>,
    begin: Instant,
    callers: JoinSet<Result<u64, SearchError>>,
}

impl Ingesting {
    /// Ends it. Returns events a second.
    async fn end(self) -> Result<f64, SearchError> {
        self.goes_on.store(false, Ordering::Relaxed);
        let stored = joined(self.callers).await?;
        Ok(stored as f64 / self.begin.elapsed().as_secs_f64())
    }
}

async fn joined(mut callers: JoinSet<Result<u64, SearchError>>) -> Result<u64, SearchError> {
    let mut stored = 0;
    while let Some(caller) = callers.join_next().await {
        stored += caller??;
    }
    Ok(stored)
}

impl Source {
    fn event(&self, number: u64) -> NewEvent {
        let mut payload = self.pool.numbered(number);
        if let Some(needle) = self.needle_of(number) {
            payload.hide(needle);
        }
        NewEvent {
            fence: Some(self.fence),
            ..NewEvent::published(
                EventId::mint(SystemClock.now()),
                WorkspaceId::DEFAULT,
                Bytes::from(payload.into_bytes()),
            )
        }
    }

    /// Each needle stands in as many events as it should, spread over the history.
    fn needle_of(&self, number: u64) -> Option<&'static str> {
        let (place, kind) = (number / NEEDLES.len() as u64, number % NEEDLES.len() as u64);
        let (_, text, count) = NEEDLES[usize::try_from(kind).ok()?];
        let last = self.events / NEEDLES.len() as u64;
        let places = [last / 6, last / 2, last * 5 / 6];
        places[..count].contains(&place).then_some(text)
    }
}
