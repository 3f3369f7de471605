//! The runner around programs: one for every run, or the one that a Ploybook names.

use std::sync::Arc;

use ploy_webhooks::trigger::command::guard::{Guardian, NoGuardian};
use ploy_webhooks::trigger::command::{Command, CommandRunner};
use ploy_webhooks::trigger::{Job, Remedy, TriggerRunner};
use ploy_webhooks::{Means, Ploybook};

use crate::scene::{is_run_under, job, settings};

fn with(means: Option<Means>) -> Job {
    let mut job = job("{}");
    job.ploybook = means.map(|means| Arc::new(Ploybook::new(means)));
    job
}

fn echo(folder: Option<String>) -> Means {
    Means::Command { argv: ["echo", "the Ploybook's"].map(str::to_owned).to_vec(), folder }
}

#[tokio::test]
async fn a_runner_of_one_program_runs_that() {
    let runner = CommandRunner::new(["echo", "its own"], settings());
    for means in [None, Some(echo(None))] {
        let output = runner.run(with(means)).await.unwrap();
        assert_eq!(output.into_bytes(), "its own\n");
    }
}

#[tokio::test]
async fn a_runner_of_ploybooks_runs_what_each_names() {
    let runner = CommandRunner::of_ploybooks(settings());
    let output = runner.run(with(Some(echo(None)))).await.unwrap();
    assert_eq!(output.into_bytes(), "the Ploybook's\n");
    let http = Means::Http {
        url: "https://engine.example".to_owned(),
        secret_env: None,
        public_only: false,
    };
    for means in [None, Some(Means::Function("page".to_owned())), Some(http)] {
        let error = runner.run(with(means)).await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::None, "{error}");
    }
}

#[test]
fn a_command_is_that_of_its_ploybook() {
    let folder = Some("/srv".to_owned());
    let command = Command::of(&echo(folder.clone())).unwrap();
    assert_eq!((command.argv[0].as_str(), command.folder), ("echo", folder));
}

#[tokio::test]
async fn many_programs_run_beside_each_other() {
    let runner = Arc::new(CommandRunner::new(["cat"], settings()));
    let runs = (0..100).map(|number: u32| {
        let (runner, job) = (runner.clone(), job(number.to_string()));
        tokio::spawn(async move { (number, runner.run(job).await) })
    });
    for run in runs.collect::<Vec<_>>() {
        let (number, output) = run.await.unwrap();
        assert_eq!(output.unwrap().into_bytes(), number.to_string());
    }
}

#[tokio::test]
async fn another_program_may_be_the_guardian() {
    is_run_under(settings().guardian).await;
}

#[test]
fn a_program_that_does_not_ask_is_no_guardian() {
    // The `main` of this one is that of the test harness.
    assert_eq!(Guardian::this_program().err(), Some(NoGuardian));
}
