//! How often it is tried, and what is on record then.

use std::time::Duration;

use ploy_webhooks::RunState;
use ploy_webhooks_delivery::FailureClass;
use serde_json::json;

use crate::receiver::{Receiver, Says};
use crate::scene::{World, gaps, records};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn an_invoice_that_is_paid_goes_to_two_destinations_one_of_which_fails() {
    let (world, books, broken) = (World::start(), Receiver::start().await, Receiver::start().await);
    broken.always(Says { body: "no \u{1b}[2J".to_owned(), ..Says::status(500) });
    world
        .wire(json!({
            "url": books.url("/in?from=plutio"),
            "headers": {"X-Team": "books", "Authorization": {"secret": "Bearer hunter2"}},
        }))
        .await;
    let failing = world.wire(json!({"url": broken.url("/")})).await;
    let payload = r#"{"_id":"inv_1","status":"paid","amount":129.50}"#;
    let event = world.publish("invoice.paid", payload).await;
    world.pass(60 * SECOND, SECOND).await;

    let [got] = &books.got()[..] else { panic!("it is delivered once") };
    assert_eq!(got.text(), payload);
    assert_eq!(got.uri, "/in?from=plutio");
    assert_eq!(got.header("x-team"), Some("books"));
    assert_eq!(got.header("authorization"), Some("Bearer hunter2"));
    assert_eq!(got.header("ploy-event-id"), Some(&*event.to_string()));
    assert_eq!(got.header("ploy-event-type"), Some("invoice.paid"));
    assert_eq!(got.header("content-type"), Some("application/json"));

    let runs = world.runs(event).await;
    let run = runs.iter().find(|run| run.trigger.destination() == Some(failing)).expect("owed");
    assert_eq!(run.state, RunState::Failed);
    let gaps = gaps(run);
    for (gap, most) in gaps.iter().zip([5, 10, 20]) {
        assert!((SECOND * most / 2..=SECOND * most).contains(gap), "{gaps:?}");
    }
    let tries = broken.got();
    assert_eq!((tries.len(), gaps.len()), (4, 3), "it is tried three more times");
    let ids: Vec<_> = tries.iter().map(|got| got.header("webhook-id")).collect();
    assert!(ids.iter().all(|id| *id == Some(&*run.id.to_string())), "{ids:?}");
    let attempts: Vec<_> = tries.iter().filter_map(|got| got.header("ploy-attempt")).collect();
    assert_eq!(attempts, ["1", "2", "3", "4"]);
    for record in records(run) {
        assert_eq!(record.class, Some(FailureClass::Status));
        let error = record.error.expect("what is wrong");
        assert!(error.ends_with(r"answered 500 Internal Server Error: no \u{1b}[2J"), "{error}");
        assert_eq!(record.response.expect("an answer").status, 500);
    }
    let whole = format!("{runs:?}");
    assert!(!whole.contains("hunter2"), "{whole}");
    assert!(world.state(failing).await.failing_since.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_answers_too_late_has_not_answered() {
    let (world, receiver) = (World::start(), Receiver::start().await);
    receiver.always(Says { after: 31 * SECOND, ..Says::status(200) });
    world.wire(json!({"url": receiver.url("/"), "retry": {"gaps_seconds": []}})).await;
    let event = world.publish("a", "{}").await;
    receiver.has_got(1).await;
    world.clock.advance(30 * SECOND);
    tokio::time::advance(30 * SECOND).await;
    world.settle().await;
    let run = world.run(event).await;
    assert_eq!(run.state, RunState::Failed);
    let [record] = &records(&run)[..] else { panic!("one attempt") };
    assert_eq!(record.class, Some(FailureClass::Timeout));
    assert!(record.error.as_ref().expect("why").ends_with("within 30s"));
}

#[tokio::test(start_paused = true)]
async fn what_is_wanted_later_is_sent_later_and_what_is_gone_is_not_sent_again() {
    let (world, busy, gone) = (World::start(), Receiver::start().await, Receiver::start().await);
    busy.next([Says { headers: vec![("retry-after", "100".to_owned())], ..Says::status(429) }]);
    gone.always(Says::status(410));
    let to_busy = world.destination(json!({"url": busy.url("/")})).await;
    let to_gone = world.destination(json!({"url": gone.url("/")})).await;
    world.subscribe(json!({"destination": to_busy})).await;
    world.subscribe(json!({"destination": to_gone})).await;
    world.publish("a", "{}").await;
    world.pass(99 * SECOND, SECOND).await;
    assert_eq!((busy.count(), gone.count()), (1, 1));
    world.pass(5 * SECOND, SECOND).await;
    assert_eq!(busy.count(), 2);
    assert_eq!(world.count(to_busy, RunState::Succeeded).await, 1);
    assert_eq!(world.count(to_gone, RunState::Failed).await, 1);
    let disabled = world.state(to_gone).await.disabled.expect("it is disabled");
    assert!(disabled.reason.contains("410"), "{}", disabled.reason);

    // What comes then waits, and is delivered when it is enabled again.
    world.publish("b", "{}").await;
    world.pass(60 * SECOND, SECOND).await;
    assert_eq!((gone.count(), world.count(to_gone, RunState::Failed).await), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_tried_once_more_by_hand_has_its_whole_policy_again() {
    use ploy_webhooks::store::{Altered, RunQueue};

    let (world, receiver) = (World::start(), Receiver::start().await);
    receiver.always(Says::status(400));
    world.wire(json!({"url": receiver.url("/"), "retry": {"gaps_seconds": [1, 1]}})).await;
    let event = world.publish("a", "{}").await;
    world.pass(10 * SECOND, SECOND).await;
    assert_eq!((receiver.count(), world.run(event).await.state), (3, RunState::Failed));
    let run = world.run(event).await.id;
    let altered = world.store.requeue(&crate::scene::WORKSPACE, &run).await;
    assert_eq!(altered.expect("the memory store works"), Altered::Done);
    world.pass(10 * SECOND, SECOND).await;
    assert_eq!((receiver.count(), world.run(event).await.state), (6, RunState::Failed));
}
