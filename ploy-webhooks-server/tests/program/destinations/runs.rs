//! What was delivered and what was not: listed by destination, shown with its record, tried again.
//!
//! No run is carried out here: what came of one is put on record as whoever delivers does it.

use std::num::NonZeroU16;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use ploy_webhooks::store::{Claim, EventStore, Lanes, RunQueue, Tenure};
use ploy_webhooks::{
    Action, Clock, DestinationId, EventId, NewEvent, NewRun, Outcome, RunId, SystemClock, Task,
    Trigger, WorkspaceId,
};
use ploy_webhooks_sqlite::{SqliteSettings, SqliteStore};
use reqwest::Method;
use serde_json::{Value, json};

use super::{made, path_of, text};
use crate::harness::Server;

pub(super) async fn serving(folder: &Path) -> Server {
    Server::in_folder(folder, &[("PLOY_DISPATCH", "false")]).await
}

/// Stops the server, and opens its store.
pub(super) async fn store_of(server: Server, folder: &Path) -> SqliteStore {
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));
    SqliteStore::open(SqliteSettings::at(folder.join("ploy-data/ploy.db"))).await.unwrap()
}

/// Has so many events be owed to that destination.
async fn owe(store: &SqliteStore, id: DestinationId, count: usize) -> Vec<RunId> {
    let mut runs = Vec::new();
    for _ in 0..count {
        let now = SystemClock.now();
        let task = Task { action: Action::Destination(id), subscription: None, draft: false };
        let run = RunId::mint(now);
        runs.push(run);
        let owes = vec![NewRun { id: run, trigger: Trigger::Task(task), delay: Duration::ZERO }];
        let event =
            NewEvent::published(EventId::mint(now), WorkspaceId::DEFAULT, Bytes::from("{}"));
        let _ = store.append(NewEvent { owes, ..event }).await.unwrap();
    }
    runs
}

/// Carries out everything that is due, and says what came of each in turn.
async fn end_all(store: &SqliteStore, mut outcome: impl FnMut(RunId) -> Outcome) {
    let (worker, max) = ("node-1".parse().unwrap(), NonZeroU16::new(200).unwrap());
    loop {
        let lanes = Lanes::new(max).with_destinations(max);
        let claim = Claim { worker: &worker, max, lease: Duration::from_secs(60), lanes: &lanes };
        let claimed = store.claim(&claim).await.unwrap();
        if claimed.is_empty() {
            return;
        }
        for run in claimed {
            let outcome = outcome(run.lease.run);
            assert_eq!(store.finish(&run.lease, outcome).await.unwrap(), Tenure::Held);
        }
    }
}

fn fail() -> Outcome {
    Outcome::Fail { error: json!({"error": "it is down", "class": "connect"}).to_string() }
}

pub(super) fn id_of(destination: &Value) -> DestinationId {
    text(destination, "id").parse().unwrap()
}

#[tokio::test]
async fn runs_are_listed_by_destination_and_shown_with_their_records() {
    let folder = tempfile::tempdir().unwrap();
    let server = serving(folder.path()).await;
    let here = made(&server, json!({"url": "https://hooks.example/"})).await;
    let there = made(&server, json!({"url": "https://hooks.example/"})).await;
    let store = store_of(server, folder.path()).await;
    let runs = owe(&store, id_of(&here), 5).await;
    owe(&store, id_of(&there), 1).await;
    let delivered = json!({"request": {"method": "POST", "url": "https://hooks.example/", "body_bytes": 2},
        "response": {"status": 204}, "timings": {"total_ms": 1.5}});
    let held = json!({"error": "it is paused", "held": true, "uncounted": true});
    let late = json!({"error": "it answered 500", "class": "status"});
    let retry = |error: String| Outcome::Retry { error, after: Duration::from_secs(3_600) };
    end_all(&store, |run| match runs.iter().position(|one| *one == run) {
        Some(0) => Outcome::Succeed { output: Bytes::from(delivered.to_string()) },
        Some(1) => retry(held.to_string()),
        Some(2) => retry(late.to_string()),
        Some(3) => retry("the worker was shut down".to_owned()),
        _ => fail(),
    })
    .await;
    store.close().await;

    let server = serving(folder.path()).await;
    let query = format!("/runs?destination={}", text(&here, "id"));
    let listed = server.done(Method::GET, &query, None).await;
    let ids = |list: &Value| -> Vec<RunId> {
        let data = list["data"].as_array().unwrap().iter();
        data.map(|run| text(run, "id").parse().unwrap()).collect()
    };
    let newest_first: Vec<_> = runs.iter().rev().copied().collect();
    assert_eq!(ids(&listed), newest_first);
    let attempts: Vec<_> =
        listed["data"].as_array().unwrap().iter().rev().map(|run| &run["attempts"][0]).collect();
    for (attempt, outcome, error, record) in [
        (attempts[0], "succeeded", None, Some(&delivered)),
        (attempts[1], "held", Some("it is paused"), Some(&held)),
        (attempts[2], "retry", Some("it answered 500"), Some(&late)),
        (attempts[3], "retry", Some("the worker was shut down"), None),
        (attempts[4], "failed", Some("it is down"), None),
    ] {
        assert_eq!((&attempt["outcome"], &attempt["output"]), (&json!(outcome), &Value::Null));
        assert_eq!(attempt["error"], json!(error));
        for (name, value) in record.into_iter().flat_map(|record| record.as_object().unwrap()) {
            assert_eq!(&attempt["delivery"][name], value, "{name}");
        }
    }
    assert_eq!(attempts[3].get("delivery"), None);

    let page = server.done(Method::GET, &format!("{query}&limit=2"), None).await;
    assert_eq!(ids(&page), newest_first[..2]);
    let cursor = text(&page, "next_cursor");
    let page = server.done(Method::GET, &format!("{query}&limit=2&cursor={cursor}"), None).await;
    assert_eq!(ids(&page), newest_first[2..4]);
    let other = format!("/runs?destination={}&cursor={cursor}", text(&there, "id"));
    for other in [other, format!("/runs?cursor={cursor}")] {
        server.refused(Method::GET, &other, None, 422).await;
    }
    let failed = server.done(Method::GET, &format!("{query}&state=failed"), None).await;
    assert_eq!(ids(&failed), runs[4..]);
    let event = text(&listed["data"][0], "event_id");
    for (destination, count) in [(&here, 1), (&there, 0)] {
        let path = format!("/runs?event={event}&destination={}", text(destination, "id"));
        assert_eq!(ids(&server.done(Method::GET, &path, None).await).len(), count);
    }
    server.refused(Method::GET, "/runs?destination=x", None, 422).await;
}

#[tokio::test]
async fn failed_deliveries_are_tried_again_the_newest_first_in_bounded_calls() {
    let folder = tempfile::tempdir().unwrap();
    let server = serving(folder.path()).await;
    let here = made(&server, json!({"url": "https://hooks.example/"})).await;
    let there = made(&server, json!({"url": "https://hooks.example/"})).await;
    let store = store_of(server, folder.path()).await;
    let old = owe(&store, id_of(&here), 3).await;
    let elsewhere = owe(&store, id_of(&there), 2).await;
    let limit = old[2].timestamp().as_millis() + 2;
    while SystemClock.now().as_millis() <= limit {
        tokio::task::yield_now().await;
    }
    let new = owe(&store, id_of(&here), 602).await;
    // One was delivered.
    end_all(&store, |run| match run == new[1] {
        true => Outcome::Succeed { output: Bytes::new() },
        false => fail(),
    })
    .await;
    store.close().await;

    let server = serving(folder.path()).await;
    let retry = format!("{}/retry", path_of(&here));
    let again = async |form: Value| server.done(Method::POST, &retry, Some(form)).await;
    let since = jiff::Timestamp::from_millisecond(i64::try_from(limit).unwrap()).unwrap();
    let first = again(json!({"since": since.to_string()})).await;
    assert_eq!(first["retried"], 500);
    let state = async |run: &RunId| {
        let run = server.done(Method::GET, &format!("/runs/{run}"), None).await;
        text(&run, "state").to_owned()
    };
    assert_eq!(
        (state(&new[601]).await, state(&new[0]).await),
        ("queued".to_owned(), "failed".to_owned())
    );
    let cursor = text(&first, "next_cursor");
    for form in [
        json!({"cursor": cursor, "since": "2026-01-31T09:00:00Z"}),
        json!({"cursor": "x"}),
        json!({"since": "yesterday"}),
        json!({"until": null}),
    ] {
        server.refused(Method::POST, &retry, Some(form), 422).await;
    }
    let other = format!("{}/retry", path_of(&there));
    server.refused(Method::POST, &other, Some(json!({"cursor": cursor})), 422).await;

    let second = again(json!({"cursor": cursor})).await;
    assert_eq!(second, json!({"retried": 101, "next_cursor": null}));
    assert_eq!(
        (state(&new[0]).await, state(&new[1]).await),
        ("queued".to_owned(), "succeeded".to_owned())
    );
    assert_eq!(state(&old[2]).await, "failed");
    assert_eq!(again(json!({"since": since.to_string()})).await["retried"], 0);
    let rest = server.done(Method::POST, &retry, None).await;
    assert_eq!(rest, json!({"retried": 3, "next_cursor": null}));
    assert_eq!(
        (state(&old[0]).await, state(&elsewhere[0]).await),
        ("queued".to_owned(), "failed".to_owned())
    );
}
