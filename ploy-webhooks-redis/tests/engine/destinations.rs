//! Lanes of destinations: one for all that is delivered there, wherever it lies.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use crate::scene::{
    PATIENCE, append, ask, claim, claim_in, delivery, destination, endpoint_of, event, open, run,
    settings, until, workspace,
};
use ploy_webhooks::store::{
    Altered, EndpointStore, Lanes, PageSize, RunQuery, RunQueue, RunStore, Tenure,
};
use ploy_webhooks::{
    Clock, DestinationId, Endpoint, EventId, Lane, LeasedRun, NewEvent, NewRun, Outcome, RunState,
    SystemClock,
};
use ploy_webhooks_engines::{Redis, RedisCluster};
use ploy_webhooks_redis::{RedisSettings, RedisStore};

fn one_bucket(url: &str) -> RedisSettings {
    let mut settings = settings([url]);
    settings.buckets = NonZeroU16::MIN;
    settings
}

/// Room for so many at each destination, and for any number elsewhere.
fn lanes_with(each_destination: u16) -> Lanes {
    let each_destination = NonZeroU16::new(each_destination).expect("some");
    Lanes::new(NonZeroU16::MAX).with_destinations(each_destination)
}

async fn owe(store: &RedisStore, endpoint: &Endpoint, runs: impl IntoIterator<Item = NewRun>) {
    let owes = runs.into_iter().collect();
    append(store, NewEvent { owes, ..event(endpoint, "{}") }).await.expect("it is stored");
}

async fn end(store: &RedisStore, leased: &LeasedRun, outcome: Outcome) {
    assert_eq!(store.finish(&leased.lease, outcome).await.expect("ending works"), Tenure::Held);
}

/// How many of each lane.
fn counts(claimed: &[LeasedRun]) -> BTreeMap<Lane, usize> {
    let mut counts = BTreeMap::new();
    claimed.iter().for_each(|leased| *counts.entry(leased.lane()).or_default() += 1);
    counts
}

/// Everything that has room, in as many claims as it takes; each is held to the room that there is.
async fn claim_what_has_room(store: &RedisStore, max: u16, lanes: &mut Lanes) -> Vec<LeasedRun> {
    let mut all = Vec::new();
    loop {
        let claimed = claim_in(store, max, PATIENCE * 2, lanes).await;
        if claimed.is_empty() {
            return all;
        }
        for (lane, count) in counts(&claimed) {
            let room = usize::from(lanes.room(&lane));
            assert!(count <= room, "{count} runs in {lane:?}, with room for {room}");
            (0..count).for_each(|_| lanes.enter(lane));
        }
        all.extend(claimed);
    }
}

/// Three destinations, of which each endpoint owes something to each: each claim keeps to what there
/// is room for in all, and everything that has room is claimed in the end.
async fn room_holds_over_all_buckets(settings: &RedisSettings) {
    let store = open(settings).await;
    let workspace = workspace();
    let destinations = [(); 3].map(|()| destination());
    for _ in 0..20 {
        let endpoint = endpoint_of(&store, workspace).await;
        let to = |destination: &DestinationId| delivery(*destination);
        let twice = destinations.iter().chain(&destinations).map(to);
        owe(&store, &endpoint, twice.chain([run()])).await;
    }
    for max in [1, 7, 64, 1_000] {
        let mut lanes = lanes_with(5);
        let [one, two, _] = destinations.map(Lane::Destination);
        lanes.bound(one, 0);
        lanes.bound(two, 9);
        let mut claimed = Vec::new();
        // Again and again, with what an attempt leaves.
        for _ in 0..3 {
            claimed = claim_what_has_room(&store, max, &mut lanes).await;
            let counts = counts(&claimed);
            let of = |place: usize| counts.get(&Lane::Destination(destinations[place])).copied();
            assert_eq!([of(0), of(1), of(2)], [None, Some(9), Some(5)], "{max} at once");
            for leased in claimed.drain(..) {
                let error = String::new();
                end(&store, &leased, Outcome::Retry { error, after: Duration::ZERO }).await;
                lanes.leave(leased.lane());
            }
        }
        assert!(claimed.is_empty());
    }
    let mut lanes = lanes_with(u16::MAX);
    let rest = claim_what_has_room(&store, 64, &mut lanes).await;
    assert_eq!(rest.len(), 20 * 7, "left: claimed once there is room for all");
}

#[tokio::test]
async fn room_holds_over_all_buckets_of_a_server() {
    room_holds_over_all_buckets(&settings([Redis::shared().url()])).await;
    room_holds_over_all_buckets(&one_bucket(Redis::shared().url())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn room_holds_over_all_buckets_of_a_cluster() {
    let cluster = tokio::task::block_in_place(|| RedisCluster::start(3, 0));
    room_holds_over_all_buckets(&settings(cluster.urls())).await;
}

/// In one step, however much waits: the server carries out as many commands with a hundred thousand
/// runs as with a hundred.
#[tokio::test]
async fn what_waits_without_room_costs_a_claim_nothing() {
    let redis = tokio::task::spawn_blocking(Redis::start).await.expect("it starts");
    let store = open(&one_bucket(redis.url())).await;
    let workspace = workspace();
    let (down, other) = (destination(), endpoint_of(&store, workspace).await);
    let mut senders = Vec::new();
    for _ in 0..100 {
        senders.push(endpoint_of(&store, workspace).await);
    }
    let mut lanes = lanes_with(1);
    lanes.bound(Lane::Destination(down), 0);
    let mut costs = Vec::new();
    // The first time, scripts are given to the server.
    for each in [1, 1, 1_000] {
        for sender in &senders {
            owe(&store, sender, (0..each).map(|_| delivery(down))).await;
        }
        owe(&store, &other, [run()]).await;
        let before = commands(&redis);
        let claimed = claim_in(&store, 64, PATIENCE, &lanes).await;
        costs.push(difference(&before, &commands(&redis)));
        assert_eq!(claimed.len(), 1, "left: claimed beside what waits");
        end(&store, &claimed[0], Outcome::Fail { error: String::new() }).await;
        let before = commands(&redis);
        assert_eq!(claim_in(&store, 64, PATIENCE, &lanes).await.len(), 0);
        costs.push(difference(&before, &commands(&redis)));
    }
    assert_eq!(costs[2..4], costs[4..], "left: what is done where 200 wait; right: 100,200");
    lanes.bound(Lane::Destination(down), 1_000);
    assert_eq!(claim_in(&store, 1_000, PATIENCE, &lanes).await.len(), 1_000);
}

fn delivered_to(destination: DestinationId, mut query: RunQuery) -> RunQuery {
    query.destination = Some(destination);
    query
}

/// How often the server has carried out each command.
fn commands(redis: &Redis) -> BTreeMap<String, u64> {
    let info: String = ask(redis.url(), &["INFO", "commandstats"]);
    let counts = info.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split_once(',')?.0.parse().ok()?))
    });
    let own = |name: &str| ["info", "hello"].contains(&name) || name.contains('|');
    counts.filter(|(name, _)| !own(name)).collect()
}

fn difference(
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
) -> BTreeMap<String, u64> {
    let more = after
        .iter()
        .map(|(name, count)| (name.clone(), count - before.get(name).copied().unwrap_or_default()));
    more.filter(|(_, count)| *count > 0).collect()
}

/// Delayed, tried again, cancelled, queued by hand, lost, added later: a run stays in the lane of its
/// destination.
#[tokio::test]
async fn a_delivery_stays_in_its_lane() {
    let store = open(&settings([Redis::shared().url()])).await;
    let endpoint = endpoint_of(&store, workspace()).await;
    let to = destination();
    let lane = Lane::Destination(to);
    let (mut held, mut open_lanes) = (lanes_with(1), lanes_with(1));
    held.bound(lane, 0);
    open_lanes.bound(lane, 1);
    let delayed = NewRun { delay: Duration::from_millis(20), ..delivery(to) };
    let id = delayed.id;
    let event = NewEvent { owes: vec![delayed], ..event(&endpoint, "{}") };
    let event_id = append(&store, event).await.expect("it is stored");
    let next = |lease| claimed_next(&store, &open_lanes, lease);

    let first = next(PATIENCE).await;
    let again = Outcome::Retry { error: String::new(), after: Duration::from_millis(5) };
    end(&store, &first, again).await;
    let lost = next(Duration::from_millis(5)).await;
    let second = next(PATIENCE).await;
    assert!(second.is_after_loss, "after {lost:?}");
    end(&store, &second, Outcome::Fail { error: String::new() }).await;
    for _ in 0..2 {
        assert_eq!(store.requeue(&endpoint.workspace, &id).await.unwrap(), Altered::Done);
        assert_eq!(state_of(&store, &endpoint, id).await, RunState::Queued);
        assert!(claim_in(&store, 9, PATIENCE, &held).await.is_empty());
        assert_eq!(store.cancel(&endpoint.workspace, &id).await.unwrap(), Altered::Done);
        assert!(claim(&store, 9, PATIENCE).await.is_empty(), "it is called off");
    }
    assert_eq!(store.requeue(&endpoint.workspace, &id).await.unwrap(), Altered::Done);
    let third = next(PATIENCE).await;
    let tenure = store.extend(&third.lease, Duration::from_millis(1)).await.unwrap();
    assert_eq!(tenure, Tenure::Held);
    let fourth = next(PATIENCE).await;
    assert!(fourth.is_after_loss);
    end(&store, &fourth, Outcome::Succeed { output: Vec::new().into() }).await;

    let later = vec![delivery(to), run(), delivery(to)];
    assert!(store.enqueue(&endpoint.workspace, &event_id, later).await.unwrap());
    let beside = claim_in(&store, 9, PATIENCE, &held).await;
    assert_eq!(counts(&beside), BTreeMap::from([(Lane::Endpoint(endpoint.id), 1)]));
    let of_lane = claim_in(&store, 9, PATIENCE, &open_lanes).await;
    assert_eq!(counts(&of_lane), BTreeMap::from([(lane, 1)]), "there is room for one");
}

/// The one run that is due next.
async fn claimed_next(store: &RedisStore, lanes: &Lanes, lease: Duration) -> LeasedRun {
    until("what is due", async {
        loop {
            if let Some(leased) = claim_in(store, 1, lease, lanes).await.pop() {
                return leased;
            }
            store.wait(PATIENCE, lanes).await.expect("waiting works");
        }
    })
    .await
}

async fn state_of(store: &RedisStore, endpoint: &Endpoint, id: ploy_webhooks::RunId) -> RunState {
    store
        .run(&endpoint.workspace, &id)
        .await
        .expect("looking it up works")
        .expect("it is there")
        .state
}

/// An endpoint that is deleted takes its line along, and what others deliver there goes on.
#[tokio::test]
async fn a_deleted_endpoint_leaves_the_lane_to_others() {
    let store = open(&one_bucket(Redis::shared().url())).await;
    let (doomed, other) =
        (endpoint_of(&store, workspace()).await, endpoint_of(&store, workspace()).await);
    let to = destination();
    owe(&store, &doomed, (0..100).map(|_| delivery(to))).await;
    owe(&store, &other, [delivery(to)]).await;
    let lanes = lanes_with(1);
    let claimed = claim_in(&store, 9, PATIENCE, &lanes).await;
    assert_eq!(claimed[0].event.endpoint, Some(doomed.id), "its runs have waited longest");
    assert!(store.delete(&doomed.workspace, &doomed.id).await.unwrap());
    let lost = store.finish(&claimed[0].lease, Outcome::Fail { error: String::new() }).await;
    assert_eq!(lost.unwrap(), Tenure::Lost);
    let claimed = claim_in(&store, 9, PATIENCE, &lanes).await;
    let of: Vec<_> = claimed.iter().map(|leased| leased.event.endpoint).collect();
    assert_eq!(of, [Some(other.id)]);
    let query = delivered_to(to, RunQuery::all(doomed.workspace));
    assert_eq!(store.list_runs(&query).await.unwrap().items, []);
}

/// A page looks at so many runs and no more; the next goes on there, and none is missed.
async fn a_few_are_listed_among_many(settings: &RedisSettings) {
    const OTHERS: usize = 6_000;
    let store = open(settings).await;
    let workspace = workspace();
    let (wanted, other) = (destination(), destination());
    let (one, two) = (endpoint_of(&store, workspace).await, endpoint_of(&store, workspace).await);
    owe(&store, &one, [delivery(wanted)]).await;
    owe(&store, &one, (0..OTHERS).map(|_| delivery(other))).await;
    owe(&store, &two, (0..40).map(|_| delivery(wanted))).await;
    let mut query = delivered_to(wanted, RunQuery::all(workspace));
    query.limit = PageSize::new(7).expect("the size of a page");
    let mut next = Some(query);
    let (mut found, mut empty) = (Vec::new(), 0);
    while let Some(query) = next {
        let page = store.list_runs(&query).await.expect("listing works");
        assert!(page.items.len() <= 7);
        empty += usize::from(page.items.is_empty());
        found.extend(page.items.iter().map(|run| run.id));
        next = page.next;
    }
    assert_eq!(found.len(), 41);
    assert!(found.windows(2).all(|pair| pair[0] > pair[1]), "sorted, and each once");
    assert!((1..=3).contains(&empty), "{empty} pages without a run");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_few_are_listed_among_many_on_a_server_and_a_cluster() {
    a_few_are_listed_among_many(&settings([Redis::shared().url()])).await;
    let cluster = tokio::task::block_in_place(|| RedisCluster::start(3, 0));
    a_few_are_listed_among_many(&settings(cluster.urls())).await;
}

/// What the app publishes in a workspace is delivered in the same lane.
#[tokio::test]
async fn what_is_published_shares_the_lane() {
    let store = open(&settings([Redis::shared().url()])).await;
    let endpoint = endpoint_of(&store, workspace()).await;
    let to = destination();
    owe(&store, &endpoint, [delivery(to)]).await;
    let id = EventId::mint(SystemClock.now());
    let published = NewEvent::published(id, endpoint.workspace, "{}".into());
    append(&store, NewEvent { owes: vec![delivery(to)], ..published }).await.unwrap();
    let mut lanes = lanes_with(1);
    let claimed = claim_what_has_room(&store, 9, &mut lanes).await;
    assert_eq!(counts(&claimed), BTreeMap::from([(Lane::Destination(to), 1)]));
}
