//! The process between a test and a server, which outlives the test just long enough to clean up.
//!
//! A destructor is no help against `SIGKILL`, and a static has none. A pipe closes in every case.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// A user to run as: its id and its group's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    pub(crate) id: u32,
    pub(crate) group: u32,
}

/// A guardian and the folder that it made. When it is dropped, server and folder are gone.
#[derive(Debug)]
pub(crate) struct Guardian {
    process: Child,
    /// None only while it is dropped.
    pipes: Mutex<Option<Pipes>>,
    folder: PathBuf,
}

#[derive(Debug)]
struct Pipes {
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Guardian {
    /// Starts one, as another user where the server needs it.
    pub(crate) fn start(user: Option<User>) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", include_str!("guardian.sh"), "guardian"]);
        // The server shall not see a developer's PGPORT, nor speak their language in its log.
        let kept = ["PATH", "TMPDIR"].map(|name| (name, std::env::var_os(name)));
        shell.env_clear().env("LC_ALL", "C");
        shell.envs(kept.into_iter().filter_map(|(name, value)| Some((name, value?))));
        if let Some(user) = user {
            // The folder we are in may be closed to that user.
            shell.uid(user.id).gid(user.group).current_dir("/");
        }
        // A group of its own, so that what kills the test's group leaves the guardian to clean up.
        shell.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = shell.spawn().expect("sh starts");
        let commands = process.stdin.take().expect("it is piped");
        let answers = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut pipes = Pipes { commands, answers };
        let folder = PathBuf::from(pipes.answer());
        Self { process, pipes: Mutex::new(Some(pipes)), folder }
    }

    /// The folder of the server, canonical.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Has it carry out a command of `guardian.sh`, and says whether that succeeded.
    pub(crate) fn tell(&self, words: &[impl AsRef<str>]) -> bool {
        let line: Vec<_> = words.iter().map(|word| quoted(word.as_ref())).collect();
        // A test that panicked amid a command has poisoned the lock, but left the pipes in step or
        // closed.
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        let pipes = pipes.as_mut().expect("it is not dropped");
        writeln!(pipes.commands, "{}", line.join(" ")).expect("the guardian listens");
        pipes.answer() == "0"
    }

    /// What the server and the guardian have said so far.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read(self.folder.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.pipes.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // Waited for, so that the next test finds the memory and the ports free. An error would
        // mean that it has ended already.
        let _ = self.process.wait();
    }
}

impl Pipes {
    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the guardian answers in text");
        assert!(
            line.ends_with('\n'),
            "the guardian of a server ended; is TMPDIR open to its user?"
        );
        line.trim_end().to_owned()
    }
}

/// A word as the shell takes it, whatever is in it.
fn quoted(word: &str) -> String {
    assert!(!word.contains('\n'), "a command is one line: {word:?}");
    format!("'{}'", word.replace('\'', r"'\''"))
}
