//! The program on a shared engine that is killed, and one of two programs that is: what was
//! acknowledged is there, verbatim, once, and whoever is left goes on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use ploy_webhooks_engines::{Postgres, Redis};
use ploy_webhooks_tests::{Connection, Endpoint, Server, Store, on_each_shared_store};
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ploy-webhooks-under-test");
const SENDERS: usize = 8;
/// So many acknowledgements before what is killed is killed, and again after it is back.
const ACKNOWLEDGED: u64 = 200;
/// Longer than anything takes that is waited for.
const A_WHILE: Duration = Duration::from_secs(120);

/// Events that were acknowledged: their ids and payloads.
type Acknowledged = Vec<(String, Vec<u8>)>;

/// What senders count and are told.
#[derive(Default)]
struct Load {
    numbers: AtomicU64,
    acknowledged: AtomicU64,
    refused: AtomicU64,
    over: AtomicBool,
}

/// Sets the flag when it goes, on the way of a panic too: whoever waits for it waits no longer.
struct Over<'a>(&'a Load);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
    }
}

impl Load {
    /// Sends until it is over, or the program has ended.
    fn send(&self, mut connection: Connection, endpoint: &Endpoint) -> Acknowledged {
        let mut kept = Vec::new();
        while !self.over.load(Ordering::Acquire) {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            let payload = format!("{{ \"number\" :{number},\"number\":\"\\ud800\"}}").into_bytes();
            let Ok(answer) = connection.send(&endpoint.event(payload.clone())) else {
                return kept;
            };
            match answer.status {
                202 => {
                    kept.push((answer.string("id"), payload));
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                503 => {
                    assert!(answer.header("retry-after").is_some());
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    // As a sender should: not at once.
                    std::thread::sleep(Duration::from_millis(20));
                }
                status => panic!("{status}: {}", answer.json()),
            }
        }
        kept
    }

    /// Waits until so much more was counted.
    fn await_more(
        &self,
        count: &AtomicU64,
        more: u64,
        senders: &[ScopedJoinHandle<'_, Acknowledged>],
    ) {
        let (enough, begin) = (count.load(Ordering::Relaxed) + more, Instant::now());
        while count.load(Ordering::Relaxed) < enough {
            assert!(begin.elapsed() < A_WHILE, "the senders make no progress");
            assert!(!senders.iter().all(ScopedJoinHandle::is_finished), "the senders have ended");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What was acknowledged is there once, as it was sent, and little else is: what was under way and
/// could not be answered.
fn assert_kept(server: &Server, endpoint: &Endpoint, sent: &[(String, Vec<u8>)], doubtful: u64) {
    let kept = server.events(endpoint);
    let count = kept.len();
    let kept: HashMap<_, _> = kept.into_iter().collect();
    assert_eq!(kept.len(), count, "an event is there twice");
    for (id, payload) in sent {
        assert!(kept.get(id) == Some(payload), "{id} is lost or changed");
    }
    let unanswered = (count - sent.len()) as u64;
    assert!(unanswered <= doubtful, "{unanswered} events that were refused are there");
}

/// Kills an engine under load and starts it again, twice; the program stays.
fn the_program_outlives_its_engine(url: &str, kill: impl Fn(), restart: impl Fn()) {
    let server = Server::start(PROGRAM, Store::At(url), &[]);
    let endpoint = server.endpoint(&json!({}));
    let load = Load::default();
    let sent = std::thread::scope(|scope| {
        let over = Over(&load);
        let send = || load.send(server.connect(), &endpoint);
        let senders: Vec<_> = (0..SENDERS).map(|_| scope.spawn(send)).collect();
        for _ in 0..2 {
            load.await_more(&load.acknowledged, ACKNOWLEDGED, &senders);
            kill();
            load.await_more(&load.refused, 1, &senders);
            restart();
            load.await_more(&load.acknowledged, ACKNOWLEDGED, &senders);
        }
        drop(over);
        senders
            .into_iter()
            .flat_map(|sender| sender.join().expect("it sends"))
            .collect::<Acknowledged>()
    });
    assert!(sent.len() as u64 >= 4 * ACKNOWLEDGED);
    // Of what was refused, only what was under way at a kill may be there.
    assert_kept(&server, &endpoint, &sent, 2 * SENDERS as u64);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn the_program_outlives_postgres() {
    let postgres = Postgres::start();
    let url = postgres.database();
    the_program_outlives_its_engine(&url, || postgres.kill(), || postgres.restart());
}

#[test]
fn the_program_outlives_redis() {
    let redis = Redis::start();
    the_program_outlives_its_engine(redis.url(), || redis.kill(), || redis.restart());
}

#[test]
fn what_a_killed_node_acknowledged_is_there_for_the_others() {
    on_each_shared_store(|store| {
        let start = || Server::start(PROGRAM, store, &[]);
        let (killed, other) = (start(), start());
        let endpoint = other.endpoint(&json!({}));
        let load = Load::default();
        let sent = std::thread::scope(|scope| {
            let over = Over(&load);
            let senders: Vec<_> = (0..SENDERS)
                .map(|sender| {
                    let connection = [&killed, &other][sender % 2].connect();
                    scope.spawn(|| load.send(connection, &endpoint))
                })
                .collect();
            load.await_more(&load.acknowledged, ACKNOWLEDGED, &senders);
            killed.kill();
            load.await_more(&load.acknowledged, ACKNOWLEDGED, &senders);
            drop(over);
            let sent = senders.into_iter().flat_map(|sender| sender.join().expect("it sends"));
            sent.collect::<Acknowledged>()
        });
        // On a machine that is slow an answer may come too late, which is no fault of the kill.
        let refused = load.refused.load(Ordering::Relaxed);
        assert_kept(&other, &endpoint, &sent, SENDERS as u64 + refused);
    });
}
