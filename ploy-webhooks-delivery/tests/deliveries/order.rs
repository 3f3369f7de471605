//! Events that share a key are delivered in order, also where one of them fails for a while.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::receiver::{Receiver, Says};
use crate::scene::World;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn events_of_one_key_are_delivered_one_after_the_other() {
    let (world, receiver) = (World::start(), Receiver::start().await);
    receiver.next([200, 200, 400, 200, 400, 400, 200, 400].map(Says::status));
    world
        .wire(json!({
            "url": receiver.url("/"), "order_by": "/contact", "retry": {"gaps_seconds": [3, 3, 3, 3, 3, 3]},
        }))
        .await;
    for number in 0..40 {
        let contact = ["a", "b", "c"][number % 3];
        world.publish("a", format!(r#"{{"contact":"{contact}","n":{number}}}"#)).await;
    }
    world.pass(300 * SECOND, SECOND).await;
    let mut last = HashMap::<String, u64>::new();
    for got in receiver.got() {
        let payload: Value = serde_json::from_slice(&got.body).expect("JSON");
        let contact = payload["contact"].as_str().expect("text").to_owned();
        let number = payload["n"].as_u64().expect("a number");
        let before = last.insert(contact.clone(), number);
        // One that failed is sent again; none comes before those that it has to come after.
        let is_next = before.is_none_or(|before| number == before || number == before + 3);
        assert!(is_next, "{number} of {contact} came after {before:?}");
    }
    assert_eq!(last.values().map(|last| last / 37).sum::<u64>(), 3, "{last:?}");
}
