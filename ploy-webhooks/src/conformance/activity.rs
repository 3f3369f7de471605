//! Promises about what endpoints were sent.

use super::Fixture;
use super::quotas::{OpenWithOne, of_its_life, under};
use super::scene::{append, delete, endpoint, event, store_one, workspace};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::endpoint::Endpoint;
use crate::id::CredentialId;
use crate::store::{Activity, ActivityStore, Appended, OBSERVED_MAX, Observation, Observed, Tally};

/// How many events the endpoint has stored under a quota.
pub(super) async fn quota_used<S>(store: &S, endpoint: &Endpoint) -> Option<u64>
where
    S: ActivityStore + ?Sized,
{
    activity(store, endpoint).await?.quota.map(|quota| quota.used)
}

async fn activity<S>(store: &S, endpoint: &Endpoint) -> Option<Activity>
where
    S: ActivityStore + ?Sized,
{
    let known = store.activity(&endpoint.workspace, &endpoint.id).await;
    known.expect("activity gives no error")
}

async fn observe<S>(store: &S, observations: Vec<Observation>)
where
    S: ActivityStore + ?Sized,
{
    store.observe(observations).await.expect("observe gives no error");
}

fn seen(endpoint: &Endpoint, what: &Observed, count: u64, millis: u64) -> Observation {
    Observation {
        workspace: endpoint.workspace,
        endpoint: endpoint.id,
        what: what.clone(),
        count,
        last_at: Timestamp::from_millis(millis),
    }
}

fn refusal(code: &'static str) -> Observed {
    Observed::Refusal(code.into())
}

/// Counts add up and the last time stays the last, in one call and in several; each by endpoint
/// and name alone. What names no endpoint of the workspace is dropped, what is one name too many
/// too, and a deletion takes all along.
pub async fn observations_add_up<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with_one(&endpoint).await;
    assert_eq!(activity(&*store, &endpoint).await, Some(Activity::default()), "of a new endpoint");
    observe(&*store, Vec::new()).await;

    let key = Observed::Credential(CredentialId::mint(SystemClock.now()));
    let elsewhere = Endpoint { workspace: workspace(), ..endpoint.clone() };
    let nowhere = super::scene::endpoint_of(endpoint.workspace);
    let (bad, stale) = (refusal("unauthorized"), refusal("stale_timestamp"));
    let first = vec![
        seen(&endpoint, &bad, 2, 20),
        seen(&elsewhere, &bad, 100, 100),
        seen(&nowhere, &bad, 100, 100),
        seen(&endpoint, &key, 1, 10),
        seen(&endpoint, &bad, 3, 30),
    ];
    observe(&*store, first).await;
    observe(&*store, vec![seen(&endpoint, &bad, 1, 25), seen(&endpoint, &stale, 1, 5)]).await;
    let tally = |what: &Observed, count, millis| Tally {
        what: what.clone(),
        count,
        last_at: Timestamp::from_millis(millis),
    };
    let known = activity(&*store, &endpoint).await.expect("the endpoint is there");
    let expected = [tally(&key, 1, 10), tally(&stale, 1, 5), tally(&bad, 6, 30)];
    assert_eq!(known.observed, expected, "left: what was observed, in the order of the texts");
    assert_eq!(activity(&*store, &elsewhere).await, None, "what another workspace is shown");
    assert_eq!(activity(&*store, &nowhere).await, None, "of an endpoint that is not there");

    let names = || (0..OBSERVED_MAX + 36).map(|n| Observed::Refusal(format!("code_{n:04}").into()));
    observe(&*store, names().map(|what| seen(&endpoint, &what, 1, 1)).collect()).await;
    observe(&*store, vec![seen(&endpoint, &bad, 1, 40)]).await;
    let known = activity(&*store, &endpoint).await.expect("the endpoint is there");
    assert_eq!(known.observed.len(), OBSERVED_MAX, "left: how many names are kept");
    assert!(known.observed.contains(&tally(&bad, 7, 40)), "a name that was there is pushed out");

    delete(&*store, &endpoint, true).await;
    assert_eq!(activity(&*store, &endpoint).await, None, "of a deleted endpoint");
    observe(&*store, vec![seen(&endpoint, &bad, 1, 50)]).await;
}

/// Quotas and observations outlast the process.
pub async fn what_endpoints_were_sent_survives_a_restart<F: Fixture>(fixture: &F) {
    let endpoint = endpoint();
    let store = fixture.open_with_one(&endpoint).await;
    store_one(&*store, under(of_its_life(1), event(&endpoint, "{}"))).await;
    observe(&*store, vec![seen(&endpoint, &refusal("unauthorized"), 3, 7)]).await;
    let before = activity(&*store, &endpoint).await;
    let store = fixture.reopen(store).await;
    assert_eq!(activity(&*store, &endpoint).await, before, "left: what is known after a restart");
    let told = append(&*store, under(of_its_life(1), event(&endpoint, "{}"))).await;
    assert!(matches!(told, Appended::OverQuota { .. }), "past its quota after a restart: {told:?}");
}
