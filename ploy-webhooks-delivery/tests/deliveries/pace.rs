//! How fast it is sent, and how much in all.

use std::time::Duration;

use ploy_webhooks::RunState;
use ploy_webhooks_delivery::FailureClass;
use serde_json::json;

use crate::receiver::{Receiver, Says};
use crate::scene::{World, records, until};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn rows_go_into_a_table_at_five_a_second() {
    let (world, table) = (World::start(), Receiver::start().await);
    world.wire(json!({"url": table.url("/"), "rate": {"per_second": 5}})).await;
    for _ in 0..40 {
        world.publish("row", "{}").await;
    }
    world.settle_paced(&table, 1).await;
    for second in 1..=7 {
        let before = table.count();
        world.pass(SECOND, SECOND / 20).await;
        let in_second = table.count() - before;
        assert!((4..=5).contains(&in_second), "{in_second} rows in second {second}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_requests_are_under_way_than_are_allowed() {
    let (world, slow) = (World::start(), Receiver::start().await);
    slow.always(Says { after: SECOND, ..Says::status(200) });
    world.wire(json!({"url": slow.url("/"), "at_once": 3})).await;
    for _ in 0..30 {
        world.publish("row", "{}").await;
    }
    let mut most = 0;
    for _ in 0..12 {
        let before = slow.count();
        world.clock.advance(SECOND);
        tokio::time::advance(SECOND).await;
        for _ in 0..2_000 {
            tokio::task::yield_now().await;
        }
        most = most.max(slow.count() - before);
    }
    assert_eq!(most, 3, "left: requests begun in a second, each of which takes one");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_takes_so_many_is_never_sent_one_more() {
    let (world, table) = (World::start(), Receiver::start().await);
    // What it refuses it has not taken.
    table.next([Says::status(500), Says::status(500), Says::status(503)]);
    let id = world.wire(json!({"url": table.url("/"), "max_submissions": 50})).await;
    let mut events = Vec::new();
    for _ in 0..60 {
        events.push(world.publish("row", "{}").await);
    }
    world.pass(60 * SECOND, SECOND).await;
    assert_eq!(table.count(), 53, "left: fifty that it took, and three that it refused");
    assert_eq!(world.count(id, RunState::Succeeded).await, 50);
    assert_eq!(world.count(id, RunState::Failed).await, 10);
    assert_eq!(world.state(id).await.submissions, 50);
    let mut exhausted = 0;
    for event in events {
        let run = world.run(event).await;
        let last = records(&run).pop().expect("an attempt");
        exhausted += usize::from(last.class == Some(FailureClass::Exhausted));
    }
    assert_eq!(exhausted, 10);
}

impl World {
    /// Waits for so many requests, while others wait for their time.
    async fn settle_paced(&self, receiver: &Receiver, count: usize) {
        until(async || (receiver.count() >= count).then_some(())).await;
    }
}
