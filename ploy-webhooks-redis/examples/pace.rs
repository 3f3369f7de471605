//! How much does what an event has slow it down, how fast are runs carried out, and what does a
//! destination that is down cost the others? Asks a throwaway Redis that flushes every write, with 64
//! callers.
//!
//! `cargo run --release -p ploy-webhooks-redis --example pace`

use std::error::Error;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ploy_webhooks::store::{
    Appended, Claim, EndpointStore, EventStore, Lanes, RunQuery, RunQueue, RunStore, StoreError,
    Tenure,
};
use ploy_webhooks::{
    Action, Clock, Dedup, DedupKey, DestinationId, Endpoint, EndpointConfig, EventId, Fence, Lane,
    NewEvent, NewRun, Outcome, Quota, RunId, RunState, SystemClock, Task, Trigger, WorkspaceId,
};
use ploy_webhooks_engines::Redis;
use ploy_webhooks_redis::{RedisSettings, RedisStore};
use tokio::task::JoinSet;

const CALLERS: u64 = 64;
const PAYLOAD: usize = 1_024;
const EVENTS: u64 = 40_000;
const RUNS: u64 = 10_000;
/// So many wait for a destination that is down.
const HELD: usize = 100_000;
const ROUNDS: usize = 9;

/// What an event has besides its payload.
#[derive(Clone, Copy, Debug)]
enum With {
    Nothing,
    Run,
    Quota,
    /// A deduplication key with a window of a day.
    Key,
    /// One with a window that ends while others are stored, as on a server that has run for long.
    KeyThatEnds,
}

impl With {
    const ALL: [Self; 5] = [Self::Nothing, Self::Run, Self::Quota, Self::Key, Self::KeyThatEnds];
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut rounds = With::ALL.map(|_| Vec::new());
    // By turns: what else the machine does meets all.
    for _ in 0..ROUNDS {
        for (with, rounds) in With::ALL.into_iter().zip(&mut rounds) {
            rounds.push(ingest_rate(with).await?);
        }
    }
    println!("an event has  events/s  us of the server each  x the time  x the server");
    let medians = rounds.map(median);
    let (bare, bare_micros) = medians[0];
    for (with, (rate, micros)) in With::ALL.into_iter().zip(medians) {
        let (time, server) = (bare / rate, micros / bare_micros);
        println!("{with:<12?}  {rate:<8.0}  {micros:<21.1}  {time:<10.2}  {server:.2}");
    }
    for (lanes, held) in [(1, 0), (100, 0), (100, HELD)] {
        drain(lanes, held).await?;
    }
    list().await
}

/// Events a second, each with that, and how long the server has worked on each, in
/// microseconds.
async fn ingest_rate(with: With) -> Result<(f64, f64), Box<dyn Error>> {
    let (redis, store, endpoints) = scene(1).await?;
    ingest(&store, &endpoints, EVENTS / 10, with).await;
    let (begin, busy) = (Instant::now(), worked(&redis)?);
    ingest(&store, &endpoints, EVENTS, with).await;
    let (took, busy) = (begin.elapsed().as_secs_f64(), worked(&redis)? - busy);
    Ok((EVENTS as f64 / took, busy * 1e6 / EVENTS as f64))
}

/// How long the server has worked so far, in seconds.
fn worked(redis: &Redis) -> Result<f64, Box<dyn Error>> {
    let mut connection = redis::Client::open(redis.url())?.get_connection()?;
    let info: String = redis::cmd("INFO").arg("cpu").query(&mut connection)?;
    let time = |name| {
        let time = info.lines().find_map(|line| line.strip_prefix(name));
        time.and_then(|time| time.trim().parse::<f64>().ok()).ok_or("INFO says nothing of its work")
    };
    Ok(time("used_cpu_user_main_thread:")? + time("used_cpu_sys_main_thread:")?)
}

/// The middle of the rates, and that of the times.
fn median(rounds: Vec<(f64, f64)>) -> (f64, f64) {
    let (mut rates, mut times): (Vec<_>, Vec<_>) = rounds.into_iter().unzip();
    rates.sort_by(f64::total_cmp);
    times.sort_by(f64::total_cmp);
    (rates[ROUNDS / 2], times[ROUNDS / 2])
}

/// Carries out what is queued in so many lanes, while so much waits in one without room.
async fn drain(lanes: usize, held: usize) -> Result<(), Box<dyn Error>> {
    let (_redis, store, endpoints) = scene(lanes).await?;
    let down = DestinationId::mint(SystemClock.now());
    deliver(&store, &endpoints, down, held).await?;
    ingest(&store, &endpoints, RUNS, With::Run).await;
    let mut lanes_with_room = Lanes::new(NonZeroU16::MAX);
    lanes_with_room.bound(Lane::Destination(down), 0);
    let begin = Instant::now();
    let outcome = || Outcome::Succeed { output: vec![b'x'; 100].into() };
    let (done, claims, claiming) = carry_out(&store, &lanes_with_room, outcome).await?;
    let took = begin.elapsed();
    println!(
        "runs: {done} of {lanes} lanes in {took:.2?}, {:.0}/s, by {claims} claims of {:.2?}, \
         while {held} wait without room",
        done as f64 / took.as_secs_f64(),
        claiming / claims
    );
    Ok(())
}

/// Lists what failed at one destination, where all that failed did so at another.
async fn list() -> Result<(), Box<dyn Error>> {
    let (_redis, store, endpoints) = scene(100).await?;
    let [wanted, other] = [(); 2].map(|()| DestinationId::mint(SystemClock.now()));
    deliver(&store, &endpoints, wanted, 1).await?;
    deliver(&store, &endpoints, other, HELD).await?;
    let outcome = || Outcome::Fail { error: "it is down".to_owned() };
    let (failed, ..) = carry_out(&store, &Lanes::new(NonZeroU16::MAX), outcome).await?;
    for (destination, what) in [(wanted, "the one that is last"), (other, "all others")] {
        let mut query = RunQuery::all(WorkspaceId::DEFAULT);
        query.state = Some(RunState::Failed);
        query.destination = Some(destination);
        let mut next = Some(query);
        let (mut pages, mut found, mut slowest) = (0, 0, Duration::ZERO);
        let begin = Instant::now();
        while let Some(query) = next {
            let begin = Instant::now();
            let page = store.list_runs(&query).await?;
            slowest = slowest.max(begin.elapsed());
            pages += 1;
            found += page.items.len();
            next = page.next;
        }
        let took = begin.elapsed();
        println!(
            "list of {what}, of {failed}: {found} in {pages} pages, {took:.2?}, {slowest:.2?} at most"
        );
    }
    Ok(())
}

/// Appends so many runs that deliver there, a hundred an event.
async fn deliver(
    store: &RedisStore,
    endpoints: &[Endpoint],
    destination: DestinationId,
    count: usize,
) -> Result<(), StoreError> {
    let mut left = count;
    for endpoint in endpoints.iter().cycle() {
        if left == 0 {
            break;
        }
        let mut event = event(endpoint, With::Nothing);
        let of_event = left.min(100);
        left -= of_event;
        event.owes.extend((0..of_event).map(|_| {
            let action = Action::Destination(destination);
            let task = Task { action, subscription: None, draft: false };
            let id = RunId::mint(SystemClock.now());
            NewRun { id, trigger: Trigger::Task(task), delay: Duration::ZERO }
        }));
        let appended = store.append(event).await?;
        assert!(matches!(appended, Appended::Stored), "{appended:?}");
    }
    Ok(())
}

/// Carries out what has room: 64 are claimed, and ended by as many at once. Says how many runs there
/// were, how many claims, and how long these took.
async fn carry_out(
    store: &Arc<RedisStore>,
    lanes: &Lanes,
    outcome: impl Fn() -> Outcome,
) -> Result<(usize, u32, Duration), Box<dyn Error>> {
    let worker = "pace".parse()?;
    let (max, lease) = (NonZeroU16::new(64).ok_or("64")?, Duration::from_secs(60));
    let claim = Claim { worker: &worker, max, lease, lanes };
    let (mut claims, mut done) = (0, 0);
    let mut claiming = Duration::ZERO;
    loop {
        let begin = Instant::now();
        let claimed = store.claim(&claim).await?;
        claiming += begin.elapsed();
        if claimed.is_empty() {
            break;
        }
        claims += 1;
        done += claimed.len();
        let mut ends: JoinSet<Result<Tenure, StoreError>> = JoinSet::new();
        for run in claimed {
            let store = store.clone();
            let outcome = outcome();
            ends.spawn(async move { store.finish(&run.lease, outcome).await });
        }
        for end in ends.join_all().await {
            assert_eq!(end?, Tenure::Held);
        }
    }
    Ok((done, claims, claiming))
}

async fn scene(
    endpoints: usize,
) -> Result<(Redis, Arc<RedisStore>, Vec<Endpoint>), Box<dyn Error>> {
    let redis = Redis::start();
    let store = Arc::new(RedisStore::open(RedisSettings::at(redis.url())).await?);
    let mut made = Vec::new();
    for _ in 0..endpoints {
        let config = EndpointConfig::default();
        let (endpoint, _) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
        let _created = store.create(endpoint.clone()).await?;
        made.push(endpoint);
    }
    Ok((redis, store, made))
}

async fn ingest(store: &Arc<RedisStore>, endpoints: &[Endpoint], events: u64, with: With) {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (store, endpoints) = (store.clone(), endpoints.to_vec());
        callers.spawn(async move {
            for number in 0..events.div_ceil(CALLERS) {
                let place = usize::try_from(caller + number).expect("it is small");
                let event = event(&endpoints[place % endpoints.len()], with);
                let appended = store.append(event).await;
                assert!(matches!(appended, Ok(Appended::Stored)), "{appended:?}");
            }
        });
    }
    callers.join_all().await;
}

fn event(endpoint: &Endpoint, with: With) -> NewEvent {
    let now = SystemClock.now();
    let id = EventId::mint(now);
    let mut event = NewEvent::published(id, endpoint.workspace, vec![b'x'; PAYLOAD].into());
    event.fence = Some(Fence { endpoint: endpoint.id, checked_at: endpoint.revision });
    match with {
        With::Nothing => {}
        With::Run => event.owes.push(NewRun {
            id: RunId::mint(now),
            trigger: Trigger::ploybook("enrich".parse().expect("it is a name")),
            delay: Duration::ZERO,
        }),
        With::Quota => {
            event.quota =
                Some(Quota { events: NonZeroU64::MAX, period_seconds: NonZeroU32::new(86_400) });
        }
        With::Key => event.dedup = Some(dedup(id, Duration::from_secs(86_400))),
        With::KeyThatEnds => event.dedup = Some(dedup(id, Duration::from_millis(100))),
    }
    event
}

/// A key that no other event has.
fn dedup(id: EventId, window: Duration) -> Dedup {
    let mut key = [0; 32];
    key[..16].copy_from_slice(id.as_bytes());
    Dedup { key: DedupKey::from_bytes(key), window }
}
