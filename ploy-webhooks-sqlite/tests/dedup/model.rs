//! Whatever happens in whatever order, the store says what a map of all keys would say.

use std::collections::HashMap;
use std::time::Duration;

use ploy_webhooks::{Clock, EventId, Fence, NewEvent, Timestamp};
use proptest::prelude::*;

use super::{Ground, NEWEST, append, endpoint, keyed, taken_by};

#[derive(Clone, Debug)]
enum Step {
    Append {
        owner: usize,
        key: u32,
        window: Duration,
    },
    /// Several with new keys, so that those before get further down.
    AppendNew {
        count: u32,
        window: Duration,
    },
    Elapse(Duration),
    /// Lets the keeper file what it can.
    Settle,
    Reopen,
}

fn time() -> impl Strategy<Value = Duration> {
    prop::sample::select(vec![1_u64, 900, 1_000, 5_000, 60_000, 7_200_000, 86_400_000])
        .prop_map(Duration::from_millis)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..3_usize, 0..24_u32, time())
            .prop_map(|(owner, key, window)| Step::Append { owner, key, window }),
        3 => (1..2 * NEWEST as u32, time())
            .prop_map(|(count, window)| Step::AppendNew { count, window }),
        3 => time().prop_map(Step::Elapse),
        2 => Just(Step::Settle),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_as_good_as_a_map(steps in prop::collection::vec(step(), 1..160)) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime is made");
        runtime.block_on(follow(steps));
    }
}

async fn follow(steps: Vec<Step>) {
    let ground = Ground::new();
    let mut store = ground.open().await;
    let owners = [None, Some(endpoint(&store).await), Some(endpoint(&store).await)];
    let mut model: HashMap<(usize, u32), (EventId, Timestamp)> = HashMap::new();
    let mut new_key = 1_000;
    for step in steps {
        match step {
            Step::Append { owner, key, window } => {
                let now = ground.clock.now();
                let event = || of(owners[owner], keyed(key, window));
                let appended = append(&store, event).await;
                match model.get(&(owner, key)) {
                    Some((first, end)) if *end > now => {
                        assert_eq!(appended, Err(*first), "left: a repeat of key {key} of {owner}");
                    }
                    _ => {
                        let id = appended.expect("there is none with that key in its window");
                        model.insert((owner, key), (id, now.after(window)));
                    }
                }
            }
            Step::AppendNew { count, window } => {
                for _ in 0..count {
                    new_key += 1;
                    append(&store, || keyed(new_key, window)).await.expect("the key is new");
                }
            }
            Step::Elapse(time) => ground.clock.advance(time),
            Step::Settle => {
                let log = "SELECT count(*) FROM dedup_log";
                // What was read from the log at a start is handed on with the next key.
                new_key += 1;
                let event = || keyed(new_key, Duration::ZERO);
                append(&store, event).await.expect("the key is new");
                ground.until(log, |rows| rows < NEWEST as i64).await;
            }
            Step::Reopen => store = ground.reopen(store).await,
        }
    }
}

fn of(owner: Option<Fence>, event: NewEvent) -> NewEvent {
    match owner {
        Some(fence) => taken_by(fence, event),
        None => event,
    }
}
