//! Drafts: nothing is sent, and what would have been is on record.

use ploy_webhooks::RunState;
use serde_json::json;

use crate::receiver::Receiver;
use crate::scene::{World, records};

#[tokio::test(start_paused = true)]
async fn a_draft_sends_nothing_and_shows_what_it_would_have_sent() {
    let (world, receiver) = (World::start(), Receiver::start().await);
    let body = json!({"json": {"mail": "{{contact.email}}", "text": "Hi {{contact.name}}"}});
    let draft = world
        .destination(json!({
            "url": receiver.url("/x"), "status": "draft", "body": body,
            "headers": {"X-Key": {"secret": "hunter2"}},
        }))
        .await;
    let live = world.destination(json!({"url": receiver.url("/x"), "body": body})).await;
    world.subscribe(json!({"destination": draft})).await;
    world.subscribe(json!({"destination": live, "draft": true})).await;
    let payload = r#"{"contact":{"email":"a@b.c","name":"\"Al\""}}"#;
    let event = world.publish("contact.created", payload).await;
    world.settle().await;
    let runs = world.runs(event).await;
    assert_eq!((runs.len(), receiver.count()), (2, 0));
    for run in &runs {
        assert_eq!(run.state, RunState::Succeeded);
        let [record] = &records(run)[..] else { panic!("one attempt") };
        let request = record.request.as_ref().expect("what would have been sent");
        assert!(record.draft && record.response.is_none());
        assert_eq!((&*request.method, &*request.url), ("POST", &*receiver.url("/x")));
        let expected = r#"{"mail":"a@b.c","text":"Hi \"Al\""}"#;
        assert_eq!(request.body.as_deref(), Some(expected));
        assert_eq!(request.headers["webhook-signature"], "…");
    }
    assert!(!format!("{runs:?}").contains("hunter2"));
}
