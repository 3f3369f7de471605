//! The lanes of destinations, which are kept in pieces: one for each endpoint that something came
//! by, and one for what the app published.

use ploy_webhooks::{Action, DestinationId, Task};

use super::*;

fn destination() -> DestinationId {
    DestinationId::mint(SystemClock.now())
}

fn delivery(destination: DestinationId) -> NewRun {
    let action = Action::Destination(destination);
    let trigger = Trigger::Task(Task { action, subscription: None, draft: false });
    NewRun { trigger, ..run(Duration::ZERO) }
}

fn delivering_to(destination: DestinationId) -> NewEvent {
    let event = owing(b"{}".to_vec(), Duration::ZERO);
    NewEvent { owes: vec![delivery(destination)], ..event }
}

fn all_to(destination: DestinationId) -> RunQuery {
    let mut query = RunQuery::all(WorkspaceId::DEFAULT);
    query.destination = Some(destination);
    query
}

async fn endpoints(store: &SqliteStore, count: usize) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for _ in 0..count {
        endpoints.push(endpoint(store).await);
    }
    endpoints
}

async fn is_resting(store: &SqliteStore, lanes: &Lanes) -> bool {
    timeout(Duration::from_millis(300), store.wait(LONG, lanes)).await.is_err()
}

/// Of twenty endpoints and of the app, whichever pieces have somebody left.
#[tokio::test]
async fn a_claim_takes_no_more_than_there_is_room_for_in_all_pieces() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(open(&folder).await);
    let (to, from) = (destination(), endpoints(&store, 20).await);
    append_many(&store, 63, move |number| match from.get(number % 21) {
        Some(endpoint) => of_endpoint(endpoint, delivering_to(to)),
        None => delivering_to(to),
    })
    .await;
    let mut lanes = roomy();
    let mut claimed = Vec::new();
    for room in [1, 5, 7, 50, 50] {
        lanes.bound(Lane::Destination(to), room);
        claimed.push(claim_in(&store, u16::MAX, &lanes).await.len());
    }
    assert_eq!(claimed, [1, 5, 7, 50, 0], "left: how many each claim took");
}

#[tokio::test]
async fn a_destination_takes_one_turn_however_many_pieces_its_lane_has() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(open(&folder).await);
    let [first, second] = [destination(), destination()];
    let from = endpoints(&store, 3).await;
    for endpoint in &from {
        for to in [first, second] {
            append(&store, of_endpoint(endpoint, delivering_to(to))).await;
        }
        append(&store, of_endpoint(endpoint, owing(b"{}".to_vec(), Duration::ZERO))).await;
    }
    let mut served = Vec::new();
    for _ in 0..7 {
        served.extend(claim(&store, 1).await.into_iter().map(|leased| leased.lane()));
    }
    let [a, b, c] = [0, 1, 2].map(|number: usize| Lane::Endpoint(from[number].id));
    let (first, second) = (Lane::Destination(first), Lane::Destination(second));
    assert_eq!(served, [a, b, c, first, second, first, second], "left: the lanes, one by one");
}

/// Filed and not filed, across a restart.
#[tokio::test]
async fn what_waits_for_a_destination_outlasts_a_restart() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let (to, endpoint) = (destination(), endpoint(&store).await);
    append(&store, of_endpoint(&endpoint, delivering_to(to))).await;
    append(&store, delivering_to(to)).await;
    let mut lanes = roomy();
    lanes.bound(Lane::Destination(to), 0);
    assert!(claim_in(&store, 10, &lanes).await.is_empty(), "it has no room");
    let added = append(&store, of_endpoint(&endpoint, delivering_to(destination()))).await;
    store.close().await;
    drop(store);

    let store = open(&folder).await;
    let enqueued = store.enqueue(&WorkspaceId::DEFAULT, &added, vec![delivery(to)]).await;
    assert!(enqueued.unwrap(), "the event is there");
    assert_eq!(claim_in(&store, 10, &lanes).await.len(), 1, "left: claimed beside it");
    assert!(is_resting(&store, &lanes).await, "who waits goes on for a lane without room");
    lanes.bound(Lane::Destination(to), 10);
    let claimed = claim_in(&store, 10, &lanes).await;
    let origins: Vec<_> = claimed.iter().map(|leased| leased.event.endpoint).collect();
    assert_eq!(claimed.len(), 3, "left: claimed with room");
    assert_eq!(origins.iter().filter(|origin| **origin == Some(endpoint.id)).count(), 2);
    assert!(claimed.iter().all(|leased| leased.lane() == Lane::Destination(to)));
}

/// Before the purge has come to them, and after.
#[tokio::test]
async fn what_a_deleted_endpoint_left_in_a_destinations_lane_is_nobodys() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(open(&folder).await);
    let (to, from) = (destination(), endpoints(&store, 2).await);
    let [stays, goes] = &from[..] else { panic!("two endpoints") };
    let doomed = goes.clone();
    append_many(&store, 3_000, move |_| of_endpoint(&doomed, delivering_to(to))).await;
    for endpoint in [stays, goes] {
        append(&store, of_endpoint(endpoint, owing(b"{}".to_vec(), Duration::ZERO))).await;
    }
    append(&store, of_endpoint(stays, delivering_to(to))).await;
    append(&store, delivering_to(to)).await;
    let mut lanes = Lanes::new(NonZeroU16::MAX);
    lanes.bound(Lane::Destination(to), 1);
    let under_way = claim_in(&store, 10, &lanes).await;
    let lost = under_way
        .iter()
        .find(|leased| leased.trigger.destination().is_some())
        .expect("one is delivered");
    assert_eq!(lost.event.endpoint, Some(goes.id), "left: who has waited longest");

    let other = connect(&folder);
    other
        .execute_batch(
            "CREATE TRIGGER in_the_way BEFORE DELETE ON events
             BEGIN SELECT RAISE(ABORT, 'not now'); END",
        )
        .unwrap();
    assert!(store.delete(&WorkspaceId::DEFAULT, &goes.id).await.unwrap());
    let tenure = store.finish(&lost.lease, Outcome::Succeed { output: "".into() }).await;
    assert_eq!(tenure.unwrap(), Tenure::Lost, "left: the tenure of who delivers for it");
    let requeued = store.requeue(&WorkspaceId::DEFAULT, &lost.lease.run).await;
    assert_eq!(requeued.unwrap(), Altered::Missing);
    let query = all_to(to);
    assert_eq!(list_all(&store, query.clone()).await.len(), 2, "left: how many are listed");
    let claimed = claim(&store, 10).await;
    let origins: Vec<_> = claimed.iter().map(|leased| leased.event.endpoint).collect();
    assert_eq!(origins.len(), 2, "left: how many are claimed that are left");
    assert!(origins.contains(&Some(stays.id)) && origins.contains(&None), "{origins:?}");
    assert!(is_resting(&store, &roomy()).await, "who waits goes on for a deleted endpoint");
    for leased in &claimed {
        let tenure = store.finish(&leased.lease, Outcome::Succeed { output: "".into() }).await;
        assert_eq!(tenure.unwrap(), Tenure::Held, "left: the tenure of who delivers for others");
    }

    other.execute_batch("DROP TRIGGER in_the_way").unwrap();
    let purged = async {
        while count(&other, "purges") > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, purged).await.expect("the rows are freed");
    let left = ["events", "runs", "attempts"].map(|table| count(&other, table));
    assert_eq!(left, [3, 3, 3], "left: the rows of events, runs and attempts that are left");
    assert_eq!(list_all(&store, query).await.len(), 2, "left: how many are listed");
}

/// Behind more of another destination than a page passes over.
#[tokio::test]
async fn a_page_of_a_destination_is_bounded_by_what_it_passes_over() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(open(&folder).await);
    let [wanted, other] = [destination(), destination()];
    append(&store, delivering_to(wanted)).await;
    append_many(&store, 20_000, move |_| delivering_to(other)).await;
    append(&store, delivering_to(wanted)).await;
    let mut sizes = Vec::new();
    let mut next = Some(all_to(wanted));
    while let Some(query) = next {
        let page = store.list_runs(&query).await.unwrap();
        sizes.push(page.items.len());
        next = page.next;
    }
    assert_eq!(sizes, [1, 0, 1], "left: how many runs each page has");
}
