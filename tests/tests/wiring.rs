//! What an event runs is what was wired when it was accepted, on whichever node: changes of the
//! trigger of an endpoint, and of a subscription, under load.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ploy_webhooks_tests::{Endpoint, Server, Store};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ploy-webhooks-under-test");
const SENDERS: usize = 4;
/// Events that are accepted before the change, and after it.
const EVENTS: usize = 30;

/// An accepted event, and whether it was sent after the change had returned, and answered before
/// the change had begun.
struct Accepted {
    id: String,
    is_after: bool,
    is_before: bool,
}

/// Makes a change at one node while all are sent to, and looks at what each event owes: it is what
/// was wired before, after, or, of those that were under way at the change, one of the two.
fn under_load(
    nodes: &[Server],
    endpoint: &Endpoint,
    change: impl FnOnce(&Server),
    (before, after): (&[&str], &[&str]),
) {
    let (begun, returned, over) =
        (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
    let (count_before, count_after) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let send = |node: &Server| {
        let mut connection = node.connect();
        let mut accepted = Vec::new();
        while !over.load(Ordering::Acquire) {
            let is_after = returned.load(Ordering::Acquire);
            let answer = connection.send(&endpoint.event(r#"{"score":90}"#)).expect("an answer");
            assert_eq!(answer.status, 202, "{}", answer.json());
            let is_before = !begun.load(Ordering::Acquire);
            let count = if is_after { &count_after } else { &count_before };
            count.fetch_add(1, Ordering::Relaxed);
            accepted.push(Accepted { id: answer.string("id"), is_after, is_before });
        }
        accepted
    };
    let accepted: Vec<Accepted> = std::thread::scope(|scope| {
        let senders: Vec<_> = nodes
            .iter()
            .cycle()
            .take(SENDERS)
            .map(|node| {
                let send = &send;
                scope.spawn(move || send(node))
            })
            .collect();
        let until = |count: &AtomicUsize| {
            while count.load(Ordering::Relaxed) < EVENTS {
                let has_ended = senders.iter().any(std::thread::ScopedJoinHandle::is_finished);
                assert!(!has_ended, "a sender has ended too early");
                std::thread::yield_now();
            }
        };
        until(&count_before);
        begun.store(true, Ordering::Release);
        change(&nodes[0]);
        returned.store(true, Ordering::Release);
        until(&count_after);
        over.store(true, Ordering::Release);
        senders.into_iter().flat_map(|sender| sender.join().expect("it sends")).collect()
    });
    let mut seen = (0, 0);
    for Accepted { id, is_after, is_before } in accepted {
        let event = nodes[0].manage("GET", &format!("/events/{id}"), None).json();
        let owed = event["runs"].as_array().expect("a list");
        let mut owed: Vec<_> = owed.iter().map(|run| name_of(&run["trigger"])).collect();
        owed.sort();
        match (is_before, is_after) {
            (true, _) => assert_eq!(owed, before, "{id} was accepted before the change"),
            (_, true) => assert_eq!(owed, after, "{id} was sent after the change"),
            _ => assert!(owed == before || owed == after, "{id} owes {owed:?}"),
        }
        seen = (seen.0 + usize::from(is_before), seen.1 + usize::from(is_after));
    }
    assert!(seen.0 > 0 && seen.1 >= EVENTS, "before and after the change: {seen:?}");
}

fn name_of(trigger: &Value) -> String {
    match &trigger["ploybook"] {
        Value::String(name) => name.clone(),
        _ => trigger["rules"][0]["ploybook"].as_str().expect("a rule").to_owned(),
    }
}

/// On each store, and with two nodes on each that can be shared. Nobody carries anything out.
fn on_each_store(play: impl Fn(&[Server])) {
    let start = |store: Store<'_>| Server::start(PROGRAM, store, &[("PLOY_DISPATCH", "false")]);
    ploy_webhooks_tests::on_each_store(|store| play(&[start(store)]));
    ploy_webhooks_tests::on_each_shared_store(|store| play(&[start(store), start(store)]));
}

#[test]
fn a_run_belongs_to_the_trigger_that_was_set_when_its_event_was_accepted() {
    on_each_store(|nodes| {
        let endpoint = nodes[0].endpoint(&json!({"trigger": {"ploybook": "first"}}));
        let path = format!("/endpoints/{}", endpoint.id);
        let set = |trigger: Value| {
            let path = path.clone();
            move |node: &Server| {
                let changed = node.manage("PATCH", &path, Some(&json!({"trigger": trigger})));
                assert_eq!(changed.status, 200, "{}", changed.json());
            }
        };
        let second = set(json!({"ploybook": "second"}));
        under_load(nodes, &endpoint, second, (&["first"], &["second"]));
        under_load(nodes, &endpoint, set(Value::Null), (&["second"], &[]));
    });
}

#[test]
fn a_run_belongs_to_the_subscriptions_that_held_when_its_event_was_accepted() {
    on_each_store(|nodes| {
        let endpoint = nodes[0].endpoint(&json!({"trigger": {"ploybook": "own"}}));
        let subscription = json!({"ploybook": "hot", "condition": "payload.score > 80"});
        let create = |node: &Server| {
            let made = node.manage("POST", "/subscriptions", Some(&subscription));
            assert_eq!(made.status, 201, "{}", made.json());
        };
        under_load(nodes, &endpoint, create, (&["own"], &["hot", "own"]));
        let listed = nodes[0].list("/subscriptions");
        let path = format!("/subscriptions/{}", listed[0]["id"].as_str().expect("an id"));
        let delete = |node: &Server| {
            assert_eq!(node.manage("DELETE", &path, None).status, 204);
        };
        under_load(nodes, &endpoint, delete, (&["hot", "own"], &["own"]));
    });
}
