//! `SIGKILL` with deliveries under way: every event arrives at least once, every run ends on record,
//! and what is sent again has the name that it had.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use ploy_webhooks_engines::{Postgres, Redis};
use ploy_webhooks_tests::{Server, Store};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::receiver::{Receiver, Says};
use crate::scene::{LOCAL, PROGRAM, attempts, ended_runs, publish_many, text, until, wire};

const EVENTS: usize = 500;
/// So many requests come through before each kill; those after them wait until it is done, and are
/// not taken then.
const KILLS_AFTER: [usize; 2] = [100, 250];

/// How many requests are let through.
struct Barrier {
    limit: Mutex<usize>,
    raised: Condvar,
}

impl Barrier {
    /// Whether the request of that number comes through at once. If not, it waits until others do.
    fn passes(&self, number: usize) -> bool {
        let limit = self.limit.lock().expect("nobody panics");
        let passes = number < *limit;
        let waited = self.raised.wait_while(limit, |limit| number >= *limit);
        drop(waited.expect("nobody panics"));
        passes
    }

    fn raise(&self, limit: usize) {
        *self.limit.lock().expect("nobody panics") = limit;
        self.raised.notify_all();
    }
}

/// Starts a node by that name. Its leases are short, so that what it leaves is soon another's.
fn node(store: Store<'_>, name: &str) -> Server {
    let variables = [LOCAL, ("PLOY_RUN_LEASE_MS", "1500"), ("PLOY_WORKER", name)];
    Server::start(PROGRAM, store, &variables)
}

/// Delivers with these nodes, of which the last is killed and replaced, again and again, while it
/// waits for answers.
fn play(store: Store<'_>, others: &[&str]) {
    let others: Vec<_> = others.iter().map(|name| node(store, name)).collect();
    let mut victim = node(store, "victim-0");
    let barrier = Arc::new(Barrier { limit: Mutex::new(KILLS_AFTER[0]), raised: Condvar::new() });
    let (count, held) = (AtomicUsize::new(0), barrier.clone());
    let taken = Arc::<Mutex<BTreeSet<String>>>::default();
    let book = taken.clone();
    let receiver = Receiver::start(move |got| {
        if !held.passes(count.fetch_add(1, Ordering::Relaxed)) {
            return Says::status(503);
        }
        book.lock().expect("nobody panics").insert(got.text("ploy-event-id").to_owned());
        Says::status(200)
    });
    let retry = json!({"gaps_seconds": [1, 1, 1, 1]});
    let destination = wire(&victim, &json!({"url": receiver.url("/"), "retry": retry}));
    let events = publish_many(&victim, EVENTS);
    for (round, after) in KILLS_AFTER.into_iter().enumerate() {
        receiver.has_got(after + 1);
        let name = format!("victim-{round}");
        until("the victim waits for an answer", || {
            let running = format!("/runs?destination={destination}&state=running");
            victim.list(&running).iter().any(|run| is_of(run, &name)).then_some(())
        });
        victim.kill();
        victim = node(store, &format!("victim-{}", round + 1));
        let next = KILLS_AFTER.get(round + 1).copied();
        barrier.raise(next.unwrap_or(usize::MAX));
    }
    let runs = ended_runs(&victim, &destination, EVENTS);
    let events: BTreeSet<_> = events.into_iter().collect();
    assert_eq!(*taken.lock().expect("nobody panics"), events, "each event is taken");
    check(&events, &runs, &receiver);
    for server in others.into_iter().chain([victim]) {
        assert_eq!(server.stop(), Some(0));
    }
}

/// Whether the last attempt of the run is that worker's.
fn is_of(run: &Value, worker: &str) -> bool {
    attempts(run).last().is_some_and(|attempt| attempt["worker"] == worker)
}

fn check(events: &BTreeSet<String>, runs: &[Value], receiver: &Receiver) {
    let failed: Vec<_> = runs.iter().filter(|run| run["state"] != "succeeded").collect();
    assert!(failed.is_empty(), "these runs have not succeeded: {failed:?}");
    let run_of: BTreeMap<_, _> =
        runs.iter().map(|run| (text(&run["event_id"]), text(&run["id"]))).collect();
    assert!(run_of.keys().eq(events), "each event has one run");
    for got in receiver.got() {
        let name = got.text("webhook-id");
        assert_eq!(name, run_of[got.text("ploy-event-id")], "a repeat has the name of the first");
    }
    let lost = runs.iter().flat_map(attempts).filter(|attempt| attempt["outcome"].is_null());
    assert!(lost.count() >= KILLS_AFTER.len(), "no kill came amid an attempt: nothing is shown");
}

#[test]
fn every_event_arrives_from_a_node_that_is_killed_and_started_again() {
    let folder = TempDir::new().expect("a folder is made");
    play(Store::Sqlite(folder.path()), &[]);
}

#[test]
fn every_event_arrives_from_two_nodes_on_postgres() {
    play(Store::At(&Postgres::shared().database()), &["other"]);
}

#[test]
fn every_event_arrives_from_two_nodes_on_redis() {
    let url = format!("{}?prefix=out-{:016x}", Redis::shared().url(), fastrand::u64(..));
    play(Store::At(&url), &["other"]);
}
