//! A business suite: an invoice is paid, and who is subscribed to that hears of it, with headers of
//! their own; what fails is tried again, and once more by hand.

use std::time::Duration;

use jiff::Timestamp;
use ploy_webhooks_tests::{Server, on_each_store};
use serde_json::{Value, json};

use crate::receiver::{Got, Receiver, Says};
use crate::scene::{
    attempts, call, destination, ended_runs, publish, show, start, subscribe, text, the_run,
};

const TOKEN: &str = "Bearer plutio-workspace-token";
/// How long apart attempts are at most, and at least half as long.
const GAPS_SECONDS: [u64; 3] = [1, 1, 2];

/// A destination for what happens to invoices, with headers of its own, one of them secret.
fn webhook(server: &Server, receiver: &Receiver) -> String {
    let id = destination(
        server,
        &json!({
            "url": receiver.url("/hooks/plutio?team=books"),
            "headers": {"X-Workspace": "acme", "Authorization": {"secret": TOKEN}},
            "retry": {"gaps_seconds": GAPS_SECONDS},
        }),
    );
    subscribe(server, &json!({"destination": id, "types": ["invoice.*", "form.submitted"]}));
    id
}

fn invoice() -> Value {
    json!({"_id": "inv_1", "status": "paid", "amount": 129.5, "client": {"name": "Acme"}})
}

#[test]
fn an_invoice_is_paid_and_one_of_two_webhooks_is_down_for_a_while() {
    on_each_store(|store| {
        let server = start(store);
        let books = Receiver::always(200);
        let automation = Receiver::start(|_| Says::text(500, "Scenario is broken"));
        let (to_books, to_automation) = (webhook(&server, &books), webhook(&server, &automation));

        let other = publish(&server, "task.completed", &json!({"_id": "task_1"}));
        assert_eq!(show(&server, &format!("/events/{other}"))["runs"], json!([]));
        let event = publish(&server, "invoice.paid", &invoice());

        let delivered = the_run(&server, &to_books, "succeeded");
        assert_eq!(
            (attempts(&delivered).len(), delivered["event_id"].as_str()),
            (1, Some(&*event))
        );
        let [got] = &books.got()[..] else { panic!("it is delivered once") };
        assert_is_the_invoice(got, &event, &delivered);

        let failed = the_run(&server, &to_automation, "failed");
        let tries = automation.got();
        tries.iter().for_each(|got| assert_is_the_invoice(got, &event, &failed));
        assert_tried_in_time(&failed, &tries);
        attempts(&failed).iter().for_each(|attempt| assert_on_record(attempt, &automation));
        let kept = show(&server, &format!("/destinations/{to_automation}"));
        assert_eq!(kept["retry"], json!({"gaps_seconds": GAPS_SECONDS}));
        assert_eq!(kept["headers"]["Authorization"], json!({"secret": true}));
        for shown in [&delivered, &failed, &kept] {
            assert!(!shown.to_string().contains(TOKEN), "a secret is shown: {shown}");
        }

        automation.now(|_| Says::status(200));
        let retried =
            call(&server, "POST", &format!("/destinations/{to_automation}/retry"), &Value::Null);
        assert_eq!(retried.json(), json!({"retried": 1, "next_cursor": null}));
        let again = &automation.has_got(5)[4];
        assert_is_the_invoice(again, &event, &failed);
        let done = the_run(&server, &to_automation, "succeeded");
        assert_eq!((&done["id"], attempts(&done).len()), (&failed["id"], 5));
        assert_eq!(books.got().len(), 1, "what was delivered is not retried");
    });
}

/// It is the event as it was published, under the name of its run.
fn assert_is_the_invoice(got: &Got, event: &str, run: &Value) {
    assert_eq!((&*got.method, &*got.path), ("POST", "/hooks/plutio?team=books"));
    assert_eq!(String::from_utf8_lossy(&got.body), invoice().to_string());
    assert_eq!(got.text("content-type"), "application/json");
    assert_eq!((got.text("x-workspace"), got.text("authorization")), ("acme", TOKEN));
    assert_eq!((got.text("ploy-event-type"), got.text("ploy-event-id")), ("invoice.paid", event));
    assert_eq!(got.text("webhook-id"), text(&run["id"]));
    assert_eq!(got.header("ploy-test"), None);
}

/// It was tried three times more, and on record each gap is as long as the policy says.
fn assert_tried_in_time(run: &Value, tries: &[Got]) {
    let tried: Vec<_> = tries.iter().map(|got| got.text("ploy-attempt")).collect();
    assert_eq!(tried, ["1", "2", "3", "4"]);
    let attempts = attempts(run);
    let outcomes: Vec<_> = attempts.iter().map(|attempt| text(&attempt["outcome"])).collect();
    assert_eq!(outcomes, ["retry", "retry", "retry", "failed"]);
    for (at, gap) in GAPS_SECONDS.into_iter().enumerate() {
        // Jitter takes up to half, and milliseconds are cut off.
        let least = Duration::from_secs(gap) / 2 - Duration::from_millis(2);
        let waited = tries[at + 1].at - tries[at].at;
        assert!(waited >= least, "gap {at} was {waited:?}");
        let time = |value: &Value| text(value).parse::<Timestamp>().expect("a time");
        let on_record = time(&attempts[at + 1]["started_at"])
            .duration_since(time(&attempts[at]["ended_at"]))
            .as_millis();
        assert!(on_record >= least.as_millis().cast_signed(), "gap {at} on record: {on_record} ms");
    }
}

/// What was sent, but for what is secret, what came back, and how long that took.
fn assert_on_record(attempt: &Value, receiver: &Receiver) {
    let delivery = &attempt["delivery"];
    let error = format!("{} answered 500", receiver.url(""));
    assert!(text(&attempt["error"]).starts_with(&error), "{attempt}");
    assert_eq!(delivery["class"], "status");
    let request = &delivery["request"];
    assert_eq!(request["method"], "POST");
    assert_eq!(request["url"], receiver.url("/hooks/plutio?team=books"));
    assert_eq!(request["body_bytes"], invoice().to_string().len());
    let headers = &request["headers"];
    assert_eq!((&headers["x-workspace"], &headers["authorization"]), (&"acme".into(), &"…".into()));
    assert_eq!(headers["webhook-signature"], "…");
    let response = &delivery["response"];
    assert_eq!(response["status"], 500);
    assert_eq!(response["body"], "Scenario is broken");
    assert_eq!(response["peer"], receiver.address().to_string());
    let timings = &delivery["timings"];
    let (first, total) = (timings["first_byte_ms"].as_f64(), timings["total_ms"].as_f64());
    assert!(first.is_some_and(|first| first > 0.0) && total >= first, "{timings}");
}

#[test]
fn a_sample_is_sent_before_anything_has_happened() {
    on_each_store(|store| {
        let server = start(store);
        let receiver = Receiver::start(|_| Says::text(418, "short and stout"));
        let id = webhook(&server, &receiver);
        let path = format!("/destinations/{id}/test");

        let record = call(&server, "POST", &path, &Value::Null).json();
        let sample = &receiver.has_got(1)[0];
        assert_eq!(sample.text("ploy-test"), "true");
        assert_eq!(
            (&sample.json()["test"], &sample.json()["type"]),
            (&true.into(), &"test".into())
        );
        assert_eq!(sample.text("authorization"), TOKEN);
        assert_eq!(record["request"]["headers"]["ploy-test"], "true");
        assert_eq!(record["request"]["headers"]["authorization"], "…");
        assert_eq!(record["response"]["status"], 418);
        assert_eq!(record["response"]["body"], "short and stout");
        assert!(text(&record["error"]).contains("answered 418"), "{record}");

        receiver.now(|_| Says::status(204));
        let form = json!({"type": "invoice.paid", "payload": invoice()});
        let record = call(&server, "POST", &path, &form).json();
        let sample = &receiver.has_got(2)[1];
        assert_eq!(
            (sample.text("ploy-test"), sample.text("ploy-event-type")),
            ("true", "invoice.paid")
        );
        assert_eq!(sample.json(), invoice());
        assert_eq!((&record["response"]["status"], &record["error"]), (&204.into(), &Value::Null));
        assert_eq!(ended_runs(&server, &id, 0), Vec::<Value>::new(), "a sample is no run");
        assert!(server.list("/events").is_empty(), "a sample is no event");
    });
}
