//! What is on record of an attempt.

use ploy_webhooks::RunState;
use serde_json::json;

use crate::receiver::{Receiver, Says};
use crate::scene::{World, records};

#[tokio::test(start_paused = true)]
async fn a_record_tells_what_was_sent_and_answered_and_how_long_it_took() {
    let (world, receiver) = (World::start(), Receiver::start().await);
    receiver.always(Says {
        headers: vec![("x-request-id", "r-1".to_owned()), ("set-cookie", "hunter2".to_owned())],
        body: "x".repeat(5_000),
        ..Says::status(201)
    });
    let body = json!({"form": {"blank": "a b&c", "mail": "{{contact.email}}"}});
    world
        .wire(json!({"url": receiver.url("/{{contact.id}}"), "method": "put", "body": body}))
        .await;
    let event = world.publish("a", r#"{"contact":{"id":"7/8","email":"a@b.c"}}"#).await;
    assert_eq!(receiver.has_got(1).await[0].method, "PUT");
    world.settle().await;
    let run = world.run(event).await;
    assert_eq!(run.state, RunState::Succeeded);
    let [record] = &records(&run)[..] else { panic!("one attempt") };
    let request = record.request.as_ref().expect("a request");
    assert_eq!((&*request.method, &*request.url), ("PUT", &*receiver.url("/7%2F8")));
    assert_eq!(request.body.as_deref(), Some("blank=a+b%26c&mail=a%40b.c"));
    let response = record.response.as_ref().expect("an answer");
    assert_eq!((response.status, &*response.headers["x-request-id"]), (201, "r-1"));
    assert!(response.body_is_cut && response.body.as_ref().expect("a body").len() < 1_100);
    assert_eq!(response.peer, Some(receiver.address.to_string()));
    let timings = record.timings.expect("they are there");
    assert!(timings.connect_ms.is_some() && timings.first_byte_ms.is_some());
    assert!(!format!("{record:?}").contains("hunter2"), "cookies are not kept");
}

#[tokio::test(start_paused = true)]
async fn what_a_receiver_repeats_of_its_secrets_is_masked() {
    let (world, receiver) = (World::start(), Receiver::start().await);
    receiver.always(Says {
        headers: vec![("x-request-id", "for hunter2".to_owned())],
        body: "you sent Bearer hunter2, and hunter3".to_owned(),
        ..Says::status(401)
    });
    world
        .wire(json!({
            "url": receiver.url("/"), "retry": {"gaps_seconds": []},
            "headers": {"X-Key": {"secret": "Key hunter2"}},
            "signing": {"scheme": "bearer", "secret": "hunter3"},
        }))
        .await;
    let event = world.publish("a", "{}").await;
    assert_eq!(receiver.has_got(1).await[0].header("authorization"), Some("Bearer hunter3"));
    world.settle().await;
    let run = world.run(event).await;
    let [record] = &records(&run)[..] else { panic!("one attempt") };
    assert!(record.error.as_ref().expect("why").contains("you sent Bearer …, and …"));
    assert_eq!(record.response.as_ref().expect("an answer").headers["x-request-id"], "for …");
    assert!(!format!("{run:?}").contains("hunter"));
}

#[tokio::test(start_paused = true)]
async fn a_field_that_is_missing_fails_the_run_and_is_named() {
    let (world, receiver) = (World::start(), Receiver::start().await);
    let body = json!({"json": {"mail": "{{contact.email}}"}});
    let (url, lenient) = (receiver.url("/strict"), receiver.url("/lenient"));
    world.wire(json!({"url": url, "body": body})).await;
    world.wire(json!({"url": lenient, "body": body, "missing": "empty"})).await;
    let event = world.publish("a", r#"{"contact":{}}"#).await;
    let got = receiver.has_got(1).await;
    world.settle().await;
    assert_eq!((got[0].uri.path(), got[0].text()), ("/lenient", r#"{"mail":null}"#));
    let runs = world.runs(event).await;
    let failed: Vec<_> = runs.iter().filter(|run| run.state == RunState::Failed).collect();
    let [failed] = failed[..] else { panic!("one fails: {runs:?}") };
    let error = records(failed)[0].error.clone().expect("why");
    assert!(error.contains("`contact.email`"), "{error}");
    assert_eq!(receiver.count(), 1);
}
