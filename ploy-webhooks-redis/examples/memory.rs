//! How much memory does an event take, and a deduplication key that outlives it? Appends some to a
//! throwaway Redis, and asks it.
//!
//! `cargo run --release -p ploy-webhooks-redis --example memory`

use std::error::Error;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use ploy_webhooks::store::{Appended, Claim, EndpointStore, EventStore, Lanes, RunQueue, Tenure};
use ploy_webhooks::{
    Clock, Dedup, DedupKey, Endpoint, EndpointConfig, EventId, Fence, NewEvent, NewRun, Outcome,
    RunId, SystemClock, Trigger, WorkspaceId,
};
use ploy_webhooks_engines::Redis;
use ploy_webhooks_redis::{RedisSettings, RedisStore};
use tokio::task::JoinSet;

const EVENTS: u64 = 200_000;
const CALLERS: u64 = 64;
/// How many keys are asked about. They are counted in a sixteenth of them, with which the server's
/// tables, which double, are as full.
const KEYS: u64 = 10_000_000;
const KEYS_COUNTED: u64 = KEYS / 16;

/// What events have besides their payload.
#[derive(Clone, Copy, Debug)]
enum With {
    Nothing,
    Key,
    /// One that waits for its first attempt.
    Run,
    /// One that has succeeded, and said 100 bytes.
    EndedRun,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    println!("payload  with     bytes an event  beyond the payload");
    for (payload, with) in [
        (100, With::Nothing),
        (1_024, With::Nothing),
        (1_024, With::Key),
        (1_024, With::Run),
        (1_024, With::EndedRun),
    ] {
        let redis = Redis::start();
        let store = Arc::new(RedisStore::open(RedisSettings::at(redis.url())).await?);
        let config = EndpointConfig::default();
        let (endpoint, _) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
        let _created = store.create(endpoint.clone()).await?;
        let before = used_memory(&redis)?;
        append(&store, &endpoint, EVENTS, payload, with).await;
        if matches!(with, With::EndedRun) {
            carry_out(&store).await?;
        }
        let each = (used_memory(&redis)? - before) / EVENTS;
        println!("{payload:<8} {with:<8?} {each:<15} {}", each - payload as u64);
    }
    keys_alone().await
}

/// What keys take when the events are gone that used them: their endpoint is deleted.
async fn keys_alone() -> Result<(), Box<dyn Error>> {
    let redis = Redis::start();
    let store = Arc::new(RedisStore::open(RedisSettings::at(redis.url())).await?);
    let before = used_memory(&redis)?;
    let config = EndpointConfig::default();
    let (endpoint, _) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
    let _created = store.create(endpoint.clone()).await?;
    append(&store, &endpoint, KEYS_COUNTED, 2, With::Key).await;
    assert!(store.delete(&endpoint.workspace, &endpoint.id).await?);
    while info(&redis, "lazyfree_pending_objects:")? > 0 {
        tokio::task::yield_now().await;
    }
    let used = used_memory(&redis)? - before;
    println!(
        "\na key alone: {} bytes, {KEYS} of them: {} MB",
        used / KEYS_COUNTED,
        used * 16 / 1_000_000
    );
    Ok(())
}

/// Stores so many events, which have that.
async fn append(
    store: &Arc<RedisStore>,
    endpoint: &Endpoint,
    events: u64,
    payload: usize,
    with: With,
) {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (store, endpoint) = (store.clone(), endpoint.clone());
        callers.spawn(async move {
            for _ in 0..events / CALLERS {
                let appended = store.append(event(&endpoint, payload, with)).await;
                assert!(matches!(appended, Ok(Appended::Stored)), "{appended:?}");
            }
        });
    }
    callers.join_all().await;
}

/// Has every run succeed.
async fn carry_out(store: &Arc<RedisStore>) -> Result<(), Box<dyn Error>> {
    let (worker, lanes) = ("memory".parse()?, Lanes::new(NonZeroU16::MAX));
    let (max, lease) = (NonZeroU16::new(256).ok_or("256")?, Duration::from_secs(60));
    let claim = Claim { worker: &worker, max, lease, lanes: &lanes };
    loop {
        let claimed = store.claim(&claim).await?;
        if claimed.is_empty() {
            return Ok(());
        }
        let mut ends = JoinSet::new();
        for run in claimed {
            let store = store.clone();
            let outcome = Outcome::Succeed { output: vec![b'x'; 100].into() };
            ends.spawn(async move { store.finish(&run.lease, outcome).await });
        }
        for end in ends.join_all().await {
            assert_eq!(end?, Tenure::Held);
        }
    }
}

fn event(endpoint: &Endpoint, payload: usize, with: With) -> NewEvent {
    let id = EventId::mint(SystemClock.now());
    let mut event = NewEvent::published(id, endpoint.workspace, vec![b'x'; payload].into());
    event.fence = Some(Fence { endpoint: endpoint.id, checked_at: endpoint.revision });
    match with {
        With::Nothing => {}
        With::Key => {
            let mut key = [0; 32];
            key[..16].copy_from_slice(id.as_bytes());
            let key = DedupKey::from_bytes(key);
            event.dedup = Some(Dedup { key, window: Duration::from_secs(30 * 86_400) });
        }
        With::Run | With::EndedRun => event.owes.push(NewRun {
            id: RunId::mint(SystemClock.now()),
            trigger: Trigger::ploybook("enrich".parse().expect("it is a name")),
            delay: Duration::ZERO,
        }),
    }
    event
}

fn used_memory(redis: &Redis) -> Result<u64, Box<dyn Error>> {
    info(redis, "used_memory:")
}

/// What the server says of its memory under that name.
fn info(redis: &Redis, name: &str) -> Result<u64, Box<dyn Error>> {
    let mut connection = redis::Client::open(redis.url())?.get_connection()?;
    let info: String = redis::cmd("INFO").arg("memory").query(&mut connection)?;
    let said = info.lines().find_map(|line| line.strip_prefix(name));
    Ok(said.ok_or("INFO says nothing of it")?.trim().parse()?)
}
