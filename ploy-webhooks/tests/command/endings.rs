//! What the end of a program means for its attempt.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ploy_webhooks::trigger::{Remedy, RunError};

use crate::scene::{Word, command, job, script, settings};

async fn error_of<const N: usize>(argv: [&str; N]) -> RunError {
    command(argv).carry_out(&job("{}"), &settings()).await.expect_err("it fails")
}

#[tokio::test]
async fn a_program_that_ends_well_has_succeeded() {
    assert_eq!(script("echo done").await.unwrap(), "done\n");
    // What it says on standard error is no failure.
    assert_eq!(script("echo oops >&2").await.unwrap(), "");
}

#[tokio::test]
async fn a_status_says_whether_another_attempt_may_help() {
    for (status, remedy) in [
        (1, Remedy::Again),
        (64, Remedy::None),
        (65, Remedy::None),
        (69, Remedy::Again),
        (75, Remedy::Again),
        (78, Remedy::None),
        (127, Remedy::None),
        (255, Remedy::Again),
    ] {
        let error = script(&format!("exit {status}")).await.unwrap_err();
        assert_eq!(error.remedy(), remedy, "{status}");
        assert_eq!(error.to_string(), format!("the program ended with exit status {status}"));
    }
}

#[tokio::test]
async fn a_program_that_is_ended_by_a_signal_is_tried_again() {
    for (signal, number) in [("KILL", 9), ("TERM", 15), ("SEGV", 11)] {
        let error = script(&format!("kill -{signal} $$; sleep 10")).await.unwrap_err();
        let text = format!("the program was ended by signal {number}");
        assert_eq!((error.remedy(), error.to_string()), (Remedy::Again, text));
    }
}

#[tokio::test]
async fn a_program_may_signal_its_own_group() {
    let error = script("kill -TERM 0; sleep 10").await.unwrap_err();
    assert_eq!(error.to_string(), "the program was ended by signal 15");
}

#[tokio::test]
async fn what_is_no_program_is_not_tried_again() {
    let word = Word::new();
    let make = |name: &str, mode| {
        let path = word.path().join(name);
        fs::write(&path, "echo a shell would run this\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for program in [
        "no-such-program-anywhere",
        "/no/such/program",
        "",
        word.path().to_str().unwrap(),
        &make("not-executable", 0o644),
        // A text without an interpreter: only a shell would make a program of it.
        &make("no-interpreter", 0o755),
    ] {
        let error = error_of([program]).await;
        assert_eq!(error.remedy(), Remedy::None, "{program}: {error}");
        assert!(error.to_string().starts_with(&format!("cannot start `{program}`: ")), "{error}");
    }
    assert_eq!(error_of([]).await, RunError::permanent("there is no program to run"));
    assert_eq!(error_of(["true", "a\0b"]).await.remedy(), Remedy::None);
}

#[tokio::test]
async fn a_folder_is_where_the_program_is_run() {
    let word = Word::new();
    let mut pwd = command(["pwd"]);
    pwd.folder = Some(word.path().canonicalize().unwrap().to_str().unwrap().to_owned());
    let output = pwd.carry_out(&job("{}"), &settings()).await.unwrap().into_bytes();
    assert_eq!(output, format!("{}\n", pwd.folder.as_ref().unwrap()));

    pwd.folder = Some("/no/such/folder".to_owned());
    let error = pwd.carry_out(&job("{}"), &settings()).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::None);
    assert!(error.to_string().starts_with("cannot enter the folder"), "{error}");
}

#[tokio::test]
async fn a_guardian_that_is_killed_is_a_failure_that_is_tried_again() {
    let error = script("kill -KILL $PPID; sleep 0.2").await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::Again);
    assert!(error.to_string().contains("has gone without a word"), "{error}");
}
