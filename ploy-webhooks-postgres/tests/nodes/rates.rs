//! Rates that hold for all nodes together.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use ploy_webhooks::limit::{Admission, LimitKey, RateLimiter};
use ploy_webhooks::{Endpoint, Rate};
use ploy_webhooks_postgres::PostgresLimiter;
use tokio::task::JoinSet;

use crate::scene::{Database, WORKSPACE, endpoint, soon};

fn rate(per_second: u32, burst: u32) -> Rate {
    let per_second = NonZeroU32::new(per_second).expect("it is not zero");
    Rate { per_second, burst: NonZeroU32::new(burst) }
}

fn admitted(admission: Admission) -> bool {
    matches!(admission, Admission::Admitted { .. })
}

async fn check(limiter: &PostgresLimiter, endpoint: &Endpoint, rate: Rate) -> Admission {
    let checked =
        soon("a check of the rate", limiter.check(LimitKey::Endpoint(endpoint.id), rate)).await;
    checked.expect("the limiter works")
}

/// Not more than the rate gives in the time from before the first check to after the last, and
/// not less than in the time between them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_admit_in_total_what_the_rate_says() {
    const PER_SECOND: u32 = 40;
    const BURST: u32 = 10;
    let database = Database::new().await;
    let (one, other) = (database.node().await, database.node().await);
    let limiters = [Arc::new(one.limiter()), Arc::new(other.limiter())];
    let (endpoint, wanted) = (endpoint(), rate(PER_SECOND, BURST));

    let before_first = Instant::now();
    assert!(admitted(check(&limiters[0], &endpoint, wanted).await));
    let after_first = Instant::now();
    let mut checks = JoinSet::new();
    for number in 0..16 {
        let (limiter, endpoint) = (limiters[number % 2].clone(), endpoint.clone());
        checks.spawn(async move {
            let mut count = 0;
            for _ in 0..200 {
                match check(&limiter, &endpoint, wanted).await {
                    Admission::Admitted { .. } => count += 1,
                    Admission::Exceeded { retry_after } => {
                        assert!(!retry_after.is_zero());
                        assert!(retry_after.as_secs_f64() <= 1.0 / f64::from(PER_SECOND) + 1e-6);
                    }
                }
            }
            count
        });
    }
    let mut admitted = 1 + checks.join_all().await.iter().sum::<u32>();
    // To the point where one more would be too many, so that nothing is left over.
    let before_last = loop {
        let before = Instant::now();
        match check(&limiters[1], &endpoint, wanted).await {
            Admission::Admitted { .. } => admitted += 1,
            Admission::Exceeded { .. } => break before,
        }
    };
    let given = |seconds: f64| f64::from(BURST) + f64::from(PER_SECOND) * seconds;
    let at_most = given(before_first.elapsed().as_secs_f64()) + 1.0;
    let at_least = given((before_last - after_first).as_secs_f64()) - 1.0;
    let admitted = f64::from(admitted);
    assert!(admitted <= at_most, "{admitted} were admitted, {at_most} are the most");
    assert!(admitted >= at_least, "{admitted} were admitted, {at_least} are the least");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_endpoint_has_a_count_of_its_own() {
    let database = Database::new().await;
    let limiter = database.node().await.limiter();
    let (one, other) = (endpoint(), endpoint());
    let exceeded = |admission| matches!(admission, Admission::Exceeded { .. });
    assert_eq!(check(&limiter, &one, rate(1, 1)).await, Admission::Admitted { remaining: 0 });
    assert!(exceeded(check(&limiter, &one, rate(1, 1)).await));
    assert_eq!(check(&limiter, &other, rate(1, 1)).await, Admission::Admitted { remaining: 0 });
    // The largest numbers there are, counted all the same.
    for largest in [rate(u32::MAX, u32::MAX), rate(1, u32::MAX), rate(u32::MAX, 1)] {
        let endpoint = endpoint();
        assert!(admitted(check(&limiter, &endpoint, largest).await), "{largest:?}");
    }
}

/// Whoever is admitted is told how many more would be, and a workspace has a count of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_remains_is_told() {
    let database = Database::new().await;
    let limiters = [database.node().await.limiter(), database.node().await.limiter()];
    // One in the life of the test, and three at once.
    let slow = rate(1, 3);
    let workspace = LimitKey::Workspace(WORKSPACE);
    assert!(admitted(check(&limiters[0], &endpoint(), slow).await));
    let mut remained = Vec::new();
    for limiter in limiters.iter().cycle().take(3) {
        match soon("a check of the rate", limiter.check(workspace, slow)).await {
            Ok(Admission::Admitted { remaining }) => remained.push(remaining),
            told => panic!("of three at once each is admitted, and one is {told:?}"),
        }
    }
    // Where the machine is slow, another second has given one more.
    let [first, second, third] = remained[..] else { panic!("{remained:?}") };
    assert_eq!(first, 2);
    assert!((1..=2).contains(&second) && third <= 2, "{remained:?}");
}
