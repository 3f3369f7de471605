//! What depends on the environment, and runs from event to output.
//!
//! A process cannot change its environment safely, so each test runs itself again in one that has
//! it as it should be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ploy_webhooks::store::{
    Appended, Defined, DefinitionKind, DefinitionStore, EventStore, MemoryStore, RunStore,
};
use ploy_webhooks::trigger::{Dispatcher, DispatcherSettings, Ploybooks, Remedy, TriggerRunner};
use ploy_webhooks::{
    Clock, EventId, Means, NewEvent, NewRun, Outcome, Ploybook, RetryPolicy, RunId, RunState,
    SystemClock, Trigger, WorkspaceId,
};
use ploy_webhooks_delivery::{HttpRunner, HttpSettings, Target};
use tokio::process::Command;
use tokio::time::sleep;

use crate::engine::{Engine, SECRET, answer, job, soon};

const WORKSPACE: WorkspaceId = WorkspaceId::DEFAULT;

/// Runs that test in a process of its own with these variables. `true` in that process.
async fn is_in_process_with(test: &str, variables: &[(&str, &str)]) -> bool {
    const MARK: &str = "PLOY_TEST_IN_PROCESS";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("environment::{test}"), "--nocapture"])
        .envs(variables.iter().copied())
        .env(MARK, "1")
        .kill_on_drop(true)
        .output();
    let output = soon(process).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{errors}");
    false
}

fn of_ploybooks() -> HttpRunner {
    HttpRunner::of_ploybooks(HttpSettings::default()).unwrap()
}

fn signed_by(engine: &Engine, variable: &str) -> Ploybook {
    Ploybook::new(Means::Http {
        url: engine.url(),
        secret_env: Some(variable.to_owned()),
        public_only: false,
    })
}

#[tokio::test]
async fn a_secret_is_read_from_its_variable() {
    let two = format!("{SECRET}\n whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\n");
    let variables = [("PLOY_SECRET", SECRET), ("PLOY_SECRETS", &two), ("PLOY_PASSWORD", "hunter2")];
    if !is_in_process_with("a_secret_is_read_from_its_variable", &variables).await {
        return;
    }
    let mut engine = Engine::start(|_| answer(200, "")).await;
    for (variable, signatures) in [("PLOY_SECRET", 1), ("PLOY_SECRETS", 2)] {
        let mut job = job("{}");
        job.ploybook = Some(Arc::new(signed_by(&engine, variable)));
        of_ploybooks().run(job).await.unwrap();
        let received = engine.received().await;
        assert!(received.verifies(SECRET), "{variable}");
        assert_eq!(received.header("webhook-signature").split(' ').count(), signatures);
    }
    for variable in ["PLOY_PASSWORD", "PLOY_UNSET", "", "A=B", "A\0"] {
        let mut job = job("{}");
        job.ploybook = Some(Arc::new(signed_by(&engine, variable)));
        let error = of_ploybooks().run(job).await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::None);
        let message = error.into_message();
        let shown = variable.escape_default().to_string();
        assert!(message.contains(&format!("`{shown}`")), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    assert!(engine.has_received().is_none());
}

#[tokio::test]
async fn a_proxy_is_used_only_where_that_is_asked_for() {
    let mut proxy = Engine::start(|_| answer(200, "proxy")).await;
    let address = format!("http://{}", proxy.address);
    let variables = ["HTTP_PROXY", "http_proxy", "ALL_PROXY"].map(|name| (name, &*address));
    let test = "a_proxy_is_used_only_where_that_is_asked_for";
    if !is_in_process_with(test, &variables).await {
        assert_eq!(proxy.received().await.path, "http://engine.invalid/run");
        assert!(proxy.has_received().is_none());
        return;
    }
    let direct = Engine::start(|_| answer(200, "direct")).await;
    let target = Target::at(&direct.url()).unwrap();
    let runner = HttpRunner::to(target, HttpSettings::default()).unwrap();
    assert_eq!(runner.run(job("{}")).await.unwrap().into_bytes(), "direct");

    let mut settings = HttpSettings::default();
    settings.proxy_from_environment = true;
    let target = Target::at("http://engine.invalid/run").unwrap();
    let runner = HttpRunner::to(target, settings).unwrap();
    assert_eq!(runner.run(job("{}")).await.unwrap().into_bytes(), "proxy");
}

#[tokio::test]
async fn a_run_is_carried_out_by_its_second_attempt() {
    let test = "a_run_is_carried_out_by_its_second_attempt";
    if !is_in_process_with(test, &[("PLOY_SECRET", SECRET)]).await {
        return;
    }
    let asked = Arc::new(AtomicU32::new(0));
    let mut engine = Engine::start(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => answer(503, "busy"),
        _ => answer(200, "made"),
    })
    .await;
    let store = Arc::new(MemoryStore::new());
    let mut ploybook = signed_by(&engine, "PLOY_SECRET");
    ploybook.instructions = "Make a page.".to_owned();
    // So that the second attempt is signed at another second.
    ploybook.retry = RetryPolicy::listed([Duration::from_secs(2)]);
    ploybook.check().unwrap();
    let text = serde_json::to_string(&ploybook).unwrap();
    let kind = DefinitionKind::Ploybook;
    let defined = store.define(&WORKSPACE, kind, "page", None, &text).await.unwrap();
    assert!(matches!(defined, Defined::Defined(_)));

    let id = RunId::mint(SystemClock.now());
    let trigger = Trigger::ploybook("page".parse().unwrap());
    let owed = NewRun { id, trigger, delay: Duration::ZERO };
    let event = EventId::mint(SystemClock.now());
    let event = NewEvent::published(event, WORKSPACE, r#"{"hello":"engine"}"#.into());
    let appended = store.append(NewEvent { owes: vec![owed], ..event }).await.unwrap();
    assert!(matches!(appended, Appended::Stored));

    let runner = Ploybooks::new(store.clone(), of_ploybooks());
    let settings = DispatcherSettings::new("worker-1".parse().unwrap());
    let _dispatcher = Dispatcher::start(store.clone(), runner, settings);
    let ended = async {
        loop {
            let run = store.run(&WORKSPACE, &id).await.unwrap().expect("it is there");
            if !run.state.is_in_line() {
                return run;
            }
            // Nothing tells of a run that changes.
            sleep(Duration::from_millis(5)).await;
        }
    };
    let run = soon(ended).await;
    assert_eq!(run.state, RunState::Succeeded);
    let outcomes: Vec<_> = run.attempts.iter().map(|attempt| attempt.end.clone()).collect();
    let outcomes: Vec<_> = outcomes.into_iter().map(|end| end.unwrap().outcome).collect();
    let Outcome::Retry { error, .. } = &outcomes[0] else { panic!("{outcomes:?}") };
    let origin = format!("http://{}", engine.address);
    assert_eq!(*error, format!("{origin} answered 503 Service Unavailable: busy"));
    assert_eq!(outcomes[1..], [Outcome::Succeed { output: "made".into() }]);

    let attempts = [engine.received().await, engine.received().await];
    for (received, number) in attempts.iter().zip(1..) {
        assert!(received.verifies(SECRET));
        assert_eq!(received.header("webhook-id"), id.to_string());
        assert_eq!(received.json()["data"]["attempt"], number);
        assert_eq!(received.json()["data"]["instructions"], "Make a page.");
    }
    let differ = |name| attempts[0].header(name) != attempts[1].header(name);
    assert!(differ("webhook-timestamp") && differ("webhook-signature"));
}
