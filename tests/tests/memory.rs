//! Senders that trickle do not take the process's memory, nor its time for others.

use ploy_webhooks_tests::{Server, Store, object_of};
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ploy-webhooks-under-test");
const TRICKLERS: usize = 256;
const MIB: u64 = 1 << 20;
const BUDGET: u64 = 64 * MIB;

#[test]
fn a_crowd_that_trickles_takes_no_more_than_the_budget() {
    let budget = BUDGET.to_string();
    let flags = [("PLOY_IN_FLIGHT_BYTES_MAX", budget.as_str()), ("PLOY_BODY_TIMEOUT_MS", "60000")];
    let server = Server::start(PROGRAM, Store::Memory, &flags);
    let endpoint = server.endpoint(&json!({}));
    let large = endpoint.event(object_of(MIB as usize));
    let (head, body) = (large.head(), &large.bytes()[large.head().len()..]);

    let mut tricklers: Vec<_> = (0..TRICKLERS).map(|_| server.connect()).collect();
    for trickler in &mut tricklers {
        trickler.write(&head).expect("the head is sent");
    }
    let mut most = 0;
    let mut other = server.connect();
    // Four times the budget in all, a slice of each body at a time. Whoever is refused is not
    // heard any more.
    for slice in body[..body.len() - 1].chunks(64 << 10) {
        for trickler in &mut tricklers {
            let _ = trickler.write(slice);
        }
        let answer = other.send(&endpoint.event(r#"{"small":true}"#)).expect("an answer");
        assert_eq!(answer.status, 202, "others are served: {}", answer.json());
        most = most.max(server.resident_bytes());
    }
    assert!(most <= BUDGET + 100 * MIB, "{} MiB were resident", most / MIB);
    assert!(most > BUDGET / 2, "the crowd was not held: {} MiB", most / MIB);
}
