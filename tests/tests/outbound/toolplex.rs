//! Automations that are triggered from anywhere: a signed request with a message runs a Ploybook,
//! and is seen in the history of runs.

use std::time::Duration;

use ploy_webhooks::{Clock, SystemClock, Timestamp};
use ploy_webhooks_tests::on_each_store;
use serde_json::{Value, json};

use crate::receiver::{Receiver, Says};
use crate::scene::{attempts, call, has_ended, show, start, text, until};
use crate::senders::Signing;

const BODY: &str = r#"{"data":{"message":"Process the new order","context":{"orderId":"12345"}}}"#;

#[test]
fn a_signed_trigger_runs_a_ploybook_and_a_wrong_one_runs_nothing() {
    on_each_store(|store| {
        let server = start(store);
        let engine = Receiver::start(|_| Says::text(200, "order 12345 is processed"));
        let ploybook = json!({
            "name": "orders", "instructions": "You look after orders.",
            "run": {"http": {"url": engine.url("/run")}},
        });
        call(&server, "POST", "/ploybooks", &ploybook);
        let trigger = json!({"trigger": {"ploybook": "orders"}});
        let automation = Signing::endpoint(&server, "toolplex", trigger);
        let header = automation.headers(SystemClock.now(), BODY.as_bytes()).remove(0);
        assert_eq!(header.0, "x-toolplex-signature");
        let millis = header.1.strip_prefix("t=").and_then(|rest| rest.split_once(",v1="));
        assert!(millis.is_some_and(|(millis, _)| millis.len() == 13), "{}", header.1);

        let now = SystemClock.now();
        let long_ago = Timestamp::from_millis(now.as_millis() - 301_000);
        let stranger = Signing { secret: "not-the-secret".to_owned(), ..automation.clone() };
        for (answer, code) in [
            (stranger.send(&server, BODY), "invalid_signature"),
            (automation.send_at(&server, long_ago, BODY), "stale_timestamp"),
            (
                automation.send_at(&server, now.after(Duration::from_secs(400)), BODY),
                "stale_timestamp",
            ),
        ] {
            assert_eq!((answer.status, answer.string("code")), (401, code.to_owned()));
        }

        let answer = automation.send(&server, BODY);
        assert_eq!(answer.status, 202, "{}", answer.json());
        let event = answer.string("id");
        let run = until("the run ends", || {
            let runs = server.list(&format!("/runs?event={event}"));
            runs.into_iter().find(has_ended)
        });
        assert_eq!(
            (&run["state"], &run["trigger"]),
            (&"succeeded".into(), &json!({"ploybook": "orders"}))
        );
        let [attempt] = attempts(&run) else { panic!("one attempt: {run}") };
        assert_eq!(attempt["output"], "order 12345 is processed");
        assert_eq!(show(&server, &format!("/runs/{}", text(&run["id"]))), run);

        let [got] = &engine.got()[..] else { panic!("it is run once") };
        assert_eq!(got.text("webhook-id"), text(&run["id"]));
        let data = &got.json()["data"];
        let sent: Value = serde_json::from_str(BODY).expect("JSON");
        assert_eq!((&data["payload"], &data["event_id"]), (&sent, &Value::from(event)));
        assert_eq!(data["instructions"], "You look after orders.");
        assert!(text(&data["prompt"]).contains("Process the new order"), "{data}");

        assert_eq!(automation.payloads(&server), [BODY.as_bytes()], "what is refused is no event");
        assert_eq!(server.list("/runs").len(), 1);
    });
}
