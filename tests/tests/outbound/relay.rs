//! One of our servers delivers to another, by each scheme that both speak. On the way an answer is
//! lost, so that the delivery is repeated.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use ploy_webhooks_tests::{Connection, Request, Store, on_each_store};
use serde_json::{Value, json};

use crate::receiver::{Got, Receiver, Says};
use crate::scene::{attempts, destination, publish, start, subscribe, text, the_run};
use crate::senders::Signing;

/// The schemes, and whether each has a name for a delivery by which a repeat is known.
const SCHEMES: [(&str, bool); 7] = [
    ("standard-webhooks", true),
    ("svix", true),
    ("stripe", true),
    ("github", true),
    ("crm", true),
    ("clay", false),
    ("toolplex", false),
];

/// Hands on to that server what it gets, as it is. Of the first try of each delivery the answer is
/// lost.
fn lossy(to: SocketAddr, answers: Arc<Mutex<Vec<Value>>>) -> Receiver {
    let tried = Mutex::new(HashSet::new());
    Receiver::start(move |got| {
        let answer = Connection::open(to).and_then(|mut on| on.send(&handed_on(got)));
        let answer = answer.expect("the other server answers");
        answers.lock().expect("no panics").push(answer.json());
        match tried.lock().expect("no panics").insert(got.text("webhook-id").to_owned()) {
            true => Says::status(502),
            false => Says { body: answer.body, ..Says::status(answer.status) },
        }
    })
}

fn handed_on(got: &Got) -> Request {
    let request = Request::new(&got.method, &got.path).body(got.body.clone());
    let is_of_the_way = |name: &str| ["host", "content-length", "connection"].contains(&name);
    got.headers()
        .filter(|(name, _)| !is_of_the_way(name))
        .fold(request, |request, (name, value)| request.header(name, value))
}

#[test]
fn another_server_takes_what_is_signed_by_its_scheme_and_knows_repeats() {
    on_each_store(|store| {
        let (from, to) = (start(store), start(Store::Memory));
        for (scheme, knows_repeats) in SCHEMES {
            let intake = Signing::endpoint(&to, scheme, json!({}));
            let answers = Arc::<Mutex<Vec<Value>>>::default();
            let way = lossy(to.address(), answers.clone());
            let id = destination(
                &from,
                &json!({
                    "url": way.url(&intake.path),
                    "signing": intake.form(),
                    // As GitHub names a delivery, and what has happened.
                    "headers": {
                        "X-GitHub-Delivery": "{{delivery.id}}", "X-GitHub-Event": "{{event.type}}",
                    },
                    "retry": {"gaps_seconds": [0, 0]},
                }),
            );
            let event_type = format!("{scheme}.paid");
            subscribe(&from, &json!({"destination": id, "types": [event_type]}));
            // Stripe and the CRM name an event in its payload.
            let payload = json!({"id": "evt_of_ours", "type": event_type, "amount": 1.50});
            publish(&from, &event_type, &payload);

            let run = the_run(&from, &id, "succeeded");
            let statuses =
                attempts(&run).iter().map(|tried| &tried["delivery"]["response"]["status"]);
            assert_eq!(statuses.collect::<Vec<_>>(), [502, 202], "{scheme}");
            assert!(way.got().iter().all(|got| got.text("webhook-id") == text(&run["id"])));
            let payloads = intake.payloads(&to);
            let taken = if knows_repeats { 1 } else { 2 };
            assert_eq!(payloads, vec![payload.to_string().into_bytes(); taken], "{scheme}");
            let answers = answers.lock().expect("no panics");
            let [first, again] = &answers[..] else { panic!("{scheme}: {answers:?}") };
            assert_eq!(first["status"], "accepted", "{scheme}: {first}");
            assert_eq!(again["duplicate"] == true, knows_repeats, "{scheme}: {again}");
            assert_eq!(first["id"] == again["id"], knows_repeats, "{scheme}: {again}");
        }
    });
}

#[test]
fn another_server_refuses_what_is_signed_with_another_secret() {
    on_each_store(|store| {
        let (from, to) = (start(store), start(Store::Memory));
        for (scheme, _) in SCHEMES {
            let intake = Signing::endpoint(&to, scheme, json!({}));
            // One that is minted, in the form of the scheme.
            let form = json!({
                "url": intake.url, "signing": {"scheme": scheme}, "retry": {"gaps_seconds": []},
            });
            let id = destination(&from, &form);
            subscribe(&from, &json!({"destination": id, "types": [format!("{scheme}.paid")]}));
            publish(&from, &format!("{scheme}.paid"), &json!({"id": "evt_of_ours"}));
            let run = the_run(&from, &id, "failed");
            let delivery = &attempts(&run)[0]["delivery"];
            assert_eq!(delivery["response"]["status"], 401, "{scheme}");
            assert!(text(&delivery["response"]["body"]).contains("invalid_signature"), "{scheme}");
            assert!(intake.payloads(&to).is_empty(), "{scheme}");
        }
    });
}
