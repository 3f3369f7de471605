//! Jobs, programs under test, and a folder in which they leave word of their processes.

use std::fs;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ploy_webhooks::trigger::command::guard::Guardian;
use ploy_webhooks::trigger::command::{Command, CommandSettings};
use ploy_webhooks::trigger::{Job, RunError};
use ploy_webhooks::{
    Clock, Event, EventId, EventType, KeptHeaders, Lease, LeasedRun, RunId, SystemClock, Trigger,
    WorkspaceId,
};
use tempfile::TempDir;
use tokio::time::sleep;

/// Longer than any test takes.
pub(crate) const LONG: Duration = Duration::from_secs(3_600);

pub(crate) fn job(payload: impl Into<Bytes>) -> Job {
    let now = SystemClock.now();
    let event = Event {
        id: EventId::mint(now),
        workspace: WorkspaceId::DEFAULT,
        endpoint: None,
        event_type: Some(EventType::try_from("page.wanted".to_owned()).expect("a type")),
        headers: KeptHeaders::default(),
        source: None,
        payload: payload.into(),
    };
    let lease = Lease { run: RunId::mint(now), attempt: NonZeroU32::MIN, place: 0 };
    let trigger = Trigger::ploybook("make a page".parse().expect("a name"));
    Job::new(LeasedRun { lease, is_after_loss: false, trigger, event }, LONG)
}

pub(crate) fn settings() -> CommandSettings {
    CommandSettings::new(Guardian::program(env!("CARGO_BIN_EXE_ploy-guard")))
}

pub(crate) fn command<const N: usize>(argv: [&str; N]) -> Command {
    Command { argv: argv.map(str::to_owned).to_vec(), folder: None }
}

/// What a script for `sh` says.
pub(crate) async fn script(script: &str) -> Result<Bytes, RunError> {
    let command = command(["/bin/sh", "-c", script]);
    command.carry_out(&job("{}"), &settings()).await.map(|output| output.into_bytes())
}

/// A program is run under that guardian.
pub(crate) async fn is_run_under(guardian: Guardian) {
    let settings = CommandSettings::new(guardian);
    let output = command(["cat"]).carry_out(&job("as it is"), &settings).await;
    assert_eq!(output.expect("it succeeds").into_bytes(), "as it is");
}

/// A folder in which programs leave the ids of their processes.
pub(crate) struct Word(TempDir);

impl Word {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// A script in which `$D` is the folder.
    pub(crate) fn script(&self, script: &str) -> Command {
        let script = format!("D='{}'\n{script}", self.path().display());
        command(["/bin/sh", "-c", &script])
    }

    /// The process that has left its id under that name.
    pub(crate) fn pid(&self, name: &str) -> Option<u32> {
        let text = fs::read_to_string(self.path().join(name)).ok()?;
        // One that is written at this moment has no end yet.
        text.strip_suffix('\n')?.parse().ok()
    }

    /// The processes of these names, when all have left their ids.
    pub(crate) async fn pids<const N: usize>(&self, names: [&str; N]) -> [u32; N] {
        let mut pids = [0; N];
        until("all have left word", || {
            pids = names.map(|name| self.pid(name).unwrap_or_default());
            !pids.contains(&0)
        })
        .await;
        pids
    }
}

/// Waits until that is so. Nothing tells of the processes of others.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let give_up_at = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < give_up_at, "it did not come to that: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Whether there is such a process which has not ended.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    // The state follows the name, which is in parentheses and may hold some itself.
    stat.is_ok_and(|stat| !stat.rsplit(") ").next().expect("a state").starts_with(['Z', 'X']))
}

pub(crate) async fn are_gone(pids: &[u32]) {
    until("all have ended", || !pids.iter().any(|pid| is_alive(*pid))).await;
}
