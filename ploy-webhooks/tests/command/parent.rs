//! When the process that runs a program is killed, the program is gone with it.

use std::env;
use std::process::{Command, Stdio};

use crate::descendants::{PROCESSES, STUBBORN};
use crate::scene::{LONG, Word, are_gone, command, is_alive, job, settings};

/// In which folder the process that is killed has its program leave word.
const FOLDER: &str = "TEST_FOLDER_OF_THE_KILLED";

#[tokio::test]
async fn a_program_is_ended_with_all_of_its_descendants_when_its_parent_is_killed() {
    let word = Word::new();
    let mut parent = Command::new(env::current_exe().unwrap())
        .args(["--exact", "parent::the_parent_that_is_killed", "--ignored"])
        .env(FOLDER, word.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pids = word.pids(PROCESSES).await;
    assert!(pids.into_iter().all(is_alive));
    // That is SIGKILL: it has no chance to do anything about it.
    parent.kill().unwrap();
    parent.wait().unwrap();
    are_gone(&pids).await;
}

#[tokio::test]
#[ignore = "it is a process that another test starts and kills"]
async fn the_parent_that_is_killed() {
    let folder = env::var(FOLDER).unwrap();
    let program = command(["/bin/sh", "-c", &format!("D='{folder}'\n{STUBBORN}")]);
    let mut job = job("{}");
    job.time_limit = LONG;
    program.carry_out(&job, &settings()).await.unwrap();
}
