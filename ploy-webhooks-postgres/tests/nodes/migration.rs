//! What a node of the first version has stored is there for one of this version.

use std::time::Duration;

use ploy_webhooks::store::{Appended, EndpointStore, RunQueue, RunStore, Tenure};
use ploy_webhooks::{Lane, NewEvent, Outcome, RunId, RunState};
use sqlx::{Connection, PgConnection};

use crate::scene::{
    Database, LONG, WORKSPACE, append, claim, count, event, keyed, make_endpoint, open, published,
    run, soon, store_one,
};

/// The tables as the first version made them, with an event of an endpoint and one of the app.
async fn earlier(database: &Database) -> (PgConnection, ploy_webhooks::Endpoint, [String; 2]) {
    // Events and endpoints are as they were: this version makes them, and the first one's runs
    // are put in the place of its own.
    let store = database.node().await;
    let endpoint = make_endpoint(&store).await;
    let taken = store_one(&store, event(&endpoint, "{}")).await;
    let made = store_one(&store, NewEvent { owes: Vec::new(), ..published("{}") }).await;
    soon("the store closes", store.close()).await;
    drop(store);
    let hex = |id: ploy_webhooks::EventId| {
        id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let mut sql = PgConnection::connect(&database.url).await.expect("a connection");
    let init = include_str!("../../migrations/0001_init.sql");
    let part = |begin: &str, end: &str| {
        let begin = init.find(begin).expect("it is a part of the first migration");
        let end = init[begin..].find(end).expect("it ends") + begin;
        init[begin..end].to_owned()
    };
    let tables = part("CREATE TABLE runs (", "-- The index that skips");
    let functions = init.find("CREATE FUNCTION append_owing(").expect("it is a part of it");
    let functions = &init[functions..];
    run(
        &mut sql,
        &format!(
            "SET search_path = ploy;
             DROP TABLE runs, open_runs, owed, attempts, definitions, dedup, generations, rates,
                 observed, outbox, relaying, changes, change_marks, forgotten_changes,
                 history;
             DROP FUNCTION append_owing, refuse_known_runs, enter_runs, claim_runs,
                 look_at_runs, next_due, settle_runs, alter_run, forget_runs, enqueue_runs,
                 take_keys, who_has_keys, who_has_sealed_keys, hold_generations,
                 seal_generation, move_keys, free_generation, spent_quotas, count_quotas, observe, admit,
                 take_outbox, forget_changes, expire_events, tally;
             DROP SEQUENCE run_numbers;
             DROP TABLE quotas;
             DELETE FROM migrations WHERE version > 1;
             {tables} {functions}"
        ),
    )
    .await;
    (sql, endpoint, [hex(taken), hex(made)])
}

fn id(number: u8) -> RunId {
    let mut bytes = [0; 16];
    bytes[15] = number;
    RunId::from_bytes(bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_of_the_first_version_are_carried_over() {
    let database = Database::new().await;
    let (mut sql, endpoint, [taken, made]) = earlier(&database).await;
    run(
        &mut sql,
        &format!(
            "INSERT INTO runs (id, stream, event, endpoint, trigger, retry, state, attempt,
                 created_at, due_at)
             SELECT lpad(r.id::text, 32, '0')::uuid, e.stream, e.id, e.endpoint,
                 '{{\"ploybook\":\"enrich\"}}', '{{}}', r.state, r.attempt, now(), r.due_at
             FROM (VALUES (1, '{taken}', 'queued', 0, now()),
                     (2, '{made}', 'running', 2, now() - interval '1 second'),
                     (3, '{taken}', 'retrying', 1, now() + interval '1 day'),
                     (4, '{made}', 'succeeded', 1, NULL), (5, '{taken}', 'failed', 1, NULL))
                 AS r (id, event, state, attempt, due_at)
             JOIN events e ON e.id = r.event::uuid;
             INSERT INTO attempts (run, number, started_at, ended_at, state, said, again_after_ms)
             SELECT lpad(a.run::text, 32, '0')::uuid, a.number, now(), a.ended_at, a.state,
                 convert_to(a.said, 'UTF8'), a.again
             FROM (VALUES (2, 1, NULL, NULL, NULL, NULL), (2, 2, NULL, NULL, NULL, NULL),
                     (3, 1, now(), 'retrying', 'no', 5), (4, 1, now(), 'succeeded', 'yes', NULL),
                     (5, 1, now(), 'failed', 'never', NULL))
                 AS a (run, number, ended_at, state, said, again)"
        ),
    )
    .await;

    let store = open(database.settings()).await;
    let mut stands = Vec::new();
    for number in 1..=5 {
        let run = store.run(&WORKSPACE, &id(number)).await.expect("a run is read");
        let run = run.expect("it is carried over");
        assert!(run.attempts.iter().all(|attempt| attempt.worker.as_str() == "unknown"));
        let ends = run.attempts.into_iter().map(|attempt| attempt.end.map(|end| end.outcome));
        stands.push((run.state, ends.collect::<Vec<_>>()));
    }
    let after = Duration::from_millis(5);
    let expected = [
        (RunState::Queued, vec![]),
        (RunState::Running, vec![None, None]),
        (RunState::Retrying, vec![Some(Outcome::Retry { error: "no".to_owned(), after })]),
        (RunState::Succeeded, vec![Some(Outcome::Succeed { output: "yes".into() })]),
        (RunState::Failed, vec![Some(Outcome::Fail { error: "never".to_owned() })]),
    ];
    assert_eq!(stands, expected);

    // Those that are due go on: the one that waited, and the one whose lease is over.
    let mut leased = claim(&store, 16, LONG).await;
    leased.sort_by_key(|run| run.lease.run);
    let lanes: Vec<_> = leased.iter().map(|run| (run.lease.run, run.event.lane())).collect();
    let expected = [(id(1), Lane::Endpoint(endpoint.id)), (id(2), Lane::Workspace(WORKSPACE))];
    assert_eq!(lanes, expected);
    assert_eq!(leased[1].lease.attempt.get(), 3);
    assert!(leased[1].is_after_loss);
    for run in &leased {
        let done = Outcome::Succeed { output: "now".into() };
        assert_eq!(store.finish(&run.lease, done).await.expect("it ends"), Tenure::Held);
    }
    let run = store.run(&WORKSPACE, &id(2)).await.expect("a run is read").expect("it is there");
    assert_eq!((run.state, run.attempts.len()), (RunState::Succeeded, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_the_first_version_are_carried_over_while_they_live() {
    let database = Database::new().await;
    let (mut sql, endpoint, [taken, made]) = earlier(&database).await;
    let workspace = WORKSPACE.as_bytes().iter().map(|byte| format!("{byte:02x}"));
    let workspace = workspace.collect::<String>();
    // The keys 1 and 2 as the scene makes them: of the endpoint, and of the app's own events.
    run(
        &mut sql,
        &format!(
            "INSERT INTO dedup (endpoint, key, event, expires_at)
             SELECT coalesce(e.endpoint, 0),
                 decode(rpad(lpad(to_hex(k.key), 16, '0'), 64, '0') || k.workspace, 'hex'),
                 k.event::uuid, now() + k.left_over
             FROM (VALUES (1, '{taken}', '', interval '1 day'),
                     (3, '{taken}', '', interval '-1 second'),
                     (2, '{made}', '{workspace}', interval '1 day'))
                 AS k (key, event, workspace, left_over)
             JOIN events e ON e.id = k.event::uuid"
        ),
    )
    .await;
    let store = open(database.settings()).await;
    let event = |number| match number {
        2 => keyed(published("{}"), 2),
        number => keyed(event(&endpoint, "{}"), number),
    };
    for (number, first) in [(1, taken), (2, made)] {
        let told = append(&store, event(number)).await;
        let Ok(Appended::Duplicate(id)) = told else {
            panic!("a repeat of key {number} from before is {told:?}");
        };
        let id = id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(id, first);
    }
    store_one(&store, event(3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_of_an_endpoint_that_was_deleted_are_left_behind() {
    let database = Database::new().await;
    let (mut sql, endpoint, [taken, _]) = earlier(&database).await;
    run(
        &mut sql,
        &format!(
            "INSERT INTO runs (id, stream, event, endpoint, trigger, retry, state, created_at,
                 due_at)
             SELECT lpad('1', 32, '0')::uuid, stream, id, endpoint, '{{}}', '{{}}', 'queued',
                 now(), now() FROM events WHERE id = '{taken}';
             DELETE FROM endpoints"
        ),
    )
    .await;
    let store = open(database.settings()).await;
    assert!(claim(&store, 16, LONG).await.is_empty());
    assert_eq!(count(&mut sql, "SELECT count(*) FROM ploy.open_runs").await, 0);
    assert!(!store.delete(&WORKSPACE, &endpoint.id).await.expect("it is gone already"));
}
