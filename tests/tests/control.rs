//! Pause, rotate and delete under load: they return soon, and nothing that is sent after they
//! have returned is accepted under the old state.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use ploy_webhooks_tests::{Answer, Endpoint, Server, Store};
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ploy-webhooks-under-test");
const SENDERS: usize = 12;
/// The contract of a change under load. Of several tries the middle one counts, so that a disk
/// that stalls once does not decide.
const SOON: Duration = Duration::from_millis(250);
const TRIES: usize = 5;

/// Sets the flag when it goes, on the way of a panic too: whoever waits for it waits no longer.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Makes the change at one node while all nodes are under load, some times; after it has returned,
/// every request that is begun at any of them must be answered as `refused` says.
fn under_load(nodes: &[Server], change: impl Fn(&Server, &Endpoint) -> Answer, refused: &[u16]) {
    let server = &nodes[0];
    let mut durations = Vec::new();
    for _ in 0..TRIES {
        let endpoint = server.endpoint(&json!({}));
        let (changed, done) = (AtomicBool::new(false), AtomicBool::new(false));
        let send_until_done = |node: &Server| {
            let mut connection = node.connect();
            let event = endpoint.event(r#"{"under":"load"}"#);
            while !done.load(Ordering::Acquire) {
                let sent_after_the_change = changed.load(Ordering::Acquire);
                let status = connection.send(&event).expect("an answer").status;
                if sent_after_the_change {
                    assert!(refused.contains(&status), "{status} after the change");
                } else {
                    assert!(status == 202 || refused.contains(&status), "{status}");
                }
            }
        };
        std::thread::scope(|scope| {
            let _done = SetOnDrop(&done);
            let senders: Vec<_> = nodes
                .iter()
                .cycle()
                .take(SENDERS)
                .map(|node| scope.spawn(move || send_until_done(node)))
                .collect();
            let first = format!("/events?endpoint={}&limit=1", endpoint.id);
            while server.manage("GET", &first, None).json()["data"] == json!([]) {
                let has_ended = senders.iter().any(ScopedJoinHandle::is_finished);
                assert!(!has_ended, "a sender ended before the change");
            }
            let begin = Instant::now();
            let answer = change(server, &endpoint);
            durations.push(begin.elapsed());
            changed.store(true, Ordering::Release);
            assert!(answer.status < 300, "{}", answer.status);
            // A while of load after the change.
            let mut connection = nodes[nodes.len() - 1].connect();
            for _ in 0..200 {
                let status = connection.send(&endpoint.event("{}")).expect("an answer").status;
                assert!(refused.contains(&status), "{status} after the change");
            }
        });
    }
    durations.sort();
    assert!(durations[TRIES / 2] <= SOON, "changes took {durations:?}");
}

/// Held by each test: the contract is of a machine that does one thing, and each brings senders of
/// its own.
static ALONE: Mutex<()> = Mutex::new(());

/// On each store, and with two nodes on each store that can be shared.
fn on_each_store(change: impl Fn(&Server, &Endpoint) -> Answer, refused: &[u16]) {
    // One that has failed leaves nothing behind that matters to the next.
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let start = |store: Store<'_>| Server::start(PROGRAM, store, &[]);
    ploy_webhooks_tests::on_each_store(|store| under_load(&[start(store)], &change, refused));
    ploy_webhooks_tests::on_each_shared_store(|store| {
        under_load(&[start(store), start(store)], &change, refused);
    });
}

#[test]
fn pause_is_now() {
    let pause = |server: &Server, endpoint: &Endpoint| {
        let path = format!("/endpoints/{}", endpoint.id);
        server.manage("PATCH", &path, Some(&json!({"status": "paused"})))
    };
    on_each_store(pause, &[403]);
}

#[test]
fn rotation_is_now() {
    let rotate = |server: &Server, endpoint: &Endpoint| {
        server.manage("POST", &format!("/endpoints/{}/rotate", endpoint.id), Some(&json!({})))
    };
    on_each_store(rotate, &[401]);
}

#[test]
fn deletion_is_now() {
    let delete = |server: &Server, endpoint: &Endpoint| {
        server.manage("DELETE", &format!("/endpoints/{}", endpoint.id), None)
    };
    on_each_store(delete, &[404]);
}
