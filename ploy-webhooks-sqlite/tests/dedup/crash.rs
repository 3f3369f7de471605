//! A process that is killed while it remembers, files and merges keys has remembered all that it
//! has answered.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use ploy_webhooks::{EventId, SystemClock};
use ploy_webhooks_sqlite::SqliteStore;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{DAY, append, keyed, settings};

const FOLDER: &str = "PLOY_DEDUP_CRASH_FOLDER";
const FIRST_KEY: &str = "PLOY_DEDUP_CRASH_FIRST_KEY";
const ANSWERED: &str = "answered";
/// So many append at once.
const CALLERS: u32 = 4;

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let folder = TempDir::new().expect("a folder is made");
    let mut answered = Vec::new();
    for (round, kill_after) in [40, 3, 170, 95, 331, 64].into_iter().enumerate() {
        answered.extend(answers_until_killed(folder.path(), round, kill_after));
        let store = open(folder.path()).await;
        for (key, first) in &answered {
            let repeated = append(&store, || keyed(*key, DAY)).await;
            assert_eq!(repeated, Err(*first), "left: a repeat of key {key} in round {round}");
        }
        store.close().await;
    }
}

/// Lets a process append until it has answered so often, and kills it.
fn answers_until_killed(folder: &Path, round: usize, kill_after: usize) -> Vec<(u32, EventId)> {
    let program = std::env::current_exe().expect("this program has a path");
    let mut child = Command::new(program)
        .args(["crash::appends_until_it_is_killed", "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .env(FIRST_KEY, (round * 100_000).to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts");
    let output = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut answered = Vec::new();
    for line in output.lines() {
        let line = line.expect("lines are text");
        let mut words = line.split(' ').skip_while(|word| *word != ANSWERED).skip(1);
        // The last line may be cut off.
        if let (Some(key), Some(id), Some("end")) = (words.next(), words.next(), words.next()) {
            let key = key.parse().expect("it is a number");
            answered.push((key, id.parse().expect("it is an id")));
        }
        if answered.len() == kill_after {
            child.kill().expect("it runs");
        }
    }
    child.wait().expect("it has been killed");
    assert!(answered.len() >= kill_after, "it ended by itself");
    answered
}

async fn open(folder: &Path) -> SqliteStore {
    let settings = settings(folder);
    SqliteStore::open_with_clock(settings, Arc::new(SystemClock)).await.expect("the store opens")
}

/// What the process does that is killed; otherwise nothing.
#[tokio::test]
async fn appends_until_it_is_killed() {
    let (Some(folder), Ok(first_key)) = (std::env::var_os(FOLDER), std::env::var(FIRST_KEY)) else {
        return;
    };
    let first_key: u32 = first_key.parse().expect("it is a number");
    let store = Arc::new(open(Path::new(&folder)).await);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let store = store.clone();
        callers.spawn(async move {
            for key in (first_key + caller..).step_by(CALLERS as usize) {
                let id = append(&store, || keyed(key, DAY)).await.expect("the key is new");
                writeln!(std::io::stdout(), "{ANSWERED} {key} {id} end").expect("it is read");
            }
        });
    }
    callers.join_all().await;
}
