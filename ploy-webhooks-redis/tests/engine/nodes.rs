//! Several nodes on one server: what holds on one holds across all.

use std::collections::{BTreeSet, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::scene::{
    PATIENCE, ask, claim, connect, endpoint_of, event, keyed, open, roomy, run, set_status,
    settings, until, workspace,
};
use ploy_webhooks::limit::{Admission, LimitKey, RateLimiter};
use ploy_webhooks::store::{
    Altered, Appended, Created, EndpointStore, EventQuery, EventStore, KeyStore, PageSize,
    RunQueue, Tenure,
};
use ploy_webhooks::{
    Clock, Endpoint, EndpointConfig, EndpointId, EventId, Outcome, Rate, Slug, Status, SystemClock,
    WorkspaceId,
};
use ploy_webhooks_engines::Redis;
use ploy_webhooks_redis::{RedisLimiter, RedisSettings, RedisStore};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

/// Two stores with the same keys.
async fn two_nodes() -> (RedisSettings, [Arc<RedisStore>; 2]) {
    let settings = settings([Redis::shared().url()]);
    let (one, other) = tokio::join!(open(&settings), open(&settings));
    (settings, [Arc::new(one), Arc::new(other)])
}

async fn ids(store: &RedisStore, workspace: WorkspaceId) -> BTreeSet<EventId> {
    let mut query = EventQuery::all(workspace);
    query.limit = PageSize::MAX;
    let mut ids = BTreeSet::new();
    let mut next = Some(query);
    while let Some(query) = next {
        let page = store.search(&query).await.expect("searching works");
        ids.extend(page.items.iter().map(|summary| summary.id));
        next = page.next;
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_change_on_one_node_fences_the_appends_of_the_other() {
    let (_, [one, other]) = two_nodes().await;
    for _ in 0..8 {
        let endpoint = endpoint_of(&one, workspace()).await;
        let is_over = Arc::new(AtomicBool::new(false));
        let (stored, mut first) = tokio::sync::mpsc::channel(1);
        let mut appends = JoinSet::new();
        for _ in 0..16 {
            let (other, endpoint, is_over, stored) =
                (other.clone(), endpoint.clone(), is_over.clone(), stored.clone());
            appends.spawn(async move {
                let mut ids = Vec::new();
                let mut left = 2;
                while left > 0 {
                    left -= usize::from(is_over.load(Ordering::Acquire));
                    let event = event(&endpoint, "{}");
                    let id = event.id;
                    if let Appended::Stored = other.append(event).await.unwrap() {
                        ids.push(id);
                        let _ = stored.try_send(());
                    }
                }
                ids
            });
        }
        drop(stored);
        let begun = until("the first event", first.recv()).await;
        begun.expect("something is stored before the change");
        set_status(&one, &endpoint, Status::Paused).await;
        let when_it_returned = ids(&one, endpoint.workspace).await;
        is_over.store(true, Ordering::Release);
        let said: BTreeSet<_> = appends.join_all().await.into_iter().flatten().collect();
        assert_eq!(ids(&other, endpoint.workspace).await, when_it_returned);
        assert_eq!(said, when_it_returned, "left: what was said to be stored");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_repeats_on_two_nodes_one_is_stored() {
    let (_, nodes) = two_nodes().await;
    let endpoint = endpoint_of(&nodes[0], workspace()).await;
    for key in 0..10 {
        let start = Arc::new(Barrier::new(64));
        let mut appends = JoinSet::new();
        for number in 0..64 {
            let (node, start) = (nodes[number % 2].clone(), start.clone());
            let event = keyed(event(&endpoint, "{}"), key);
            appends.spawn(async move {
                start.wait().await;
                let id = event.id;
                (id, node.append(event).await.unwrap())
            });
        }
        let (mut stored, mut repeated) = (Vec::new(), HashSet::new());
        for (id, outcome) in appends.join_all().await {
            match outcome {
                Appended::Stored => stored.push(id),
                Appended::Duplicate(first) => drop(repeated.insert(first)),
                other => panic!("nothing has changed, and yet {other:?}"),
            }
        }
        assert_eq!(stored.len(), 1, "of 64 repeats");
        assert!(repeated.iter().all(|first| *first == stored[0]));
    }
}

/// The server's clock, by which rates are counted.
fn server_time() -> f64 {
    let (seconds, micros): (f64, f64) = ask(Redis::shared().url(), &["TIME"]);
    seconds + micros / 1e6
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_nodes_admit_in_total_what_the_rate_says() {
    let settings = settings([Redis::shared().url()]);
    let one = RedisLimiter::connect(settings.clone()).await.unwrap();
    let other = open(&settings).await.limiter();
    let limiters = [Arc::new(one), Arc::new(other)];
    let of = LimitKey::Endpoint(EndpointId::mint(SystemClock.now()));
    let rate = |per_second: u32, burst: u32| Rate {
        per_second: per_second.try_into().unwrap(),
        burst: burst.try_into().ok(),
    };
    let wanted = rate(40, 10);

    let before_first = server_time();
    let first = limiters[0].check(of, wanted).await.unwrap();
    assert_eq!(first, Admission::Admitted { remaining: 9 });
    let after_first = server_time();
    let mut checks = JoinSet::new();
    for number in 0..8 {
        let limiter = limiters[number % 2].clone();
        checks.spawn(async move {
            let mut admitted = 0;
            for _ in 0..400 {
                match limiter.check(of, wanted).await.unwrap() {
                    Admission::Admitted { remaining } => {
                        assert!(remaining < 10, "{remaining} of a burst of 10 remain");
                        admitted += 1;
                    }
                    Admission::Exceeded { retry_after } => {
                        assert!(!retry_after.is_zero() && retry_after <= Duration::from_millis(26));
                    }
                }
            }
            admitted
        });
    }
    let mut admitted: u32 = 1 + checks.join_all().await.iter().sum::<u32>();
    // To the point where one more would be too many, so that nothing is left over.
    let before_last = loop {
        let before = server_time();
        match limiters[1].check(of, wanted).await.unwrap() {
            Admission::Admitted { .. } => admitted += 1,
            Admission::Exceeded { .. } => break before,
        }
    };
    let after_last = server_time();
    let at_most = 10.0 + 40.0 * (after_last - before_first) + 1.0;
    let at_least = 10.0 + 40.0 * (before_last - after_first) - 1.0;
    let admitted = f64::from(admitted);
    assert!(admitted <= at_most, "{admitted} were admitted, {at_most} are the most");
    assert!(admitted >= at_least, "{admitted} were admitted, {at_least} are the least");

    // A workspace has a count of its own, and a new rate holds at once.
    let neighbour = LimitKey::Workspace(WorkspaceId::mint(SystemClock.now()));
    for expected in [true, false, false] {
        let limiter = &limiters[usize::from(expected)];
        let admission = limiter.check(neighbour, rate(1, 1)).await.unwrap();
        assert_eq!(admission == Admission::Admitted { remaining: 0 }, expected, "{admission:?}");
    }
    // An enormous rate is counted all the same.
    let enormous = Rate { per_second: NonZeroU32::MAX, burst: None };
    let admission = limiters[0].check(neighbour, enormous).await.unwrap();
    let Admission::Admitted { remaining } = admission else { panic!("{admission:?}") };
    assert!(remaining >= u32::MAX - 2, "{remaining}");
}

/// What is told to remain is what is admitted then: no less, and no more than comes meanwhile.
#[tokio::test]
async fn as_many_are_admitted_as_are_said_to_remain() {
    let limiter = open(&settings([Redis::shared().url()])).await.limiter();
    let of = LimitKey::Workspace(WorkspaceId::mint(SystemClock.now()));
    let rate = Rate { per_second: NonZeroU32::MIN, burst: NonZeroU32::new(20) };
    let begin = server_time();
    for left in (0..20).rev() {
        match limiter.check(of, rate).await.unwrap() {
            Admission::Admitted { remaining } => {
                let meanwhile = server_time() - begin;
                let most = f64::from(left) + meanwhile;
                assert!(remaining >= left, "{remaining} are said to remain, {left} do");
                assert!(f64::from(remaining) <= most, "{remaining} remain, {most} are the most");
            }
            exceeded @ Admission::Exceeded { .. } => panic!("with {left} to come {exceeded:?}"),
        }
    }
}

/// With leases that end all the time: no attempt of a run is handed out twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_attempt_is_handed_out_twice() {
    let (_, nodes) = two_nodes().await;
    for _ in 0..4 {
        let endpoint = endpoint_of(&nodes[0], workspace()).await;
        for _ in 0..10 {
            let mut event = event(&endpoint, "{}");
            event.owes = vec![run(), run()];
            crate::scene::append(&nodes[0], event).await.unwrap();
        }
    }
    let mut claims = JoinSet::new();
    for number in 0..8 {
        let node = nodes[number % 2].clone();
        claims.spawn(async move {
            let mut attempts = Vec::new();
            for _ in 0..40 {
                let claimed = claim(&node, 5, Duration::from_millis(5)).await;
                attempts.extend(claimed.iter().map(|run| (run.lease.run, run.lease.attempt)));
            }
            attempts
        });
    }
    let attempts: Vec<_> = claims.join_all().await.into_iter().flatten().collect();
    let runs: HashSet<_> = attempts.iter().map(|(run, _)| run).collect();
    assert_eq!(runs.len(), 80, "all are claimed sooner or later");
    assert!(attempts.len() > 80, "leases that end are claimed again");
    let different: HashSet<_> = attempts.iter().collect();
    assert_eq!(different.len(), attempts.len(), "an attempt was handed out twice");
}

#[tokio::test]
async fn a_node_that_waits_hears_of_runs_on_another() {
    let (settings, [one, other]) = two_nodes().await;
    let endpoint = endpoint_of(&one, workspace()).await;
    let waiting = tokio::spawn({
        let other = other.clone();
        async move {
            loop {
                other.wait(PATIENCE, &roomy()).await.unwrap();
                let claimed = claim(&other, 1, PATIENCE).await;
                if let Some(run) = claimed.first() {
                    return run.lease.run;
                }
            }
        }
    });
    // It has a connection for that, and is told on it.
    let channel = format!("{}:due", settings.prefix);
    let url = Redis::shared().url();
    let listening = async {
        while ask::<(String, u32)>(url, &["PUBSUB", "NUMSUB", &channel]).1 == 0 {
            tokio::task::yield_now().await;
        }
    };
    until("its subscription", listening).await;
    let mut event = event(&endpoint, "{}");
    event.owes = vec![run()];
    let owed = event.owes[0].id;
    crate::scene::append(&one, event).await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap(), owed);
}

#[tokio::test]
async fn a_node_that_waits_hears_of_a_run_that_is_tried_again_by_hand() {
    let (settings, [one, other]) = two_nodes().await;
    let endpoint = endpoint_of(&one, workspace()).await;
    let mut event = event(&endpoint, "{}");
    event.owes = vec![run()];
    crate::scene::append(&one, event).await.unwrap();
    let leased = claim(&one, 1, PATIENCE).await.remove(0);
    let given_up = Outcome::Fail { error: "no".to_owned() };
    assert_eq!(one.finish(&leased.lease, given_up).await.unwrap(), Tenure::Held);
    let waiting = tokio::spawn({
        let other = other.clone();
        async move {
            loop {
                other.wait(PATIENCE, &roomy()).await.unwrap();
                if let Some(run) = claim(&other, 1, PATIENCE).await.first() {
                    return run.lease;
                }
            }
        }
    });
    let channel = format!("{}:due", settings.prefix);
    let url = Redis::shared().url();
    let listening = async {
        while ask::<(String, u32)>(url, &["PUBSUB", "NUMSUB", &channel]).1 == 0 {
            tokio::task::yield_now().await;
        }
    };
    until("its subscription", listening).await;
    // Its next look would find the run as well, if later: what it is told is looked at here.
    let mut connection = connect(url);
    let mut messages = connection.as_pubsub();
    messages.subscribe(&channel).unwrap();
    messages.set_read_timeout(Some(PATIENCE)).unwrap();
    let altered = one.requeue(&endpoint.workspace, &leased.lease.run).await.unwrap();
    assert_eq!(altered, Altered::Done);
    messages.get_message().expect("nodes are told of it");
    let lease = until("the run", waiting).await.unwrap();
    assert_eq!((lease.run, lease.attempt.get()), (leased.lease.run, 2));
}

fn with_slug(mut endpoint: Endpoint, slug: &Slug) -> Endpoint {
    endpoint.slug = slug.clone();
    endpoint
}

/// What a node leaves that dies between the two steps of a creation, or of a deletion.
#[tokio::test]
async fn a_slug_that_names_nothing_is_taken_over_and_what_it_named_is_spent() {
    let (settings, [one, other]) = two_nodes().await;
    let config = EndpointConfig::default();
    let minted = || Endpoint::mint(WorkspaceId::DEFAULT, config.clone(), SystemClock.now()).0;
    let never_made = minted();
    let made = minted();
    assert_eq!(one.create(made.clone()).await.unwrap(), Created::Created);
    let url = Redis::shared().url();
    let keys: Vec<String> = ask(url, &["KEYS", &format!("{{{}:*slug:*", settings.prefix)]);
    let [key] = &keys[..] else { panic!("{keys:?}") };
    assert!(other.delete(&made.workspace, &made.id).await.unwrap());
    assert_eq!(ask::<u32>(url, &["EXISTS", key]), 0, "a deletion frees the slug");

    ask::<()>(url, &["SET", key, &never_made.id.to_string()]);
    let never_made = with_slug(never_made, &made.slug);
    assert_eq!(one.endpoint(&made.slug).await.unwrap(), None, "it names nothing");
    let heir = with_slug(minted(), &made.slug);
    assert_eq!(other.create(heir.clone()).await.unwrap(), Created::Created);
    assert_eq!(one.endpoint(&made.slug).await.unwrap().as_deref(), Some(&heir));

    // The creation that was cut off goes on after all: too late, also under another slug.
    assert_eq!(one.create(never_made.clone()).await.unwrap(), Created::Taken);
    let elsewhere = with_slug(never_made, &minted().slug);
    assert_eq!(one.create(elsewhere.clone()).await.unwrap(), Created::Taken);
    assert_eq!(one.endpoint(&elsewhere.slug).await.unwrap(), None);
    assert_eq!(one.endpoint(&made.slug).await.unwrap().as_deref(), Some(&heir));
}

/// The same endpoint at once, and many of one slug at once, on both nodes: each slug has one
/// endpoint, which is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_simultaneous_creations_on_two_nodes_one_wins() {
    let (_, nodes) = two_nodes().await;
    for _ in 0..10 {
        let config = EndpointConfig::default();
        let minted = || Endpoint::mint(WorkspaceId::DEFAULT, config.clone(), SystemClock.now()).0;
        let slug = minted().slug;
        let rivals: Vec<_> = (0..4).map(|_| with_slug(minted(), &slug)).collect();
        let start = Arc::new(Barrier::new(16));
        let mut creations = JoinSet::new();
        for number in 0..16 {
            let (node, start) = (nodes[number % 2].clone(), start.clone());
            let rival = rivals[number / 4].clone();
            creations.spawn(async move {
                start.wait().await;
                let created = node.create(rival.clone()).await.unwrap();
                (created == Created::Created).then_some(rival)
            });
        }
        let winners: Vec<_> = creations.join_all().await.into_iter().flatten().collect();
        let [winner] = &winners[..] else { panic!("{} won", winners.len()) };
        for node in &nodes {
            assert_eq!(node.endpoint(&slug).await.unwrap().as_deref(), Some(winner));
        }
        for rival in rivals.iter().filter(|rival| rival.id != winner.id) {
            let found = nodes[0].endpoint_by_id(&rival.workspace, &rival.id).await.unwrap();
            assert_eq!(found, None, "one that lost is there");
        }
    }
}
