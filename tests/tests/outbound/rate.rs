//! A destination's rate holds for all nodes together.

use std::collections::BTreeSet;
use std::time::Duration;

use ploy_webhooks_engines::Postgres;
use ploy_webhooks_tests::{Server, Store};
use serde_json::json;

use crate::receiver::Receiver;
use crate::scene::{LOCAL, PROGRAM, attempts, ended_runs, publish_many, text, wire};

const PER_SECOND: usize = 20;
const SECONDS: usize = 3;
/// What may come at once, where nothing is set.
const BURST: usize = 1;
/// For requests that are late at the beginning, and so closer to those after them: half a second's.
const SLACK: usize = PER_SECOND / 2;

#[test]
fn two_nodes_keep_to_one_rate() {
    let url = Postgres::shared().database();
    let start = |name| Server::start(PROGRAM, Store::At(&url), &[LOCAL, ("PLOY_WORKER", name)]);
    let (one, other) = (start("one"), start("other"));
    let receiver = Receiver::always(200);
    let rate = json!({"per_second": PER_SECOND});
    let id = wire(&one, &json!({"url": receiver.url("/"), "rate": rate}));
    let events = PER_SECOND * SECONDS + BURST + SLACK + PER_SECOND / 2;
    publish_many(&one, events);
    let runs = ended_runs(&other, &id, events);
    assert!(runs.iter().all(|run| run["state"] == "succeeded"));
    let workers: BTreeSet<_> =
        runs.iter().flat_map(attempts).map(|attempt| text(&attempt["worker"])).collect();
    assert_eq!(workers, BTreeSet::from(["one", "other"]), "both deliver");

    let got = receiver.got();
    assert_eq!(got.len(), events);
    let begin = got[0].at;
    let window = Duration::from_secs(SECONDS as u64);
    let within = got.iter().filter(|got| got.at - begin < window).count();
    let most = PER_SECOND * SECONDS + BURST + SLACK;
    assert!(within <= most, "{within} requests in {SECONDS} s, at {PER_SECOND} a second");
}
