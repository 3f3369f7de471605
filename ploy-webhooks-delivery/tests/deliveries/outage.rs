//! A receiver that is down for long: nothing is lost, and nobody else waits for it.

use std::collections::BTreeSet;
use std::time::Duration;

use ploy_webhooks::RunState;
use serde_json::json;

use crate::receiver::{Receiver, Says};
use crate::scene::World;

const SECOND: Duration = Duration::from_secs(1);

/// By the default policy, which gives a single delivery up after half a minute.
#[tokio::test(start_paused = true)]
async fn after_an_hour_every_event_arrives_and_others_were_not_delayed() {
    let (world, down, up) = (World::start(), Receiver::start().await, Receiver::start().await);
    down.always(Says::status(503));
    let to_down = world.wire(json!({"url": down.url("/")})).await;
    let to_up = world.wire(json!({"url": up.url("/")})).await;
    let mut events = BTreeSet::new();
    for minute in 0..60 {
        for _ in 0..5 {
            events.insert(world.publish("a", "{}").await.to_string());
        }
        world.settle().await;
        assert_eq!(up.count(), events.len(), "delivered at once, in minute {minute}");
        world.pass(60 * SECOND, 10 * SECOND).await;
    }
    assert_eq!(world.count(to_up, RunState::Succeeded).await, 300);
    let tries = down.count();
    assert!((60..400).contains(&tries), "{tries} requests to a receiver that was down");
    assert!(world.state(to_down).await.failing_since.is_some());

    down.always(Says::status(200));
    world.pass(180 * SECOND, 5 * SECOND).await;
    let arrived: BTreeSet<_> = down.got()[tries..]
        .iter()
        .filter_map(|got| got.header("ploy-event-id"))
        .map(str::to_owned)
        .collect();
    assert_eq!(world.count(to_down, RunState::Failed).await, 0);
    assert_eq!(world.count(to_down, RunState::Succeeded).await, 300);
    assert_eq!(arrived, events, "left: what has arrived; right: what has happened");
    assert_eq!(world.state(to_down).await.failing_since, None);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_down_for_too_long_is_disabled_and_says_why() {
    let (world, down) = (World::start(), Receiver::start().await);
    down.always(Says::status(500));
    let id = world.wire(json!({"url": down.url("/"), "disable_after_seconds": 120})).await;
    for _ in 0..12 {
        world.publish("a", "{}").await;
    }
    world.pass(400 * SECOND, 5 * SECOND).await;
    let disabled = world.state(id).await.disabled.expect("it is disabled");
    assert_eq!(disabled.reason, "no delivery has succeeded for 120 seconds");
    let tries = down.count();
    world.pass(600 * SECOND, 10 * SECOND).await;
    assert_eq!(down.count(), tries, "left: requests, after it was disabled");
}

/// Many requests that hang, each for its whole time, take no place from a receiver that has proved
/// to take what it is sent.
#[tokio::test(start_paused = true)]
async fn receivers_that_hang_do_not_hold_up_others() {
    let (world, up) = (World::start(), Receiver::start().await);
    world.wire(json!({"url": up.url("/")})).await;
    world.publish("a", "{}").await;
    up.has_got(1).await;
    world.settle().await;
    let mut hanging = Vec::new();
    for _ in 0..60 {
        let receiver = Receiver::start().await;
        receiver.always(Says { after: 3_600 * SECOND, ..Says::status(200) });
        world.wire(json!({"url": receiver.url("/")})).await;
        hanging.push(receiver);
    }
    for count in 2..=50 {
        world.publish("a", "{}").await;
        up.has_got(count).await;
    }
    for receiver in &hanging {
        assert!(receiver.count() <= 2, "{} requests hang at a new receiver", receiver.count());
    }
}
