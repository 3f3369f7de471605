//! A CRM: merge fields in JSON and in forms, signatures that its own kind of intake checks,
//! receivers that have to confirm first, time limits, and what is not published yet.

use std::time::Duration;

use ploy_webhooks::{Clock, SystemClock};
use ploy_webhooks_tests::{Endpoint, Request, Server, on_each_store};
use serde_json::{Value, json};

use crate::receiver::{Got, Receiver, Says};
use crate::scene::{
    attempts, call, destination, has_ended, publish, show, start, subscribe, text, the_run, until,
    wire,
};
use crate::senders::Signing;

/// Values that are more than text to whoever is careless.
const EMAIL: &str = "jane+sales&x=1@acme.com";
const FULL_NAME: &str = "Jane \"JD\" O'Doe\r\nBcc: all@acme.com";
const OPPORTUNITY: &str = "</script>{{contact.id}} \\ \u{1f600}\",\"admin\":\"true";

/// Has an endpoint take what happens to a contact.
fn contact_changes(server: &Server, endpoint: &Endpoint) -> String {
    let payload = json!({
        "contact": {"id": "c_1", "email": EMAIL, "full_name": FULL_NAME},
        "opportunity": {"name": OPPORTUNITY, "value": 1200.5},
    });
    let answer = server.connect().send(&endpoint.event(payload.to_string())).expect("an answer");
    assert_eq!(answer.status, 202, "{}", answer.json());
    answer.string("id")
}

#[test]
fn merge_fields_fill_a_json_body_and_a_form_and_stay_data() {
    on_each_store(|store| {
        let server = start(store);
        let (inbound, intake) =
            (server.endpoint(&json!({})), Signing::endpoint(&server, "crm", json!({})));
        let forms = Receiver::always(200);
        let wired = |form: Value| {
            let id = destination(&server, &form);
            subscribe(&server, &json!({"destination": id, "endpoints": [inbound.id]}));
            id
        };
        let to_json = wired(json!({
            "url": intake.url,
            "signing": intake.form(),
            "body": {"json": {
                "email": "{{contact.email}}",
                "name": "{{contact.full_name}}",
                "value": "{{opportunity.value}}",
                "note": "Won: {{opportunity.name}}!",
            }},
        }));
        let to_form = wired(json!({
            "url": forms.url("/form"),
            "signing": intake.form(),
            "body": {"form": {
                "email": "{{contact.email}}",
                "name": "{{contact.full_name}}",
                "opportunity": "{{opportunity.name}}",
            }},
        }));
        contact_changes(&server, &inbound);

        let run = the_run(&server, &to_json, "succeeded");
        assert_eq!(attempts(&run)[0]["delivery"]["response"]["status"], 202);
        let [taken] = &intake.payloads(&server)[..] else { panic!("it is taken once") };
        let taken: Value = serde_json::from_slice(taken).expect("JSON");
        let note = format!("Won: {OPPORTUNITY}!");
        assert_eq!(
            taken,
            json!({"email": EMAIL, "name": FULL_NAME, "value": 1200.5, "note": note})
        );

        the_run(&server, &to_form, "succeeded");
        let [got] = &forms.got()[..] else { panic!("it is delivered once") };
        assert_eq!(got.text("content-type"), "application/x-www-form-urlencoded");
        let expected = [("email", EMAIL), ("name", FULL_NAME), ("opportunity", OPPORTUNITY)];
        let inputs: Vec<_> = form_urlencoded::parse(&got.body).collect();
        assert_eq!(inputs, expected.map(|(name, value)| (name.into(), value.into())));
        assert_signed(got, &intake);
    });
}

/// What came is signed as the CRM does, over the bytes that came.
fn assert_signed(got: &Got, by: &Signing) {
    for (name, value) in by.headers(SystemClock.now(), &got.body) {
        assert_eq!(got.header(&name), Some(&*value), "{name}");
    }
}

#[test]
fn what_a_payload_lacks_is_named_and_nothing_is_sent() {
    on_each_store(|store| {
        let (server, receiver) = (start(store), Receiver::always(200));
        let body = json!({"json": {"email": "{{email}}", "name": "{{contact.full_name}}"}});
        let id = wire(&server, &json!({"url": receiver.url("/"), "body": body}));
        publish(&server, "contact.updated", &json!({"contact": {"full_name": "Jane"}}));
        let run = the_run(&server, &id, "failed");
        let [attempt] = attempts(&run) else { panic!("trying again is of no use: {run}") };
        assert_eq!(attempt["delivery"]["class"], "template");
        assert!(text(&attempt["error"]).contains("`email`"), "{attempt}");
        assert_eq!(receiver.connections(), 0);
    });
}

/// An event waits for a destination that is not confirmed: it was looked at, and held.
fn waits(server: &Server, destination: &str) {
    let held = until("the delivery is held", || {
        let runs = server.list(&format!("/runs?destination={destination}"));
        let [run] = &runs[..] else { return None };
        attempts(run).iter().find(|attempt| attempt["outcome"] == "held").cloned()
    });
    assert_eq!(held["error"], "the destination is not confirmed yet");
    assert_eq!(held["delivery"]["request"], Value::Null, "nothing was sent");
}

#[test]
fn an_intake_of_the_same_kind_confirms_by_itself() {
    on_each_store(|store| {
        let server = start(store);
        let intake = Signing::endpoint(&server, "crm", json!({}));
        let id = destination(
            &server,
            &json!({"url": intake.url, "signing": intake.form(), "status": "unverified"}),
        );
        subscribe(&server, &json!({"destination": id, "types": ["contact.*"]}));
        publish(&server, "contact.created", &json!({"id": "c_1"}));
        waits(&server, &id);
        assert!(intake.payloads(&server).is_empty());

        let verified = call(&server, "POST", &format!("/destinations/{id}/verify"), &Value::Null);
        let verified = verified.json();
        assert_eq!(verified["verified"], true, "{verified}");
        assert_eq!(verified["record"]["response"]["status"], 200);
        let shown = show(&server, &format!("/destinations/{id}"));
        assert_eq!(shown["status"], "active");
        assert!(shown["state"]["verified_at"].is_string(), "{shown}");
        the_run(&server, &id, "succeeded");
        assert_eq!(intake.payloads(&server), [br#"{"id":"c_1"}"#], "the handshake is no event");
    });
}

#[test]
fn a_receiver_that_does_not_echo_confirms_by_the_link() {
    on_each_store(|store| {
        let (server, receiver) = (start(store), Receiver::always(200));
        let id = wire(&server, &json!({"url": receiver.url("/"), "status": "unverified"}));
        publish(&server, "contact.created", &json!({"id": "c_1"}));
        waits(&server, &id);
        assert_eq!(receiver.connections(), 0);

        let path = format!("/destinations/{id}/verify");
        let asked = call(&server, "POST", &path, &Value::Null).json();
        assert_eq!(asked["verified"], false);
        let question = receiver.got().remove(0).json();
        let (token, link) =
            (text(&question["confirmation_token"]), text(&question["confirmation_url"]));
        assert_eq!(question["type"], "destination.confirm");
        assert!(!asked.to_string().contains(token), "who asks does not see the token");

        let path = link.strip_prefix(&format!("http://{}", server.address())).expect("its own");
        let open = |method: &str, path: &str| {
            server.connect().send(&Request::new(method, path)).expect("an answer").status
        };
        let wrong = path.replace(token, &token.chars().rev().collect::<String>());
        assert_eq!(open("GET", &wrong), 404);
        assert_eq!(open("HEAD", path), 200);
        let shown = show(&server, &format!("/destinations/{id}"));
        assert_eq!(shown["status"], "unverified", "a preview confirms nothing");
        assert_eq!(receiver.got().len(), 1, "nothing but the question was sent");

        assert_eq!(open("GET", path), 200);
        the_run(&server, &id, "succeeded");
        assert_eq!(receiver.got()[1].json(), json!({"id": "c_1"}));
        assert_eq!(show(&server, &format!("/destinations/{id}"))["status"], "active");
        assert_eq!(open("GET", path), 404, "a link is good for once");
    });
}

#[test]
fn a_receiver_that_answers_too_late_has_failed() {
    on_each_store(|store| {
        let server = start(store);
        let late = Duration::from_secs(2);
        let receiver = Receiver::start(move |_| Says { after: late, ..Says::status(200) });
        let form = json!({
            "url": receiver.url("/"), "time_limit_seconds": 1, "retry": {"gaps_seconds": [0]},
        });
        let id = wire(&server, &form);
        publish(&server, "contact.created", &json!({"id": "c_1"}));
        let run = the_run(&server, &id, "failed");
        let outcomes: Vec<_> = attempts(&run).iter().map(|tried| text(&tried["outcome"])).collect();
        assert_eq!(outcomes, ["retry", "failed"]);
        for attempt in attempts(&run) {
            assert_eq!(attempt["delivery"]["class"], "timeout");
            assert!(text(&attempt["error"]).ends_with("has not answered within 1s"), "{attempt}");
            assert_eq!(attempt["delivery"]["response"], Value::Null);
        }
        let ids: Vec<_> =
            receiver.got().iter().map(|got| got.text("webhook-id").to_owned()).collect();
        assert_eq!(ids, [text(&run["id"]), text(&run["id"])]);
    });
}

#[test]
fn what_is_a_draft_sends_nothing_and_records_what_it_would_have_sent() {
    on_each_store(|store| {
        let (server, receiver) = (start(store), Receiver::always(200));
        let id = destination(
            &server,
            &json!({
                "url": receiver.url("/contacts/{{contact.id}}"),
                "method": "PUT",
                "headers": {"Authorization": {"secret": "Bearer crm-token"}},
                "body": {"json": {"email": "{{contact.email}}"}},
            }),
        );
        subscribe(&server, &json!({"destination": id, "draft": true}));
        let contact = json!({"contact": {"id": "c/1", "email": EMAIL}});
        publish(&server, "contact.created", &contact);
        let run = the_run(&server, &id, "succeeded");
        assert_eq!(run["trigger"]["draft"], true);
        let delivery = &attempts(&run)[0]["delivery"];
        assert_eq!((&delivery["draft"], &delivery["response"]), (&true.into(), &Value::Null));
        let request = &delivery["request"];
        assert_eq!(request["method"], "PUT");
        assert_eq!(request["url"], receiver.url("/contacts/c%2F1"));
        assert_eq!(request["headers"]["authorization"], "…");
        assert_eq!(request["body"], json!({"email": EMAIL}).to_string());
        assert_eq!(receiver.connections(), 0);

        // Published, it sends what it showed.
        let subscriptions = server.list("/subscriptions");
        let path = format!("/subscriptions/{}", text(&subscriptions[0]["id"]));
        call(&server, "PATCH", &path, &json!({"draft": false}));
        publish(&server, "contact.created", &contact);
        let got = receiver.has_got(1).remove(0);
        assert_eq!((&*got.method, &*got.path), ("PUT", "/contacts/c%2F1"));
        assert_eq!(got.json(), json!({"email": EMAIL}));
        until("its run ends", || {
            let runs = server.list(&format!("/runs?destination={id}"));
            (runs.len() == 2 && runs.iter().all(has_ended)).then_some(())
        });
    });
}
