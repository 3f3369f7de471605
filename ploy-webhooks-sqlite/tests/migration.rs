//! A file of an earlier version is brought up to date, with all that is in it.

use std::num::NonZeroU16;
use std::time::Duration;

use ploy_webhooks::store::{Claim, Lanes, RunQuery, RunQueue, RunStore, Tenure};
use ploy_webhooks::{
    Attempt, Clock, EndpointId, EventId, Lane, LeasedRun, NewRun, Outcome, RunId, RunState,
    SystemClock, Trigger, WorkspaceId,
};
use ploy_webhooks_sqlite::{SqliteSettings, SqliteStore};
use rusqlite::{Connection, params};
use tempfile::TempDir;

async fn claim_in(store: &SqliteStore, lanes: &Lanes) -> Vec<LeasedRun> {
    let worker = "test".parse().expect("a name");
    let (max, lease) = (NonZeroU16::MAX, Duration::from_secs(86_400));
    let claim = Claim { worker: &worker, max, lease, lanes };
    store.claim(&claim).await.expect("the store works")
}

/// A file as this store made it before runs had lanes: two events of an endpoint and one that the
/// app published, with runs in every state.
fn file_of_version_2(folder: &TempDir, endpoint: EndpointId) -> [EventId; 3] {
    let path = folder.path().join("ploy.db");
    let before = Connection::open(path).expect("the file is made");
    before
        .execute_batch(include_str!("../migrations/0001_init.sql"))
        .expect("the old tables take it");
    before
        .execute_batch(include_str!("../migrations/0002_line.sql"))
        .expect("the old tables take it");
    before
        .execute_batch("PRAGMA application_id = 0x706c6f79; PRAGMA user_version = 2")
        .expect("the old tables take it");
    let ids = [(); 3].map(|()| EventId::mint(SystemClock.now()));
    before
        .execute(
            "INSERT INTO endpoints (number, id, workspace, slug, revision, created_at, auth, config)
             VALUES (3, ?1, ?2, 'abcdefghijklmnopqrstuvwxyz', 1, 1, '{}', '{}')",
            params![endpoint.as_bytes(), WorkspaceId::DEFAULT.as_bytes()],
        )
        .expect("the old tables take it");
    for (seq, id, endpoint) in [(7, ids[0], Some(3)), (8, ids[1], Some(3)), (9, ids[2], None)] {
        let workspace = endpoint.is_none().then(|| WorkspaceId::DEFAULT.as_bytes());
        before
            .execute(
                "INSERT INTO events (seq, id, endpoint, workspace, payload)
                 VALUES (?1, ?2, ?3, ?4, x'7b7d')",
                params![seq, id.as_bytes(), endpoint, workspace],
            )
            .expect("the old tables take it");
    }
    for (event, run, state, attempt, due_at) in [
        (7, 1, "queued", 0, 1),
        (7, 2, "succeeded", 2, 1),
        (7, 3, "running", 1, i64::from(u32::MAX) << 9),
        (8, 4, "failed", 1, 1),
        (9, 5, "retrying", 1, 1),
    ] {
        before
            .execute(
                "INSERT INTO runs (event, id, trigger, retry, state, created_at, due_at, attempt)
                 VALUES (?1, ?2, '{\"ploybook\":\"old\"}', '{}', ?3, 11, ?4, ?5)",
                params![event, old_run(run).as_bytes(), state, due_at, attempt],
            )
            .expect("the old tables take it");
        for number in 1..=attempt {
            let ended = (state != "running").then_some(21);
            let outcome = if number == attempt { state } else { "retrying" };
            before
                .execute(
                    "INSERT INTO attempts
                         (event, run, number, started_at, ended_at, outcome, after, said)
                     VALUES (?1, ?2, ?3, 12, ?4, ?5, 0, x'6f6b')",
                    params![event, old_run(run).as_bytes(), number, ended, outcome],
                )
                .expect("the old tables take it");
        }
    }
    ids
}

fn old_run(number: u8) -> RunId {
    RunId::from_bytes([number; 16])
}

#[tokio::test]
async fn runs_of_a_database_of_version_2_are_carried_over_with_what_came_of_them() {
    let folder = TempDir::new().unwrap();
    let endpoint = EndpointId::mint(SystemClock.now());
    let [first, second, published] = file_of_version_2(&folder, endpoint);

    let settings = SqliteSettings::at(folder.path().join("ploy.db"));
    let store = SqliteStore::open(settings).await.unwrap();
    let workspace = WorkspaceId::DEFAULT;
    let listed = store.list_runs(&RunQuery::all(workspace)).await.unwrap();
    assert_eq!(listed.next, None);
    let shown: Vec<_> =
        listed.items.iter().map(|run| (run.id, run.event, run.state, run.attempts.len())).collect();
    assert_eq!(
        shown,
        [
            (old_run(5), published, RunState::Retrying, 1),
            (old_run(4), second, RunState::Failed, 1),
            (old_run(3), first, RunState::Running, 1),
            (old_run(2), first, RunState::Succeeded, 2),
            (old_run(1), first, RunState::Queued, 0),
        ],
        "left: what is on record of the runs"
    );
    let attempts: Vec<_> = listed.items.iter().flat_map(|run| &run.attempts).collect();
    assert!(attempts.iter().all(|attempt| attempt.worker.as_str() == "unknown"), "{attempts:?}");
    let succeeded = store.run(&workspace, &old_run(2)).await.unwrap().unwrap();
    let [again, done] = &succeeded.attempts[..] else { panic!("{succeeded:?}") };
    let outcome = |attempt: &Attempt| attempt.end.as_ref().map(|end| end.outcome.clone());
    let retry = Outcome::Retry { error: "ok".to_owned(), after: Duration::ZERO };
    assert_eq!(outcome(again), Some(retry));
    assert_eq!(outcome(done), Some(Outcome::Succeed { output: "ok".into() }));
    assert_eq!(store.runs(&workspace, &first).await.unwrap().len(), 3);

    // In their lanes: one is full, and the other is served.
    let mut lanes = Lanes::new(NonZeroU16::MIN);
    lanes.enter(Lane::Endpoint(endpoint));
    let claimed = claim_in(&store, &lanes).await;
    let shown: Vec<_> = claimed.iter().map(|run| (run.lease.run, run.event.id)).collect();
    assert_eq!(shown, [(old_run(5), published)], "left: what was claimed beside a full lane");
    assert_eq!(claimed[0].lease.attempt.get(), 2, "left: the number of the next attempt");
    let claimed = claim_in(&store, &Lanes::new(NonZeroU16::MAX)).await;
    let shown: Vec<_> = claimed.iter().map(|run| (run.lease.run, run.event.id)).collect();
    assert_eq!(shown, [(old_run(1), first)], "left: what was claimed then");
    assert_eq!(&claimed[0].event.payload[..], b"{}");
    let outcome = Outcome::Succeed { output: "done".into() };
    assert_eq!(store.finish(&claimed[0].lease, outcome).await.unwrap(), Tenure::Held);
    // And what is added stands beside them.
    let trigger = Trigger::ploybook("new".parse().unwrap());
    let added = NewRun { id: RunId::mint(SystemClock.now()), trigger, delay: Duration::ZERO };
    assert!(store.enqueue(&workspace, &first, vec![added]).await.unwrap());
    assert_eq!(store.runs(&workspace, &first).await.unwrap().len(), 4);
}
