//! A program under a guardian, as seen from the process that wants it run.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::time::timeout;

use super::said::{Head, Tail, listen};
use super::verdict::verdict;
use super::wire::{HELLO, MARK, NAME, REPORT_BYTES, Report};
use super::{Command, CommandSettings};
use crate::trigger::{Output, RunError};

/// How long a guardian may take to start.
const HELLO_WAIT: Duration = Duration::from_secs(30);
/// How long the outputs may stay open after the guardian has ended: whatever holds them then is no
/// descendant of the program, which may have handed them to anybody.
const OPEN_WAIT: Duration = Duration::from_millis(500);

/// Runs it to its end. When the future is dropped, so is the connection to the guardian, which
/// ends the program then.
pub(super) async fn run(
    command: &Command,
    environment: Vec<(OsString, OsString)>,
    payload: &[u8],
    settings: &CommandSettings,
) -> Result<Output, RunError> {
    let Some(program) = command.argv.first() else {
        return Err(RunError::permanent("there is no program to run"));
    };
    let started = start(command, environment, settings);
    let (mut guardian, mut control) = started.map_err(not_started)?;
    let stdout = guardian.child.stdout.take().expect("it was asked for");
    let stderr = guardian.child.stderr.take().expect("it was asked for");
    let (mut output, mut errors) = (Head::new(settings.output_bytes_max), Tail::default());
    let report = {
        let ending = async {
            let report = guardian.attend(&mut control, payload).await;
            // Nobody else collects what is left of it. That it fails says nothing of the run.
            let _ = guardian.child.wait().await;
            report
        };
        let (mut ending, listening) = (pin!(ending), async {
            tokio::join!(listen(stdout, &mut output), listen(stderr, &mut errors))
        });
        let mut listening = pin!(listening);
        tokio::select! {
            report = &mut ending => {
                // What was said last is on its way.
                let _ = timeout(OPEN_WAIT, listening).await;
                report
            }
            _ = &mut listening => ending.await,
        }
    };
    let last_words = errors.into_text();
    let report = report.map_err(|error| unattended(settings, &error, &last_words))?;
    verdict(report, program, &last_words)?;
    Ok(output.into_bytes().into())
}

/// Starts a guardian that will start the program.
fn start(
    command: &Command,
    environment: Vec<(OsString, OsString)>,
    settings: &CommandSettings,
) -> io::Result<(Started, UnixStream)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let control = UnixStream::from_std(ours)?;
    let mut guardian = tokio::process::Command::new(settings.guardian.as_path());
    guardian
        .arg0(NAME)
        .arg(MARK)
        .arg(command.folder.as_deref().unwrap_or_default())
        .args(&command.argv)
        .env_clear()
        .envs(environment)
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // The guardian's end of the socket goes with the builder: from here on it alone has it.
    let child = guardian.spawn()?;
    Ok((Started { child, has_begun: false }, control))
}

/// A guardian that was started.
struct Started {
    child: Child,
    /// Whether it may have started the program. From then on it must not be killed: it ends the
    /// program, and then itself, when the connection is closed.
    has_begun: bool,
}

impl Started {
    async fn attend(&mut self, control: &mut UnixStream, payload: &[u8]) -> io::Result<Report> {
        let mut hello = [0; HELLO.len()];
        timeout(HELLO_WAIT, control.read_exact(&mut hello)).await??;
        if hello != HELLO {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let length = u64::try_from(payload.len()).expect("a length is no longer");
        self.has_begun = true;
        control.write_all(&length.to_be_bytes()).await?;
        control.write_all(payload).await?;
        let mut report = [0; REPORT_BYTES];
        control.read_exact(&mut report).await?;
        Report::from_bytes(report).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if !self.has_begun {
            // It may be no guardian at all, and go on. It may have ended, too.
            let _ = self.child.start_kill();
        }
    }
}

/// What a start that failed here means: it is this process or its machine that is at fault, but
/// for a command that no process can be given.
fn not_started(error: io::Error) -> RunError {
    let message = format!("cannot start the guardian of the program: {error}");
    match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::ArgumentListTooLong => {
            RunError::permanent(message)
        }
        _ => RunError::retry(message),
    }
}

fn unattended(settings: &CommandSettings, error: &io::Error, last_words: &str) -> RunError {
    let guardian = settings.guardian.as_path().display();
    RunError::retry(format!(
        "the guardian of the program, {guardian}, has gone without a word, or is none: {error}\n\
         {last_words}"
    ))
}
