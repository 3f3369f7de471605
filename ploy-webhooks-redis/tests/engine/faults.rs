//! What the engine and the network between can do wrong: nothing that was said to be stored is
//! lost, nothing that was refused is there, and the store goes on by itself.

use std::collections::HashSet;
use std::num::{NonZeroU8, NonZeroU32};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::scene::{
    PATIENCE, append, ask, claim, connect, endpoint_of, event, keyed, open, refused, run,
    set_status, settings, until, workspace,
};
use ploy_webhooks::limit::{Admission, LimitKey, RateLimiter};
use ploy_webhooks::store::{
    ActivityStore, Appended, EndpointStore, EventQuery, EventStore, PageSize, RunQueue, RunStore,
    StoreError, StoreErrorKind, Tenure,
};
use ploy_webhooks::{Endpoint, EventId, Outcome, Rate, Status};
use ploy_webhooks_engines::{Proxy, Redis, RedisCluster};
use ploy_webhooks_redis::{Durability, RedisSettings, RedisStore, UnseenSettings};
use tokio::task::JoinSet;

/// Long enough that an answer is there, short enough to be waited for when none comes.
const SOON: Duration = Duration::from_millis(1_500);

async fn is_kept(store: &RedisStore, endpoint: &Endpoint, id: EventId) -> bool {
    store.event(&endpoint.workspace, &id).await.expect("reading works").is_some()
}

fn kind<T>(outcome: Result<T, StoreError>) -> Option<StoreErrorKind> {
    outcome.err().map(|error| error.kind())
}

/// Until something is stored again.
async fn append_when_it_works(store: &RedisStore, endpoint: &Endpoint) -> EventId {
    let working = async {
        loop {
            match append(store, event(endpoint, "{}")).await {
                Ok(id) => return id,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, working).await.expect("the store goes on without a restart")
}

/// Events that were not said to be stored, each with what was said.
type Failed = Vec<(EventId, StoreErrorKind)>;

/// Appends without a pause; what was said to be stored, and what was said otherwise.
struct Load {
    is_over: Arc<AtomicBool>,
    appends: JoinSet<(Vec<EventId>, Failed)>,
}

impl Load {
    fn begin(store: &Arc<RedisStore>, endpoints: &[Endpoint]) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut appends = JoinSet::new();
        for number in 0..16 {
            let (store, is_over) = (store.clone(), is_over.clone());
            let endpoint = endpoints[number % endpoints.len()].clone();
            appends.spawn(async move {
                let (mut stored, mut failed) = (Vec::new(), Vec::new());
                while !is_over.load(Ordering::Acquire) {
                    let event = event(&endpoint, "{}");
                    let id = event.id;
                    match append(&store, event).await {
                        Ok(id) => stored.push(id),
                        Err(error) => failed.push((id, error.kind())),
                    }
                    tokio::task::yield_now().await;
                }
                (stored, failed)
            });
        }
        Self { is_over, appends }
    }

    async fn end(self) -> (Vec<EventId>, Failed) {
        self.is_over.store(true, Ordering::Release);
        let (stored, failed): (Vec<_>, Vec<_>) = self.appends.join_all().await.into_iter().unzip();
        (stored.concat(), failed.concat())
    }
}

async fn kept_of(store: &RedisStore, endpoints: &[Endpoint]) -> HashSet<EventId> {
    let mut kept = HashSet::new();
    for endpoint in endpoints {
        let mut query = EventQuery::all(endpoint.workspace);
        query.limit = PageSize::MAX;
        let mut next = Some(query);
        while let Some(query) = next {
            let page = store.search(&query).await.expect("searching works");
            kept.extend(page.items.iter().map(|summary| summary.id));
            next = page.next;
        }
    }
    kept
}

async fn assert_all_are_kept(store: &RedisStore, endpoints: &[Endpoint], ids: &[EventId]) {
    let kept = kept_of(store, endpoints).await;
    for id in ids {
        assert!(kept.contains(id), "{id} was said to be stored and is not there");
    }
}

/// Of what failed, only that may be there of which nobody knew.
async fn assert_refused_are_absent(store: &RedisStore, endpoints: &[Endpoint], failed: &Failed) {
    let kept = kept_of(store, endpoints).await;
    for (id, kind) in failed {
        let may_be_there = *kind == StoreErrorKind::Indeterminate;
        assert!(may_be_there || !kept.contains(id), "{id} was {kind:?} and is there");
    }
}

#[tokio::test]
async fn a_full_memory_refuses_whole_events_and_goes_on_when_there_is_space() {
    let redis = Redis::start();
    let store = open(&settings([redis.url()])).await;
    let endpoint = endpoint_of(&store, workspace()).await;
    let other = endpoint_of(&store, workspace()).await;
    let used: String = ask(redis.url(), &["INFO", "memory"]);
    let used = used.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    let limit = used.trim().parse::<u64>().unwrap() + (4 << 20);
    ask::<()>(redis.url(), &["CONFIG", "SET", "maxmemory", &limit.to_string()]);

    let mut kept = Vec::new();
    let refused = loop {
        match append(&store, event(&endpoint, vec![b'x'; 100_000])).await {
            Ok(id) => kept.push(id),
            Err(error) => break error,
        }
        assert!(kept.len() < 1_000, "100 MB do not fit into 4 MiB");
    };
    assert_eq!(refused.kind(), StoreErrorKind::Refused, "{refused}");
    assert!(!kept.is_empty());
    // Smaller ones still had space, which is taken too.
    ask::<()>(redis.url(), &["CONFIG", "SET", "maxmemory", "1"]);
    let mut whole = keyed(event(&endpoint, "{}"), 1);
    whole.owes = vec![run()];
    assert_eq!(kind(store.append(whole.clone()).await), Some(StoreErrorKind::Refused));
    assert!(!is_kept(&store, &endpoint, whole.id).await);
    assert_eq!(store.runs(&endpoint.workspace, &whole.id).await.unwrap(), []);
    // What an operator does about it works.
    let other = set_status(&store, &other, Status::Paused).await;
    assert!(store.delete(&other.workspace, &other.id).await.unwrap());

    ask::<()>(redis.url(), &["CONFIG", "SET", "maxmemory", "0"]);
    // Its key was not used up when it was refused.
    let id = append(&store, whole).await.expect("there is space");
    assert_eq!(store.runs(&endpoint.workspace, &id).await.unwrap().len(), 1);
    kept.push(id);
    assert_all_are_kept(&store, &[endpoint], &kept).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_survives_a_killed_server() {
    let redis = Redis::start();
    let mut settings = settings([redis.url()]);
    settings.response_timeout = SOON;
    settings.connection_timeout = SOON;
    let store = Arc::new(open(&settings).await);
    let endpoints =
        [endpoint_of(&store, workspace()).await, endpoint_of(&store, workspace()).await];
    let mut all = Vec::new();
    for _ in 0..3 {
        let load = Load::begin(&store, &endpoints);
        all.push(append_when_it_works(&store, &endpoints[0]).await);
        tokio::task::block_in_place(|| redis.kill());
        tokio::task::block_in_place(|| redis.restart());
        all.push(append_when_it_works(&store, &endpoints[0]).await);
        let (stored, failed) = load.end().await;
        all.extend(stored);
        assert_refused_are_absent(&store, &endpoints, &failed).await;
        let expected = [StoreErrorKind::Unavailable, StoreErrorKind::Indeterminate];
        assert!(failed.iter().all(|(_, kind)| expected.contains(kind)), "{failed:?}");
    }
    assert_all_are_kept(&store, &endpoints, &all).await;
}

#[tokio::test]
async fn a_lost_answer_is_indeterminate_and_the_repeat_is_told_so() {
    let proxy = Proxy::start(Redis::shared().address());
    let mut settings = settings([proxy.url(Redis::shared().url())]);
    settings.response_timeout = SOON;
    let store = open(&settings).await;
    let endpoint = endpoint_of(&store, workspace()).await;
    append(&store, event(&endpoint, "{}")).await.unwrap();

    proxy.swallow_answers();
    let lost = keyed(event(&endpoint, "{}"), 1);
    let before = proxy.swallowed();
    let (outcome, _) = tokio::join!(
        tokio::time::timeout(PATIENCE, store.append(lost.clone())),
        proxy.swallowed_beyond(before),
    );
    assert_eq!(kind(outcome.expect("it is bounded")), Some(StoreErrorKind::Indeterminate));
    proxy.restore();
    append_when_it_works(&store, &endpoint).await;
    assert!(is_kept(&store, &endpoint, lost.id).await, "here it was stored");
    let repeat = keyed(event(&endpoint, "{}"), 1);
    match store.append(repeat).await.unwrap() {
        Appended::Duplicate(first) => assert_eq!(first, lost.id),
        other => panic!("a repeat is {other:?}"),
    }
}

#[tokio::test]
async fn a_lost_answer_to_a_check_of_a_rate_is_unavailable() {
    let proxy = Proxy::start(Redis::shared().address());
    let mut settings = settings([proxy.url(Redis::shared().url())]);
    settings.response_timeout = SOON;
    let store = open(&settings).await;
    let endpoint = endpoint_of(&store, workspace()).await;
    let rate = Rate { per_second: NonZeroU32::MIN, burst: None };
    let limiter = store.limiter();
    let of = LimitKey::Endpoint(endpoint.id);
    assert_eq!(limiter.check(of, rate).await.unwrap(), Admission::Admitted { remaining: 0 });
    proxy.swallow_answers();
    let lost = limiter.check(of, rate).await;
    assert_eq!(kind(lost), Some(StoreErrorKind::Unavailable));
}

/// Whoever were told otherwise would count them twice.
#[tokio::test]
async fn observations_without_an_answer_may_have_been_counted() {
    let proxy = Proxy::start(Redis::shared().address());
    let mut settings = settings([proxy.url(Redis::shared().url())]);
    settings.response_timeout = SOON;
    let store = open(&settings).await;
    let endpoint = endpoint_of(&store, workspace()).await;
    proxy.swallow_answers();
    let lost = store.observe(vec![refused(&endpoint, "unauthorized", 1)]).await;
    assert_eq!(kind(lost), Some(StoreErrorKind::Indeterminate));
}

/// How often the server has been sent that command.
fn calls(redis: &Redis, command: &str) -> u64 {
    let stats: String = ask(redis.url(), &["INFO", "commandstats"]);
    let name = format!("cmdstat_{command}:calls=");
    let line = stats.lines().find_map(|line| line.strip_prefix(&name));
    line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn what_may_have_been_stored_is_not_sent_again() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.address());
    let mut settings = settings([proxy.url(redis.url())]);
    settings.response_timeout = SOON;
    let store = open(&settings).await;
    let endpoint = endpoint_of(&store, workspace()).await;
    append(&store, event(&endpoint, "{}")).await.unwrap();
    let before = calls(&redis, "evalsha");

    proxy.swallow_answers();
    let outcome = append(&store, event(&endpoint, "{}")).await;
    assert_eq!(kind(outcome), Some(StoreErrorKind::Indeterminate));
    proxy.restore();
    append_when_it_works(&store, &endpoint).await;
    assert_eq!(calls(&redis, "evalsha") - before, 2, "left: how often an append was sent");
}

#[tokio::test]
async fn a_network_that_is_cut_is_unavailable_and_nothing_is_stored() {
    let proxy = Proxy::start(Redis::shared().address());
    let mut settings = settings([proxy.url(Redis::shared().url())]);
    settings.connection_timeout = SOON;
    let store = open(&settings).await;
    let endpoint = endpoint_of(&store, workspace()).await;
    append(&store, event(&endpoint, "{}")).await.unwrap();

    proxy.cut();
    // Until the end of the connections has been noticed, it may be that something was sent.
    let noticed = async {
        loop {
            let event = event(&endpoint, "{}");
            let id = event.id;
            match append(&store, event).await.unwrap_err().kind() {
                StoreErrorKind::Unavailable => return id,
                kind => assert_eq!(kind, StoreErrorKind::Indeterminate),
            }
        }
    };
    let not_stored = until("the end of the connections", noticed).await;
    let read = store.event(&endpoint.workspace, &not_stored).await;
    assert_eq!(kind(read), Some(StoreErrorKind::Unavailable));
    proxy.restore();
    append_when_it_works(&store, &endpoint).await;
    assert!(!is_kept(&store, &endpoint, not_stored).await);
}

#[tokio::test]
async fn a_frozen_server_is_given_up_on_and_found_again() {
    let redis = Redis::start();
    let mut settings = settings([redis.url()]);
    settings.response_timeout = SOON;
    settings.connection_timeout = SOON;
    let store = open(&settings).await;
    let endpoint = endpoint_of(&store, workspace()).await;
    append(&store, event(&endpoint, "{}")).await.unwrap();
    redis.freeze();
    for expected in [StoreErrorKind::Indeterminate, StoreErrorKind::Unavailable] {
        let outcome = tokio::time::timeout(PATIENCE, append(&store, event(&endpoint, "{}"))).await;
        assert_eq!(kind(outcome.expect("it is bounded")), Some(expected));
    }
    redis.thaw();
    let id = append_when_it_works(&store, &endpoint).await;
    assert!(is_kept(&store, &endpoint, id).await);
}

#[tokio::test]
async fn a_server_that_has_forgotten_the_scripts_is_given_them_again() {
    let redis = Redis::start();
    let store = open(&settings([redis.url()])).await;
    let endpoint = endpoint_of(&store, workspace()).await;
    for _ in 0..3 {
        ask::<()>(redis.url(), &["SCRIPT", "FLUSH"]);
        let id = append(&store, event(&endpoint, "{}")).await.unwrap();
        assert!(is_kept(&store, &endpoint, id).await);
    }
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_a_closed_store_says_so() {
    let redis = Redis::start();
    let mut settings = settings([redis.url()]);
    settings.waiting_max = 4;
    let store = Arc::new(open(&settings).await);
    let endpoint = endpoint_of(&store, workspace()).await;
    redis.freeze();
    let mut appends = JoinSet::new();
    for _ in 0..1_200 {
        let (store, event) = (store.clone(), event(&endpoint, "{}"));
        appends.spawn(async move { append(&store, event).await });
    }
    let refused = appends.join_next().await.unwrap().unwrap();
    assert_eq!(kind(refused), Some(StoreErrorKind::Busy));
    redis.thaw();
    let outcomes = appends.join_all().await;
    assert!(outcomes.iter().filter(|outcome| outcome.is_ok()).count() >= 4);

    // What waits is written before the store ends.
    let (last, ()) = tokio::join!(append(&store, event(&endpoint, "{}")), async {
        tokio::task::yield_now().await;
        store.close().await;
    });
    assert!(is_kept(&store, &endpoint, last.unwrap()).await);
    let late = append(&store, event(&endpoint, "{}")).await;
    assert_eq!(kind(late), Some(StoreErrorKind::Unavailable));
}

/// How many connections the server has taken, this one among them.
fn connections(redis: &Redis) -> u64 {
    let stats: String = ask(redis.url(), &["INFO", "stats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
    line.and_then(|count| count.trim().parse().ok()).expect("it counts them")
}

/// Behind an address that follows the master there is another server by then.
#[tokio::test]
async fn a_server_that_became_a_replica_is_connected_to_anew() {
    let redis = Redis::start();
    let store = open(&settings([redis.url()])).await;
    let endpoint = endpoint_of(&store, workspace()).await;
    append(&store, event(&endpoint, "{}")).await.unwrap();
    ask::<()>(redis.url(), &["REPLICAOF", "127.0.0.1", "1"]);
    let outcome = append(&store, event(&endpoint, "{}")).await;
    assert_eq!(kind(outcome), Some(StoreErrorKind::Unavailable));
    let before = connections(&redis);
    let outcome = append(&store, event(&endpoint, "{}")).await;
    assert_eq!(kind(outcome), Some(StoreErrorKind::Unavailable));
    assert_eq!(connections(&redis) - before, 2, "left: that of the store and that of the count");
    ask::<()>(redis.url(), &["REPLICAOF", "NO", "ONE"]);
    append_when_it_works(&store, &endpoint).await;
}

/// The batch is half written when that is found out.
#[tokio::test]
async fn an_append_that_meets_a_broken_key_is_indeterminate() {
    let redis = Redis::start();
    let store = open(&settings([redis.url()])).await;
    let endpoint = endpoint_of(&store, workspace()).await;
    let keys: Vec<String> = ask(redis.url(), &["KEYS", "*endpoint:*"]);
    let (bucket, _) = keys[0].split_once("endpoint:").unwrap();
    ask::<()>(redis.url(), &["SET", &format!("{bucket}lanes"), "broken"]);
    let mut owing = event(&endpoint, "{}");
    owing.owes = vec![run()];
    let id = owing.id;
    assert_eq!(kind(append(&store, owing).await), Some(StoreErrorKind::Indeterminate));
    assert!(is_kept(&store, &endpoint, id).await, "here it was stored");
}

fn with(settings: &RedisSettings, change: impl FnOnce(&mut RedisSettings)) -> RedisSettings {
    let mut settings = settings.clone();
    change(&mut settings);
    settings
}

/// Why a store with these settings does not open.
async fn refusal(settings: &RedisSettings) -> String {
    let refused = RedisStore::open(settings.clone()).await.expect_err("it should be refused");
    assert_eq!(refused.kind(), StoreErrorKind::Refused, "{refused}");
    refused.to_string()
}

#[tokio::test]
async fn a_server_that_does_not_give_what_is_promised_is_refused() {
    let redis = Redis::start();
    let settings = settings([redis.url()]);
    let set = |name: &str, value: &str| ask::<()>(redis.url(), &["CONFIG", "SET", name, value]);
    drop(open(&settings).await);

    for (name, bad, good, said) in [
        ("maxmemory-policy", "volatile-lru", "noeviction", "maxmemory-policy volatile-lru"),
        ("appendfsync", "everysec", "always", "appendfsync everysec"),
        ("no-appendfsync-on-rewrite", "yes", "no", "no-appendfsync-on-rewrite"),
        ("appendonly", "no", "yes", "appendonly no"),
    ] {
        set(name, bad);
        let refused = refusal(&settings).await;
        assert!(refused.contains(said), "{refused}");
        let modest = with(&settings, |settings| settings.durability = Durability::Memory);
        assert_eq!(RedisStore::open(modest).await.is_ok(), name != "maxmemory-policy");
        set(name, good);
    }
    let durability = Durability::Replicated(NonZeroU8::MIN);
    let refused = refusal(&with(&settings, |settings| settings.durability = durability)).await;
    assert!(refused.contains("0 replicas"), "{refused}");
    let buckets = 7.try_into().unwrap();
    let refused = refusal(&with(&settings, |settings| settings.buckets = buckets)).await;
    assert!(refused.contains("64 buckets"), "{refused}");
    drop(open(&settings).await);
}

#[tokio::test]
async fn a_server_that_does_not_show_its_settings_is_trusted_only_on_demand() {
    let redis = Redis::start();
    let user = ["ACL", "SETUSER", "app", "on", ">hunter2", "~*", "+@all", "-config"];
    ask::<()>(redis.url(), &user);
    let url = redis.url().replace("redis://", "redis://app:hunter2@");
    let settings = settings([url]);
    let refused = refusal(&settings).await;
    assert!(refused.contains("CONFIG is forbidden") && !refused.contains("hunter2"), "{refused}");
    let settings = with(&settings, |settings| settings.unseen_settings = UnseenSettings::Trusted);
    let store = open(&settings).await;
    let endpoint = endpoint_of(&store, workspace()).await;
    // It may publish to no channel either, of which runs are told: they are stored all the same.
    let mut owing = event(&endpoint, "{}");
    owing.owes = vec![run()];
    let id = append(&store, owing).await.unwrap();
    assert!(store.enqueue(&endpoint.workspace, &id, vec![run()]).await.unwrap());
    let claimed = claim(&store, u16::MAX, PATIENCE).await;
    assert_eq!(claimed.len(), 2);
    let later = Outcome::Retry { error: String::new(), after: PATIENCE };
    let ended = store.finish(&claimed[0].lease, later).await;
    assert_eq!(ended.unwrap(), Tenure::Held);
    assert!(!format!("{store:?}").contains("hunter2"));
    // What it does show is looked at all the same.
    ask::<()>(redis.url(), &["CONFIG", "SET", "appendonly", "no"]);
    let refused = refusal(&settings).await;
    assert!(refused.contains("appendonly no"), "{refused}");
}

#[tokio::test]
async fn replicas_are_refused_as_servers_and_waited_for_as_replicas() {
    let master = Redis::start();
    let replica = Redis::start();
    let (ip, port) = (master.address().ip().to_string(), master.address().port().to_string());
    ask::<()>(replica.url(), &["REPLICAOF", &ip, &port]);
    let refused = refusal(&settings([replica.url()])).await;
    assert!(refused.contains("is a replica"), "{refused}");

    let mut settings = settings([master.url()]);
    settings.durability = Durability::Replicated(NonZeroU8::MIN);
    let attached =
        || ask::<String>(master.url(), &["INFO", "replication"]).contains("state=online");
    let attaching = async {
        while !attached() {
            tokio::task::yield_now().await;
        }
    };
    until("the replica", attaching).await;
    settings.response_timeout = Duration::from_secs(20);
    let store = Arc::new(open(&settings).await);
    let endpoint = endpoint_of(&store, workspace()).await;
    let mut owing = event(&endpoint, "{}");
    owing.owes = vec![run()];
    append(&store, owing).await.unwrap();

    // What workers say at the same time waits once for all of it, and not each for itself.
    let mut owing = event(&endpoint, "{}");
    owing.owes = (0..64).map(|_| run()).collect();
    append(&store, owing).await.unwrap();
    let claimed = claim(&store, 65, PATIENCE).await;
    assert_eq!(claimed.len(), 65);
    let before = calls(&master, "wait");
    let mut ends = JoinSet::new();
    for leased in claimed {
        let store = store.clone();
        ends.spawn(async move {
            store.finish(&leased.lease, Outcome::Fail { error: String::new() }).await
        });
    }
    assert!(ends.join_all().await.into_iter().all(|end| end.unwrap() == Tenure::Held));
    let waits = calls(&master, "wait") - before;
    assert!(waits <= 8, "65 ends have waited {waits} times");
    let mut owing = event(&endpoint, "{}");
    owing.owes = vec![run()];
    append(&store, owing).await.unwrap();

    // Without the replica nobody knows, and no repeat is told otherwise.
    settings.response_timeout = SOON;
    let (store, other_node) = (open(&settings).await, open(&settings).await);
    replica.freeze();
    for node in [&store, &other_node] {
        let outcome = node.append(keyed(event(&endpoint, "{}"), 1)).await;
        assert_eq!(kind(outcome), Some(StoreErrorKind::Indeterminate));
    }
    // A claim is handed out all the same, since it has counted an attempt.
    let claimed = claim(&store, u16::MAX, PATIENCE).await;
    assert_eq!(claimed.len(), 1);
    replica.thaw();
    append_when_it_works(&store, &endpoint).await;
    let outcome = store.append(keyed(event(&endpoint, "{}"), 1)).await;
    assert!(matches!(outcome, Ok(Appended::Duplicate(_))), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_that_loses_a_master_keeps_what_a_replica_has() {
    let cluster = tokio::task::block_in_place(|| RedisCluster::start(3, 1));
    let mut settings = settings(cluster.urls());
    settings.durability = Durability::Replicated(NonZeroU8::MIN);
    settings.response_timeout = SOON;
    settings.connection_timeout = SOON;
    let store = Arc::new(open(&settings).await);
    let mut endpoints = Vec::new();
    for _ in 0..12 {
        endpoints.push(endpoint_of(&store, workspace()).await);
    }
    let load = Load::begin(&store, &endpoints);
    for endpoint in &endpoints {
        append_when_it_works(&store, endpoint).await;
    }
    tokio::task::block_in_place(|| {
        cluster.kill_master(0);
        cluster.await_failover(0);
    });
    // The masters that are left have replicas, and the new one has none: it is back when it has.
    tokio::task::block_in_place(|| cluster.restart(0));
    for endpoint in &endpoints {
        append_when_it_works(&store, endpoint).await;
    }
    let (stored, failed) = load.end().await;
    assert_all_are_kept(&store, &endpoints, &stored).await;
    assert_refused_are_absent(&store, &endpoints, &failed).await;
}

/// While a slot is on its way from one node to another, its bucket is refused as a whole; then
/// it is found where it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slot_that_moves_is_refused_until_it_has_moved() {
    let cluster = tokio::task::block_in_place(|| RedisCluster::start(3, 0));
    let settings = settings(cluster.urls());
    let (store, other_node) = (open(&settings).await, open(&settings).await);
    let endpoint = endpoint_of(&store, workspace()).await;
    let before = append(&store, event(&endpoint, "{}")).await.unwrap();

    // The slot that has the endpoint, and who has it.
    let keys = |node: &Redis| ask::<Vec<String>>(node.url(), &["KEYS", "*endpoint:*"]);
    let from = cluster.nodes().iter().find(|node| !keys(node).is_empty()).unwrap();
    let to = cluster.nodes().iter().find(|node| keys(node).is_empty()).unwrap();
    let slot = ask::<u32>(from.url(), &["CLUSTER", "KEYSLOT", &keys(from)[0]]).to_string();
    let id = |node: &Redis| ask::<String>(node.url(), &["CLUSTER", "MYID"]);
    ask::<()>(to.url(), &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(from)]);
    ask::<()>(from.url(), &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(to)]);
    let in_slot: Vec<Vec<u8>> = ask(from.url(), &["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
    assert!(in_slot.len() > 2, "the endpoint and its event are there");
    for (number, key) in in_slot.iter().enumerate() {
        let outcome = append(&store, event(&endpoint, "{}")).await;
        assert_eq!(kind(outcome), Some(StoreErrorKind::Unavailable), "{number} keys have moved");
        let mut connection = connect(from.url());
        let mut migrate = redis::cmd("MIGRATE");
        migrate
            .arg(to.address().ip().to_string())
            .arg(to.address().port())
            .arg(key)
            .arg(0)
            .arg(5_000);
        migrate.query::<()>(&mut connection).unwrap();
    }
    for node in [to, from] {
        ask::<()>(node.url(), &["CLUSTER", "SETSLOT", &slot, "NODE", &id(to)]);
    }
    // One that has not heard of it follows to where the slot is.
    let after = append(&other_node, event(&endpoint, "{}")).await.expect("it is followed");
    append_when_it_works(&store, &endpoint).await;
    for id in [before, after] {
        assert!(is_kept(&store, &endpoint, id).await);
    }
}
