//! What the flows have in common: a server that may deliver to this machine, what is set up on it,
//! and what is on record there.

use std::time::{Duration, Instant};

use ploy_webhooks_tests::{Answer, Server, Store};
use serde_json::{Value, json};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_ploy-webhooks-under-test");
/// Longer than anything takes that is waited for.
pub(crate) const A_WHILE: Duration = Duration::from_secs(90);
/// Receivers are on this machine.
pub(crate) const LOCAL: (&str, &str) = ("PLOY_DELIVERY_ALLOW", "127.0.0.0/8");

/// A server on that store that may deliver to this machine.
pub(crate) fn start(store: Store<'_>) -> Server {
    Server::start(PROGRAM, store, &[LOCAL])
}

/// Calls the management API, which has to do what it is asked.
pub(crate) fn call(server: &Server, method: &str, path: &str, body: &Value) -> Answer {
    let body = Some(body).filter(|body| !body.is_null());
    let answer = server.manage(method, path, body);
    let said = String::from_utf8_lossy(&answer.body);
    assert!((200..300).contains(&answer.status), "{method} {path}: {} {said}", answer.status);
    answer
}

pub(crate) fn show(server: &Server, path: &str) -> Value {
    call(server, "GET", path, &Value::Null).json()
}

/// Makes a destination, and returns its id.
pub(crate) fn destination(server: &Server, form: &Value) -> String {
    call(server, "POST", "/destinations", form).string("id")
}

pub(crate) fn subscribe(server: &Server, form: &Value) {
    call(server, "POST", "/subscriptions", form);
}

/// Makes a destination, has every event delivered there that the app publishes or takes in, and
/// returns its id.
pub(crate) fn wire(server: &Server, form: &Value) -> String {
    let id = destination(server, form);
    subscribe(server, &json!({"destination": id}));
    id
}

/// Publishes an event, and returns its id.
pub(crate) fn publish(server: &Server, event_type: &str, payload: &Value) -> String {
    let event = json!({"type": event_type, "payload": payload});
    call(server, "POST", "/events", &event).string("id")
}

/// Publishes so many events, and returns their ids.
pub(crate) fn publish_many(server: &Server, count: usize) -> Vec<String> {
    (0..count).map(|number| publish(server, "row.added", &json!({"number": number}))).collect()
}

/// Waits until that is there. Asks again and again: a store tells nobody that a run has ended.
pub(crate) fn until<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(begun.elapsed() < A_WHILE, "it does not come to pass: {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}

pub(crate) fn has_ended(run: &Value) -> bool {
    matches!(run["state"].as_str(), Some("succeeded" | "failed"))
}

/// Every run to that destination, when there are so many and none of them is owed any more.
pub(crate) fn ended_runs(server: &Server, destination: &str, count: usize) -> Vec<Value> {
    until("runs end", || {
        let runs = server.list(&format!("/runs?destination={destination}"));
        (runs.len() == count && runs.iter().all(has_ended)).then_some(runs)
    })
}

/// The only run to that destination, when it has ended so.
pub(crate) fn the_run(server: &Server, destination: &str, state: &str) -> Value {
    let run = ended_runs(server, destination, 1).remove(0);
    assert_eq!(run["state"], state, "{run}");
    run
}

/// What is on record of the attempts of a run, in order.
pub(crate) fn attempts(run: &Value) -> &[Value] {
    run["attempts"].as_array().expect("a list")
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}
