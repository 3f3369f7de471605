//! Appends to SQLite by 1, 64 and 256 callers that wait, beside a transaction an insert by hand.
//!
//! An iteration is one append a caller, all at once; its throughput is in events.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ploy_webhooks::store::{Appended, EventStore};
use ploy_webhooks::{Clock, EventId, NewEvent, SystemClock, WorkspaceId};
use ploy_webhooks_benches::folder;
use ploy_webhooks_benches::payload::{Payload, Shape};
use ploy_webhooks_sqlite::{SqliteSettings, SqliteStore};
use rusqlite::{Connection, params};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

fn sqlite_append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sqlite_append");
    group.throughput(Throughput::Elements(1));
    group.bench_function("insert a transaction", |bencher| {
        bencher.iter_custom(|times| by_hand(times).expect("the folder is writable"));
    });
    for callers in [1, 64, 256] {
        group.throughput(Throughput::Elements(callers as u64));
        group.bench_function(format!("{callers} callers"), |bencher| {
            bencher.iter_custom(|times| by_store(callers, times).expect("the folder is writable"));
        });
    }
    group.finish();
}

type Outcome = Result<Duration, Box<dyn Error>>;

/// Each caller appends so many times, one event after the other.
fn by_store(callers: usize, times: u64) -> Outcome {
    let folder = folder::beside_program()?;
    let payload = payload();
    Runtime::new()?.block_on(async {
        let settings = SqliteSettings::at(folder.path().join("bench.sqlite"));
        let store = Arc::new(SqliteStore::open(settings).await?);
        let begin = Instant::now();
        let mut appends = JoinSet::new();
        for _ in 0..callers {
            let (store, payload) = (store.clone(), payload.clone());
            appends.spawn(async move {
                for _ in 0..times {
                    let appended = store.append(event(&payload)).await;
                    assert!(matches!(appended, Ok(Appended::Stored)), "{appended:?}");
                }
            });
        }
        appends.join_all().await;
        let elapsed = begin.elapsed();
        store.close().await;
        Ok(elapsed)
    })
}

/// The same rows in a table of the same form, each flushed on its own.
fn by_hand(times: u64) -> Outcome {
    let folder = folder::beside_program()?;
    let payload = payload();
    let connection = Connection::open(folder.path().join("bench.sqlite"))?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         CREATE TABLE events (seq INTEGER PRIMARY KEY, id BLOB, payload BLOB) STRICT;",
    )?;
    let mut insert = connection.prepare("INSERT INTO events (id, payload) VALUES (?1, ?2)")?;
    let begin = Instant::now();
    for _ in 0..times {
        let event = event(&payload);
        insert.execute(params![event.id.as_bytes(), &event.payload[..]])?;
    }
    Ok(begin.elapsed())
}

fn payload() -> Bytes {
    Bytes::copy_from_slice(Payload::new(Shape::Flat, 1 << 10, 1).as_bytes())
}

fn event(payload: &Bytes) -> NewEvent {
    let id = EventId::mint(SystemClock.now());
    NewEvent::published(id, WorkspaceId::DEFAULT, payload.clone())
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(5));
    targets = sqlite_append
}
criterion_main!(benches);
