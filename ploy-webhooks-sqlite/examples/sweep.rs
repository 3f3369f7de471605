//! What appends notice of a sweep that removes old events, and of a backup.
//!
//! ```text
//! cargo run --release -p ploy-webhooks-sqlite --example sweep [FOLDER]
//! ```
//!
//! 300,000 old events of 1 KiB are there of one endpoint; 64 callers append to another, in turns
//! alone and while the old ones are swept with pauses as the server makes them; then while a backup
//! is made, and at last while a sweep goes on without pauses.

use std::error::Error;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ploy_webhooks::store::{Created, EndpointStore, EventStore, Expired, RetentionStore, Sweep};
use ploy_webhooks::{
    Clock, Endpoint, EndpointConfig, EventId, Fence, NewEvent, SystemClock, Timestamp, WorkspaceId,
};
use ploy_webhooks_sqlite::{SqliteSettings, SqliteStore};
use tokio::task::JoinSet;

const OLD: usize = 300_000;
const CALLERS: usize = 64;
const ROUNDS: usize = 15;
const A_ROUND: Duration = Duration::from_secs(1);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How often something is paused after each call, as long as the call took.
#[derive(Clone, Copy)]
enum Pace {
    Pausing(NonZeroU32),
    WithoutPause,
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let folder =
        tempfile::tempdir_in(std::env::args().nth(1).map_or(PathBuf::from("."), PathBuf::from))?;
    let store =
        Arc::new(SqliteStore::open(SqliteSettings::at(folder.path().join("ploy.db"))).await?);
    let (old, new) = (endpoint(&store).await?, endpoint(&store).await?);
    fill(&store, &old).await?;

    let pauses = NonZeroU32::new(4).expect("4 is not zero");
    let (mut alone, mut beside) = (Rounds::default(), Rounds::default());
    for _ in 0..ROUNDS {
        alone.add(appends_during(&store, &new, tokio::time::sleep(A_ROUND)).await.1);
        let sweeping = tokio::time::timeout(A_ROUND, sweep(&store, &old, Pace::Pausing(pauses)));
        beside.add(appends_during(&store, &new, sweeping).await.1);
    }
    alone.report("alone");
    beside.report("beside a sweep with pauses");
    let sweeping = timed(sweep(&store, &old, Pace::Pausing(pauses)));
    let ((gone, took), _) = appends_during(&store, &new, sweeping).await;
    println!("then it removed {} more in {:.1} s", gone?, took.as_secs_f64());
    let backup = timed(store.back_up(folder.path().join("backup.db")));
    let ((bytes, took), latencies) = appends_during(&store, &new, backup).await;
    println!("a backup of {} MiB took {:.1} s", bytes? >> 20, took.as_secs_f64());
    report("beside a backup", latencies);
    fill(&store, &old).await?;
    let sweeping = timed(sweep(&store, &old, Pace::WithoutPause));
    let ((gone, took), latencies) = appends_during(&store, &new, sweeping).await;
    println!("a sweep without pauses removed {} in {:.1} s", gone?, took.as_secs_f64());
    report("beside a sweep without pauses", latencies);
    report("alone", appends_during(&store, &new, tokio::time::sleep(A_ROUND)).await.1);
    store.close().await;
    Ok(())
}

async fn endpoint(store: &SqliteStore) -> Outcome<Endpoint> {
    let config = EndpointConfig::default();
    let (endpoint, _) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
    assert_eq!(store.create(endpoint.clone()).await?, Created::Created);
    Ok(endpoint)
}

fn fence(endpoint: &Endpoint) -> Option<Fence> {
    Some(Fence { endpoint: endpoint.id, checked_at: endpoint.revision })
}

fn event(endpoint: &Endpoint, id: EventId) -> NewEvent {
    let payload = Bytes::from(format!(r#"{{"n":"{id}","text":"{}"}}"#, "lorem ipsum ".repeat(82)));
    NewEvent { fence: fence(endpoint), ..NewEvent::published(id, endpoint.workspace, payload) }
}

/// Events of the year 2001.
async fn fill(store: &Arc<SqliteStore>, endpoint: &Endpoint) -> Outcome<()> {
    let mut appends = JoinSet::new();
    for _ in 0..CALLERS {
        let (store, endpoint) = (store.clone(), endpoint.clone());
        appends.spawn(async move {
            for number in 0..OLD / CALLERS {
                let mut bytes = *EventId::mint(SystemClock.now()).as_bytes();
                let time = Timestamp::from_millis(1_000_000_000_000 + number as u64);
                bytes[..6].copy_from_slice(&time.as_millis().to_be_bytes()[2..]);
                let _stored = store.append(event(&endpoint, EventId::from_bytes(bytes))).await;
            }
        });
    }
    appends.join_all().await;
    Ok(())
}

async fn sweep(store: &SqliteStore, endpoint: &Endpoint, pace: Pace) -> Outcome<u64> {
    let older_than = Some(Duration::from_secs(86_400));
    let sweep =
        Sweep { endpoint: fence(endpoint), older_than, ..Sweep::published(endpoint.workspace) };
    let (mut rest, mut gone) = (sweep, 0);
    loop {
        let begun = Instant::now();
        let Expired::Swept { events, next } = store.expire(&rest).await? else {
            return Err("the endpoint was changed".into());
        };
        gone += events;
        let Some(next) = next else { return Ok(gone) };
        rest = sweep.from(next);
        if let Pace::Pausing(pauses) = pace {
            tokio::time::sleep(pauses.get() * begun.elapsed()).await;
        }
    }
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let begun = Instant::now();
    (work.await, begun.elapsed())
}

/// Appends until the work is done; how long each append took.
async fn appends_during<T>(
    store: &Arc<SqliteStore>,
    endpoint: &Endpoint,
    work: impl Future<Output = T>,
) -> (T, (Vec<Duration>, Duration)) {
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let mut appends = JoinSet::new();
    for _ in 0..CALLERS {
        let (store, endpoint, stop) = (store.clone(), endpoint.clone(), stop.clone());
        appends.spawn(async move {
            let mut latencies = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let event = event(&endpoint, EventId::mint(SystemClock.now()));
                let begun = Instant::now();
                let _stored = store.append(event).await;
                latencies.push(begun.elapsed());
            }
            latencies
        });
    }
    let done = work.await;
    stop.store(true, Ordering::Relaxed);
    let latencies = appends.join_all().await.concat();
    (done, (latencies, begun.elapsed()))
}

/// Short rounds, in turns with others: so what else the machine does is shared out.
#[derive(Default)]
struct Rounds {
    rates: Vec<f64>,
    p99s: Vec<f64>,
}

impl Rounds {
    fn add(&mut self, (mut latencies, took): (Vec<Duration>, Duration)) {
        latencies.sort_unstable();
        self.rates.push(latencies.len() as f64 / took.as_secs_f64());
        self.p99s.push(latencies[(latencies.len() - 1) * 99 / 100].as_secs_f64() * 1e3);
    }

    fn report(mut self, what: &str) {
        self.rates.sort_by(f64::total_cmp);
        self.p99s.sort_by(f64::total_cmp);
        let middle = ROUNDS / 2;
        println!(
            "{what:<30} {:>8.0} events/s   p99 {:>6.2} ms   (medians of {ROUNDS} rounds)",
            self.rates[middle], self.p99s[middle]
        );
    }
}

fn report(what: &str, (mut latencies, took): (Vec<Duration>, Duration)) {
    latencies.sort_unstable();
    let at =
        |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    println!(
        "{what:<30} {:>8.0} events/s   p50 {:>6.2} ms   p99 {:>6.2} ms   p99.9 {:>6.2} ms   max {:>6.1} ms",
        latencies.len() as f64 / took.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
    );
}
