//! `SIGKILL` with runs under way, again and again: every run that an accepted event owes ends on
//! record, no two attempts of one are under way at once, and every repeat is an attempt on record.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ploy_webhooks_engines::{Postgres, Redis};
use ploy_webhooks_tests::{Connection, Endpoint, Engine, Server, Store, Verdict};
use serde_json::{Value, json};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ploy-webhooks-under-test");
const KILLS: usize = 6;
const SENDERS: usize = 3;
/// So many acknowledgements before each kill.
const ACKNOWLEDGED: usize = 40;
/// Longer than anything takes that is waited for.
const A_WHILE: Duration = Duration::from_secs(120);
/// Short leases, so that what a killed node has left is soon another's.
const SETTINGS: [(&str, &str); 3] =
    [("PLOY_RUN_LEASE_MS", "1500"), ("PLOY_RUNS_AT_ONCE", "24"), ("NO_PROXY", "*")];

/// The seed of what is killed when, and of what the engine answers: printed, and taken from
/// `PLOY_TEST_SEED` to play a failure again as nearly as the machine allows.
fn seed() -> u64 {
    let given = std::env::var("PLOY_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("PLOY_TEST_SEED={seed}");
    seed
}

/// What the engine does with an attempt: mostly it is soon done, sometimes late, sometimes it
/// fails for now, seldom for good.
fn decide(seed: u64, run: &str, attempt: u32) -> Verdict {
    let mut hasher = DefaultHasher::new();
    (seed, run, attempt).hash(&mut hasher);
    let mut random = fastrand::Rng::with_seed(hasher.finish());
    let status = match random.u8(..100) {
        0..5 => 400,
        5..20 => 503,
        _ => 200,
    };
    let after = match random.u8(..10) {
        0 => Duration::from_millis(random.u64(400..2_500)),
        _ => Duration::from_millis(random.u64(..40)),
    };
    Verdict { status, after }
}

/// Sends until the server is gone, and says which events were acknowledged.
fn send_until_the_end(
    mut connection: Connection,
    endpoint: &Endpoint,
    numbers: &AtomicU64,
    acknowledged: &AtomicUsize,
) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        match connection.send(&endpoint.event(json!({"number": number}).to_string())) {
            Ok(answer) if answer.status == 202 => {
                ids.push(answer.string("id"));
                acknowledged.fetch_add(1, Ordering::Relaxed);
                // What is owed is not to grow without end.
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(answer) => panic!("{}: {}", answer.status, answer.json()),
            Err(_) => return ids,
        }
    }
}

/// Kills nodes under load, and looks at what is on record in the end.
fn play(nodes: usize, start: impl Fn() -> Server) {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let engine = Engine::start(move |run, attempt| decide(seed, run, attempt));
    let mut servers: Vec<_> = (0..nodes).map(|_| start()).collect();
    define(&servers[0], &engine);
    let endpoint = servers[0].endpoint(&json!({"trigger": {"ploybook": "page"}}));
    let acknowledged = Mutex::new(Vec::new());
    let numbers = AtomicU64::new(0);
    for _ in 0..KILLS {
        let which = random.usize(..servers.len());
        let count = AtomicUsize::new(0);
        let wanted = random.usize(1..2 * ACKNOWLEDGED);
        std::thread::scope(|scope| {
            for _ in 0..SENDERS {
                let connection = servers[which].connect();
                scope.spawn(|| {
                    let ids = send_until_the_end(connection, &endpoint, &numbers, &count);
                    acknowledged.lock().expect("no sender panics").extend(ids);
                });
            }
            let begun = Instant::now();
            while count.load(Ordering::Relaxed) < wanted {
                assert!(begun.elapsed() < A_WHILE, "events are not acknowledged any more");
                std::thread::yield_now();
            }
            servers.swap_remove(which).kill();
        });
        servers.push(start());
    }
    let acknowledged = acknowledged.into_inner().expect("no sender panics");
    let runs = when_all_are_finished(&servers[0]);
    check(&acknowledged, &runs, &engine);
    for server in servers {
        assert_eq!(server.stop(), Some(0));
    }
}

fn define(server: &Server, engine: &Engine) {
    let ploybook = json!({
        "name": "page",
        "run": {"http": {"url": engine.url()}},
        "time_limit_seconds": 30,
        "retry": {"attempts_max": 8, "first_gap_seconds": 0},
    });
    let made = server.manage("POST", "/ploybooks", Some(&ploybook));
    assert_eq!(made.status, 201, "{}", made.json());
}

/// Every run on record, once none of them is owed any more.
fn when_all_are_finished(server: &Server) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let runs = server.list("/runs");
        let is_owed = |run: &&Value| !matches!(run["state"].as_str(), Some("succeeded" | "failed"));
        let owed: Vec<_> = runs.iter().filter(is_owed).collect();
        if owed.is_empty() {
            return runs;
        }
        assert!(begun.elapsed() < A_WHILE, "these runs do not end: {owed:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn check(acknowledged: &[String], runs: &[Value], engine: &Engine) {
    let text = |run: &Value, name: &str| run[name].as_str().expect("a text").to_owned();
    let mut run_of = BTreeMap::new();
    for run in runs {
        let former = run_of.insert(text(run, "event_id"), text(run, "id"));
        assert_eq!(former, None, "an event has two runs");
    }
    for event in acknowledged {
        assert!(run_of.contains_key(event), "{event} was accepted, and its run is missing");
    }
    let account = engine.account();
    assert_eq!(account.faults, Vec::<String>::new(), "what the engine has seen");
    let mut repeats = 0;
    for run in runs {
        let id = text(run, "id");
        let attempts = run["attempts"].as_array().expect("a list");
        let numbers: Vec<_> = attempts.iter().map(|attempt| attempt["number"].as_u64()).collect();
        let counted: Vec<_> = (1..=attempts.len() as u64).map(Some).collect();
        assert_eq!(numbers, counted, "the attempts of {id} on record");
        let on_record: BTreeSet<_> = numbers.into_iter().flatten().collect();
        let begun = account.begun.get(&id).cloned().unwrap_or_default();
        let unknown: Vec<_> =
            begun.iter().filter(|&&number| !on_record.contains(&number.into())).collect();
        assert!(unknown.is_empty(), "attempts of {id} that are not on record: {unknown:?}");
        let has_succeeded = run["state"] == "succeeded";
        assert!(!has_succeeded || account.done.contains(&id), "{id} was never answered 200");
        repeats += usize::from(attempts.len() > 1);
    }
    let unknown: Vec<_> =
        account.begun.keys().filter(|id| !run_of.values().any(|known| known == *id)).collect();
    assert!(unknown.is_empty(), "runs that are not on record: {unknown:?}");
    assert!(repeats > 0, "nothing was interrupted: the test has shown nothing");
}

#[test]
fn every_run_ends_on_record_in_a_file() {
    let folder = TempDir::new().expect("a folder is made");
    play(1, || Server::start(PROGRAM, Store::Sqlite(folder.path()), &SETTINGS));
}

#[test]
fn every_run_ends_on_record_on_postgres() {
    let url = Postgres::shared().database();
    play(2, || Server::start(PROGRAM, Store::At(&url), &SETTINGS));
}

#[test]
fn every_run_ends_on_record_on_redis() {
    let url = format!("{}?prefix=runs-{:016x}", Redis::shared().url(), fastrand::u64(..));
    play(2, || Server::start(PROGRAM, Store::At(&url), &SETTINGS));
}
