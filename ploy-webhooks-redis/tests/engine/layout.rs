//! What lies where: nothing stays behind, and what another version has made is taken over as it is,
//! or left alone.

use std::collections::BTreeSet;
use std::num::{NonZeroU16, NonZeroU64};
use std::time::Duration;

use crate::scene::{
    PATIENCE, append, ask, claim_in, connect, delivery, destination, endpoint_of, event, keyed,
    open, refused, roomy, run, settings, workspace,
};
use ploy_webhooks::store::{
    ActivityStore, Altered, EndpointStore, Lanes, RunQueue, StoreErrorKind, Tenure,
};
use ploy_webhooks::{Lane, NewEvent, Outcome, Quota};
use ploy_webhooks_engines::{Redis, RedisCluster};
use ploy_webhooks_redis::{RedisSettings, RedisStore};

fn meta(settings: &RedisSettings) -> String {
    format!("{{{}}}:meta", settings.prefix)
}

fn set_format(settings: &RedisSettings, url: &str, format: &str) {
    ask::<()>(url, &["HSET", &meta(settings), "format", format]);
}

fn format_of(settings: &RedisSettings, url: &str) -> String {
    ask(url, &["HGET", &meta(settings), "format"])
}

#[tokio::test]
async fn a_store_of_an_older_layout_is_refused() {
    let settings = settings([Redis::shared().url()]);
    drop(open(&settings).await);
    set_format(&settings, Redis::shared().url(), "1");
    let refused = RedisStore::open(settings).await.expect_err("it is of another layout");
    assert_eq!(refused.kind(), StoreErrorKind::Refused);
    let said = refused.to_string();
    assert!(said.contains("format 1") && said.contains("prefix"), "{said}");
}

/// What was owed in it is claimed and ended, also by whoever had claimed it before; two nodes may be
/// the first at once.
async fn a_store_of_the_format_before_is_taken_over(settings: &RedisSettings, url: &str) {
    let before = open(settings).await;
    let endpoint = endpoint_of(&before, workspace()).await;
    let owes: Vec<_> = (0..4).map(|_| run()).collect();
    let mut ids: Vec<_> = owes.iter().map(|run| run.id).collect();
    append(&before, NewEvent { owes, ..event(&endpoint, "{}") }).await.expect("it is stored");
    let claimed = claim_in(&before, 2, PATIENCE, &roomy()).await;
    let [running, retried] = &claimed[..] else { panic!("two are claimed: {claimed:?}") };
    let again = Outcome::Retry { error: String::new(), after: Duration::ZERO };
    assert_eq!(before.finish(&retried.lease, again).await.expect("ending works"), Tenure::Held);
    drop(before);
    set_format(settings, url, "2");

    let (store, other) = tokio::join!(open(settings), open(settings));
    assert_eq!(format_of(settings, url), "3");
    let succeed = || Outcome::Succeed { output: Vec::new().into() };
    assert_eq!(store.finish(&running.lease, succeed()).await.expect("ending works"), Tenure::Held);
    let mut ended = vec![running.lease.run];
    while ended.len() < ids.len() {
        let claimed = claim_in(&store, 9, PATIENCE, &roomy()).await;
        assert!(!claimed.is_empty(), "all that was owed is due");
        for leased in claimed {
            assert_eq!(
                other.finish(&leased.lease, succeed()).await.expect("ending works"),
                Tenure::Held
            );
            ended.push(leased.lease.run);
        }
    }
    ids.sort_unstable();
    ended.sort_unstable();
    assert_eq!(ended, ids);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_of_the_format_before_is_taken_over_on_a_server_and_a_cluster() {
    let url = Redis::shared().url();
    a_store_of_the_format_before_is_taken_over(&settings([url]), url).await;
    let cluster = tokio::task::block_in_place(|| RedisCluster::start(3, 0));
    let settings = settings(cluster.urls());
    drop(open(&settings).await);
    let urls = cluster.urls();
    let has_meta = |url: &&String| {
        let exists = redis::cmd("EXISTS").arg(meta(&settings)).query(&mut connect(url));
        exists.unwrap_or(false)
    };
    let url = urls.iter().find(has_meta).expect("one has it, and the others say who");
    a_store_of_the_format_before_is_taken_over(&settings, url).await;
}

#[tokio::test]
async fn a_store_that_is_refused_keeps_its_format() {
    let url = Redis::shared().url();
    let mut settings = settings([url]);
    drop(open(&settings).await);
    set_format(&settings, url, "2");
    settings.buckets = NonZeroU16::MIN;
    let refused = RedisStore::open(settings.clone()).await.expect_err("it has other buckets");
    assert_eq!(refused.kind(), StoreErrorKind::Refused);
    assert_eq!(format_of(&settings, url), "2");
}

/// An owner has as many receivers as it has lines, however many it once had.
#[tokio::test]
async fn receivers_without_a_line_are_forgotten() {
    let url = Redis::shared().url();
    let mut settings = settings([url]);
    settings.buckets = NonZeroU16::MIN;
    let store = open(&settings).await;
    let endpoint = endpoint_of(&store, workspace()).await;
    let key = format!("{{{}:0}}:receivers:{}", settings.prefix, endpoint.id);
    let receivers = || ask::<BTreeSet<String>>(url, &["SMEMBERS", &key]);
    let (ended, called_off) = (destination(), destination());
    let later = delivery(called_off);
    let owes = vec![delivery(ended), later.clone()];
    append(&store, NewEvent { owes, ..event(&endpoint, "{}") }).await.unwrap();
    assert_eq!(receivers(), [ended, called_off].map(|to| to.to_string()).into());

    let mut held = roomy();
    held.bound(Lane::Destination(called_off), 0);
    let claimed = claim_in(&store, 9, PATIENCE, &held).await;
    assert_eq!(receivers().len(), 2, "what is claimed stands in line");
    let succeed = Outcome::Succeed { output: Vec::new().into() };
    assert_eq!(store.finish(&claimed[0].lease, succeed).await.unwrap(), Tenure::Held);
    assert_eq!(receivers(), [called_off.to_string()].into());
    let altered = store.cancel(&endpoint.workspace, &later.id).await.unwrap();
    assert_eq!(altered, Altered::Done);
    assert_eq!(receivers(), BTreeSet::new());

    let owes = vec![delivery(ended)];
    append(&store, NewEvent { owes, ..event(&endpoint, "{}") }).await.unwrap();
    assert_eq!(receivers(), [ended.to_string()].into(), "right: where it delivers to again");
}

/// With runs in every state, and one of them with a worker: of a deleted endpoint there is no key
/// but that which says that its id is spent, and those that end by themselves.
#[tokio::test]
async fn a_deleted_endpoint_leaves_nothing_behind() {
    let settings = settings([Redis::shared().url()]);
    let store = open(&settings).await;
    let endpoint = endpoint_of(&store, workspace()).await;
    let to = destination();
    let owes: Vec<_> = (0..6).map(|_| run()).chain([delivery(to), delivery(to)]).collect();
    append(&store, NewEvent { owes, ..keyed(event(&endpoint, "{}"), 1) }).await.unwrap();
    let quota = Some(Quota { events: NonZeroU64::MIN, period_seconds: None });
    append(&store, NewEvent { quota, ..event(&endpoint, "{}") }).await.unwrap();
    store.observe(vec![refused(&endpoint, "unauthorized", 1)]).await.unwrap();
    let mut delayed = run();
    delayed.delay = PATIENCE;
    append(&store, NewEvent { owes: vec![delayed], ..event(&endpoint, "{}") }).await.unwrap();
    let mut held = roomy();
    held.bound(Lane::Destination(to), 0);
    let claimed = claim_in(&store, 5, PATIENCE, &held).await;
    assert_eq!(claimed.len(), 5);
    let lanes = Lanes::new(NonZeroU16::MIN);
    let delivered = claim_in(&store, 9, PATIENCE, &lanes).await;
    assert_eq!(
        delivered.len(),
        2,
        "left: claimed of the lane of the endpoint and of the destination"
    );
    let error = String::new();
    let again = Outcome::Retry { error: error.clone(), after: PATIENCE };
    for (leased, outcome) in claimed.iter().zip([
        Outcome::Succeed { output: Vec::new().into() },
        Outcome::Fail { error },
        again,
    ]) {
        assert_eq!(store.finish(&leased.lease, outcome).await.unwrap(), Tenure::Held);
    }
    let _altered = store.cancel(&endpoint.workspace, &claimed[3].lease.run).await.unwrap();
    assert!(store.delete(&endpoint.workspace, &endpoint.id).await.unwrap());
    let tenure = store.extend(&claimed[4].lease, Duration::from_secs(1)).await;
    assert_eq!(tenure.unwrap(), Tenure::Lost);

    let pattern = format!("{{{}*", settings.prefix);
    let keys: Vec<String> = ask(Redis::shared().url(), &["KEYS", &pattern]);
    // The feed of a bucket is of all its owners: what it has of this one is told to nobody, and goes
    // with what comes after it.
    let left = keys.iter().filter(|key| {
        ![":meta", ":gone:", ":seen:", ":feed"].iter().any(|ends| key.contains(ends))
    });
    assert_eq!(left.collect::<Vec<_>>(), Vec::<&String>::new(), "left: what stays behind");
}
