//! Destinations that are paused, or not confirmed yet: what is owed to them waits.

use std::time::Duration;

use ploy_webhooks::RunState;
use serde_json::json;

use crate::receiver::Receiver;
use crate::scene::World;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_destination_is_delivered_when_it_is_active() {
    for status in ["paused", "unverified"] {
        let (world, receiver) = (World::start(), Receiver::start().await);
        let id = world.wire(json!({"url": receiver.url("/"), "status": status})).await;
        let mut events = Vec::new();
        for _ in 0..30 {
            events.push(world.publish("a", "{}").await);
        }
        world.pass(600 * SECOND, 10 * SECOND).await;
        assert_eq!(receiver.count(), 0, "{status}");
        let mut attempts = 0;
        for event in &events {
            attempts += world.run(*event).await.attempts.len();
        }
        assert!(attempts <= 6, "{attempts} attempts at a destination that is {status}");

        world.define(id, json!({"url": receiver.url("/"), "retry": {"gaps_seconds": []}})).await;
        world.pass(10 * SECOND, SECOND).await;
        assert_eq!(world.count(id, RunState::Succeeded).await, 30, "{status}");
        assert_eq!(receiver.count(), 30, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_to_a_destination_that_is_gone_fails_and_says_so() {
    use ploy_webhooks::store::{DefinitionKind, DefinitionStore};

    let (world, receiver) = (World::start(), Receiver::start().await);
    let id = world.wire(json!({"url": receiver.url("/")})).await;
    let (kind, name) = (DefinitionKind::Destination, id.to_string());
    let gone = world.store.undefine(&crate::scene::WORKSPACE, kind, &name);
    assert!(gone.await.expect("the memory store works"));
    let event = world.publish("a", "{}").await;
    world.settle().await;
    let run = world.run(event).await;
    assert_eq!(run.state, RunState::Failed);
    let error = crate::scene::records(&run)[0].error.clone().expect("why");
    assert!(error.contains("there is no destination dst_"), "{error}");
}
