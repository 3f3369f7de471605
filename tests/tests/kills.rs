//! `SIGKILL` under load, many times: what was acknowledged is there, verbatim, once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;

use ploy_webhooks_tests::{Connection, Endpoint, Server, Store};
use serde_json::json;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ploy-webhooks-under-test");
const KILLS: usize = 12;
const SENDERS: usize = 8;
/// So many acknowledgements a round before the kill.
const ACKNOWLEDGED: usize = 200;

/// Payloads that differ, in size too: some are larger than a page of the database.
fn payload(number: u64) -> Vec<u8> {
    let spaces = " ".repeat((number % 7 * 1_500) as usize);
    format!("{{ \"number\" :{number},{spaces}\"number\":\"\\ud800\"}}").into_bytes()
}

/// Sends until the server is gone. What was acknowledged: ids and payloads.
fn send_until_the_end(
    mut connection: Connection,
    endpoint: &Endpoint,
    numbers: &AtomicU64,
    acknowledged: &AtomicUsize,
) -> Vec<(String, Vec<u8>)> {
    let mut kept = Vec::new();
    loop {
        let payload = payload(numbers.fetch_add(1, Ordering::Relaxed));
        match connection.send(&endpoint.event(payload.clone())) {
            Ok(answer) if answer.status == 202 => {
                kept.push((answer.string("id"), payload));
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => panic!("{}: {}", answer.status, answer.json()),
            Err(_) => return kept,
        }
    }
}

#[test]
fn what_was_acknowledged_survives_sigkill() {
    let folder = TempDir::new().expect("a folder is made");
    let start = || Server::start(PROGRAM, Store::Sqlite(folder.path()), &[]);
    let mut server = start();
    let endpoint = server.endpoint(&json!({}));
    let numbers = AtomicU64::new(0);
    let mut acknowledged = HashMap::new();
    for _ in 0..KILLS {
        let count = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let senders: Vec<_> = (0..SENDERS)
                .map(|_| {
                    let connection = server.connect();
                    scope.spawn(|| send_until_the_end(connection, &endpoint, &numbers, &count))
                })
                .collect();
            // A sender that ends by itself has panicked or lost the server: without them all,
            // the count would never be reached.
            while count.load(Ordering::Relaxed) < ACKNOWLEDGED
                && !senders.iter().all(ScopedJoinHandle::is_finished)
            {
                std::thread::yield_now();
            }
            server.kill();
            for sender in senders {
                acknowledged.extend(sender.join().expect("it sends"));
            }
        });
        server = start();
    }
    assert!(acknowledged.len() >= KILLS * ACKNOWLEDGED);

    let kept = server.events(&endpoint);
    let count = kept.len();
    let kept: HashMap<_, _> = kept.into_iter().collect();
    assert_eq!(kept.len(), count, "an event is there twice");
    for (id, payload) in &acknowledged {
        assert!(kept.get(id) == Some(payload), "{id} is lost or changed");
    }
    // What was stored and not acknowledged: at most what was under way at each kill.
    assert!(count - acknowledged.len() <= KILLS * SENDERS);
    assert_eq!(server.stop(), Some(0));
}
