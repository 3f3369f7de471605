//! A program is ended with all that it has started, wherever that has gone.

use std::fs;
use std::time::Duration;

use ploy_webhooks::RunState;
use ploy_webhooks::trigger::Remedy;
use ploy_webhooks::trigger::command::guard::Guardian;
use tokio::time::sleep;

use crate::scene::{Word, are_gone, command, is_alive, job, settings, until};

/// Ignores what can be ignored, and has children in its own group, in a session of their own and
/// orphaned on purpose, which ignore it too.
pub(crate) const STUBBORN: &str = r#"
    trap '' HUP INT TERM USR1
    (echo $(exec sh -c 'echo $PPID') > $D/child.new; mv $D/child.new $D/child; exec sleep 1000) &
    setsid sh -c "echo \$\$ > $D/session; sleep 1001; sleep 1002" &
    (setsid sh -c "(setsid sh -c 'echo \$\$ > $D/orphan; while :; do sleep 1; done' &)" &)
    echo $PPID > $D/guardian
    echo $$ > $D/program
    while :; do sleep 1; done
"#;
pub(crate) const PROCESSES: [&str; 5] = ["child", "session", "orphan", "guardian", "program"];

#[tokio::test]
async fn a_program_whose_future_is_dropped_is_ended_with_all_of_its_descendants() {
    let word = Word::new();
    let (program, settings, job) = (word.script(STUBBORN), settings(), job("{}"));
    let pids = tokio::select! {
        result = program.carry_out(&job, &settings) => panic!("it has ended: {result:?}"),
        pids = word.pids(PROCESSES) => pids,
    };
    are_gone(&pids).await;
}

#[tokio::test]
async fn a_program_that_takes_too_long_is_ended_with_all_of_its_descendants() {
    let word = Word::new();
    let (program, settings, mut job) = (word.script(STUBBORN), settings(), job("{}"));
    job.time_limit = Duration::from_secs(3);
    let error = program.carry_out(&job, &settings).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::Again);
    assert!(error.to_string().contains("time limit of 3s"), "{error}");
    are_gone(&word.pids(PROCESSES).await).await;
}

#[tokio::test]
async fn a_run_that_is_stopped_by_its_dispatcher_leaves_nothing() {
    use std::sync::Arc;

    use ploy_webhooks::store::{Appended, EventStore, MemoryStore, RunQueue, RunStore};
    use ploy_webhooks::trigger::command::CommandRunner;
    use ploy_webhooks::trigger::{Dispatcher, DispatcherSettings};
    use ploy_webhooks::{
        Clock, EventId, NewEvent, NewRun, RunId, SystemClock, Trigger, WorkspaceId,
    };

    let (word, store, workspace) =
        (Word::new(), Arc::new(MemoryStore::new()), WorkspaceId::DEFAULT);
    let now = SystemClock.now();
    let id = RunId::mint(now);
    let trigger = Trigger::ploybook("page".parse().unwrap());
    let event = NewEvent {
        owes: vec![NewRun { id, trigger, delay: Duration::ZERO }],
        ..NewEvent::published(EventId::mint(now), workspace, "{}".into())
    };
    assert!(matches!(store.append(event).await.unwrap(), Appended::Stored));
    let mut terms = DispatcherSettings::new("worker-1".parse().unwrap());
    terms.lease = Duration::from_millis(500);
    let runner = CommandRunner::new(word.script(STUBBORN).argv, settings());
    let _dispatcher = Dispatcher::start(store.clone(), runner, terms);
    let pids = word.pids(PROCESSES).await;
    let _ = store.cancel(&workspace, &id).await.unwrap();
    are_gone(&pids).await;
    let run = store.run(&workspace, &id).await.unwrap().unwrap();
    assert_eq!((run.state, run.attempts.len()), (RunState::Cancelled, 1));
}

#[tokio::test]
async fn what_outlives_a_program_is_ended_before_its_attempt_is() {
    let word = Word::new();
    let program = word.script(
        r#"
        sleep 1000 &
        echo $! > $D/background
        setsid sh -c "echo \$\$ > $D/session; trap '' TERM; while :; do sleep 1; done" &
        until test -s $D/session; do sleep 0.01; done
        echo done
        "#,
    );
    // Both hold its standard output open.
    let output = program.carry_out(&job("{}"), &settings()).await.unwrap().into_bytes();
    assert_eq!(output, "done\n");
    for name in ["background", "session"] {
        let pid = word.pid(name).unwrap();
        assert!(!is_alive(pid), "{name} should be gone by now");
    }
}

#[tokio::test]
async fn what_is_never_the_same_process_for_long_is_ended_too() {
    let word = Word::new();
    // Each starts the next in the background, and ends.
    let program = word.script(
        r#"
        export H=": $D/hopping; sh -c \"\$H\" &"
        for i in $(seq 10); do sh -c "$H"; done
        sleep 0.1
        echo $$ > $D/program
        while :; do sleep 1; done
        "#,
    );
    let (settings, job) = (settings(), job("{}"));
    let mark = word.path().join("hopping");
    let mark = mark.to_str().unwrap();
    tokio::select! {
        result = program.carry_out(&job, &settings) => panic!("it has ended: {result:?}"),
        _ = word.pids(["program"]) => {}
    }
    assert!(are_there_any(mark), "they should hop until they are ended");
    until("none is left", || !are_there_any(mark)).await;
    // One that was about to start the next may have been missed.
    sleep(Duration::from_millis(50)).await;
    assert!(!are_there_any(mark), "one has escaped");
}

/// Whether there are processes with that text among their arguments.
fn are_there_any(mark: &str) -> bool {
    let mut processes = fs::read_dir("/proc").expect("it is there");
    processes.any(|entry| {
        let line = entry.ok().and_then(|entry| fs::read(entry.path().join("cmdline")).ok());
        line.is_some_and(|line| String::from_utf8_lossy(&line).contains(mark))
    })
}

#[tokio::test]
async fn many_short_orphans_do_no_harm() {
    let word = Word::new();
    let program = word.script("for i in $(seq 300); do (true &); done; echo $PPID > $D/guardian");
    program.carry_out(&job("{}"), &settings()).await.unwrap();
    are_gone(&word.pids(["guardian"]).await).await;
}

#[tokio::test]
async fn orphans_are_collected_while_the_program_goes_on() {
    let word = Word::new();
    let program = word.script(
        "for i in $(seq 50); do (true &); done\n echo $PPID > $D/guardian\n echo $$ > $D/program\n \
         while :; do sleep 1; done",
    );
    let (settings, job) = (settings(), job("{}"));
    let children_of_the_guardian = async {
        let [guardian, program] = word.pids(["guardian", "program"]).await;
        let children = format!("/proc/{guardian}/task/{guardian}/children");
        // The program was started by the guardian's first thread, which adopts as well.
        until("only the program is left", || {
            fs::read_to_string(&children).unwrap().trim() == program.to_string()
        })
        .await;
    };
    tokio::select! {
        result = program.carry_out(&job, &settings) => panic!("it has ended: {result:?}"),
        () = children_of_the_guardian => {}
    }
}

#[tokio::test]
async fn what_is_no_guardian_is_found_out() {
    let (mut settings, job) = (settings(), job("{}"));
    // It does not know the argument.
    settings.guardian = Guardian::program("/bin/cat");
    let error = command(["true"]).carry_out(&job, &settings).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::Again);
    assert!(error.to_string().contains("/bin/cat, has gone without a word, or is none"), "{error}");
    // It takes every argument, and does not stop.
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/command/not-a-guardian");
    settings.guardian = Guardian::program(path);
    let mut soon = job;
    soon.time_limit = Duration::from_millis(300);
    let error = command(["true"]).carry_out(&soon, &settings).await.unwrap_err();
    assert!(error.to_string().contains("time limit"), "{error}");
    until("it is ended", || children_named("not-a-guardian").is_empty()).await;

    settings.guardian = Guardian::program("/no/such/guardian");
    let error = command(["true"]).carry_out(&soon, &settings).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::Again);
    assert!(error.to_string().starts_with("cannot start the guardian of the program"), "{error}");
}

/// The children of this process of that name which have not ended.
fn children_named(name: &str) -> Vec<String> {
    let ours = format!("PPid:\t{}\n", std::process::id());
    let processes = fs::read_dir("/proc").expect("it is there").filter_map(|entry| {
        let status = fs::read_to_string(entry.ok()?.path().join("status")).ok()?;
        let is_one = status.starts_with(&format!("Name:\t{name}\n"));
        (is_one && status.contains(&ours) && !status.contains("State:\tZ")).then_some(status)
    });
    processes.collect()
}
