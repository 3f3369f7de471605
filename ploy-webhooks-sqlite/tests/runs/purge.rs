//! What is left of the runs of a deleted endpoint, until it is purged and after.

use ploy_webhooks::store::{Change, FeedQuery, FeedStore};

use super::*;

/// Before the purge has come to them, and with nothing else in the line.
#[tokio::test]
async fn runs_of_a_deleted_endpoint_hold_up_nobody() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(open(&folder).await);
    let endpoint = endpoint(&store).await;
    let of_endpoint = move || of_endpoint(&endpoint, owing(b"{}".to_vec(), Duration::ZERO));
    append_many(&store, 5_000, {
        let of_endpoint = of_endpoint.clone();
        move |_| of_endpoint()
    })
    .await;
    let other = connect(&folder);
    other
        .execute_batch(
            "CREATE TRIGGER in_the_way BEFORE DELETE ON events
             BEGIN SELECT RAISE(ABORT, 'not now'); END",
        )
        .unwrap();
    let id = of_endpoint().fence.unwrap().endpoint;
    assert!(store.delete(&WorkspaceId::DEFAULT, &id).await.unwrap());

    assert!(claim(&store, 10).await.is_empty());
    let waited = timeout(Duration::from_millis(300), store.wait(LONG, &roomy())).await;
    assert!(waited.is_err(), "who waits goes on for runs of a deleted endpoint");
    let stays = append(&store, owing(b"{}".to_vec(), Duration::ZERO)).await;
    let claimed = claim(&store, 10).await;
    let events: Vec<_> = claimed.iter().map(|run| run.event.id).collect();
    assert_eq!(events, [stays], "left: whose runs were claimed");
    let listed = store.list_runs(&RunQuery::all(WorkspaceId::DEFAULT)).await.unwrap();
    assert_eq!(listed.items.len(), 1, "left: how many runs are listed on the first page");
}

#[tokio::test]
async fn a_purge_takes_runs_and_attempts_along() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let endpoint = endpoint(&store).await;
    for _ in 0..10 {
        append(&store, of_endpoint(&endpoint, owing(b"{}".to_vec(), Duration::ZERO))).await;
    }
    append(&store, owing(b"{}".to_vec(), Duration::ZERO)).await;
    assert_eq!(claim(&store, 20).await.len(), 11);
    assert!(store.delete(&WorkspaceId::DEFAULT, &endpoint.id).await.unwrap());
    let other = connect(&folder);
    let purged = async {
        while count(&other, "purges") > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, purged).await.expect("the rows are freed");
    let left = ["events", "runs", "attempts"].map(|table| count(&other, table));
    assert_eq!(left, [1, 1, 1], "left: the rows of events, runs and attempts that are left");
}

/// And what was known of them is forgotten: who names them again is served.
#[tokio::test]
async fn a_purge_takes_along_what_only_its_runs_carried_out() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let endpoint = endpoint(&store).await;
    let naming = |name: String| {
        let trigger = Trigger::ploybook(name.parse().unwrap());
        let owes = vec![NewRun { trigger, ..run(Duration::ZERO) }];
        NewEvent { owes, ..owing(b"{}".to_vec(), Duration::ZERO) }
    };
    for number in 0..100 {
        append(&store, of_endpoint(&endpoint, naming(format!("only-{number}")))).await;
    }
    append(&store, of_endpoint(&endpoint, naming("shared".to_owned()))).await;
    append(&store, naming("shared".to_owned())).await;
    append(&store, of_endpoint(&endpoint, naming("last".to_owned()))).await;
    assert!(store.delete(&WorkspaceId::DEFAULT, &endpoint.id).await.unwrap());
    let other = connect(&folder);
    let purged = async {
        while count(&other, "purges") > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, purged).await.expect("the rows are freed");
    let left = ["triggers", "marked_triggers"].map(|table| count(&other, table));
    assert_eq!(left, [1, 0], "left: the texts that are left, and those that are marked");

    append(&store, naming("last".to_owned())).await;
    append(&store, naming("only-7".to_owned())).await;
    let claimed = claim(&store, 10).await;
    let triggers: Vec<_> = claimed.iter().map(|run| run.trigger.clone()).collect();
    let expected =
        ["shared", "last", "only-7"].map(|name| Trigger::ploybook(name.parse().unwrap()));
    assert_eq!(triggers, expected, "left: what was claimed");
}

/// A place that came again would have been told already, to who goes on after it.
#[tokio::test]
async fn the_places_of_purged_events_are_not_given_again() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let endpoint = endpoint(&store).await;
    for _ in 0..10 {
        append(&store, of_endpoint(&endpoint, owing(b"{}".to_vec(), Duration::ZERO))).await;
    }
    let told = store.end().await.unwrap();
    assert!(store.delete(&WorkspaceId::DEFAULT, &endpoint.id).await.unwrap());
    let other = connect(&folder);
    let purged = async {
        while count(&other, "purges") > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, purged).await.expect("the rows are freed");
    store.close().await;
    drop(store);
    let store = open(&folder).await;
    let new = append(&store, owing(b"{}".to_vec(), Duration::ZERO)).await;
    let page = store.changes(&FeedQuery::after(WorkspaceId::DEFAULT, told)).await.unwrap();
    assert!(!page.has_gap, "all that is gone was told");
    let ids = page.items.iter().map(|change| match change {
        Change::Accepted(summary) => summary.id,
        other => panic!("nothing else happened: {other:?}"),
    });
    assert_eq!(ids.collect::<Vec<_>>(), [new], "left: the events that are told");
}
