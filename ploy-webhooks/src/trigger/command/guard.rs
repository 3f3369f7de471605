//! The guardian of a program: a small process that starts it, and ends it with all that it has
//! started.
//!
//! A process cannot see to that itself: it may be killed at any moment, and a program's children
//! may leave its process group and its session, and become nobody's when it ends. So for each
//! program the app's own binary is started once more, as a guardian: the app's `main` asks
//! [`guard_if_asked`] first, which does a guardian's work where it was started as one.
//!
//! # What may be relied on
//!
//! On Linux:
//!
//! - The program has ended, and everything that it has started, when its attempt has: whatever
//!   moved to another session or process group, ignores signals, or was orphaned on purpose. The
//!   guardian is its "child subreaper": orphans become the guardian's children. It kills them with
//!   `SIGKILL`, and looks again until there are none.
//! - The same happens, within moments, when the future of the attempt is dropped, and when the
//!   process that has started the guardian is gone, by `SIGKILL` too. The guardian has a
//!   connection to it, and its end is the sign.
//! - A guardian holds no more than the payload in memory, runs no code of the app, and has a
//!   session and a name (`ploy-guard`) of its own: what is sent to the app's terminal, or to all
//!   processes of the app's name, does not end it.
//!
//! # What cannot be promised
//!
//! - A program that kills its own guardian escapes: it runs under the same user. A guardian guards
//!   against accidents; it is no sandbox.
//! - What the user of the app may not kill goes on, such as a child under `sudo`. The guardian
//!   tries for ten seconds, and leaves it then.
//! - What somebody else starts on behalf of the program, such as `systemd-run`, `at` or a
//!   container engine, is none of its descendants.
//! - A service manager that kills every process of a service at once kills guardians too.
//!   `systemd` does so when it stops a service, but kills their programs likewise; with
//!   `KillMode=mixed` an app can drain before.
//!
//! On other Unixes there is no subreaper: only what has stayed in the program's process group is
//! ended.

#[cfg(target_os = "linux")]
mod descendants;
#[cfg(not(target_os = "linux"))]
#[path = "guard/group.rs"]
mod descendants;

use std::env;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, setsid, wait};
use thiserror::Error;

use super::wire::{HELLO, LENGTH_BYTES, MARK, Report, number_of};

/// Gaps between two looks at what is left of the program's descendants: they double.
const LOOK_GAPS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));
/// For how long it is tried to end them.
const END_WAIT: Duration = Duration::from_secs(10);

/// Whether this program asks if it is to be a guardian.
static ASKS: AtomicBool = AtomicBool::new(false);

/// Which program is started as a guardian.
#[derive(Clone, Debug)]
pub struct Guardian {
    program: PathBuf,
}

/// This program cannot be a guardian: its `main` has not called [`guard_if_asked`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("`main` does not begin with `guard_if_asked`: as a guardian this program would not guard")]
pub struct NoGuardian;

impl Guardian {
    /// This program itself, as it runs: on Linux also after its file was replaced.
    ///
    /// # Errors
    ///
    /// [`NoGuardian`] where [`guard_if_asked`] was not called before, or, on other Unixes, where
    /// this program does not know where it is.
    pub fn this_program() -> Result<Self, NoGuardian> {
        if !ASKS.load(Ordering::Relaxed) {
            return Err(NoGuardian);
        }
        if cfg!(target_os = "linux") {
            // In the child that is about to be it, this still is the file of its parent.
            return Ok(Self::program("/proc/self/exe"));
        }
        env::current_exe().map(Self::program).map_err(|_| NoGuardian)
    }

    /// Another program, whose `main` calls [`guard_if_asked`]: for those who cannot change their
    /// own. The program `ploy-guard` of this crate is one that does nothing else.
    #[must_use]
    pub fn program(path: impl Into<PathBuf>) -> Self {
        Self { program: path.into() }
    }

    pub(super) fn as_path(&self) -> &Path {
        &self.program
    }
}

/// Guards a program where this process was started for that, and returns the status to exit with
/// when that is over. `None` where this process was started for something else.
///
/// It must be called first in `main`, before there are threads or children: while it guards,
/// every child of this process is taken for one of the program's.
///
/// ```no_run
/// use ploy_webhooks::trigger::command::guard::guard_if_asked;
///
/// fn main() {
///     if let Some(code) = guard_if_asked() {
///         std::process::exit(code);
///     }
///     // … what this program is for …
/// }
/// ```
#[must_use = "a guardian that does anything else is none"]
pub fn guard_if_asked() -> Option<i32> {
    ASKS.store(true, Ordering::Relaxed);
    let mut args = env::args_os().skip(1);
    if args.next()? != MARK {
        return None;
    }
    // A connection that fails is one that has ended: there is nobody left to tell.
    let report = guard(args.next().unwrap_or_default(), args.collect());
    Some(match report {
        Ok(Report::Exit(code)) => code,
        Ok(Report::Signal(signal)) => 128 + signal,
        Ok(Report::NotStarted(_) | Report::NoFolder(_)) => 127,
        Ok(Report::NoGuard(_)) | Err(_) => 71,
    })
}

/// Guards one program, from its start to the end of all its descendants.
fn guard(folder: OsString, argv: Vec<OsString>) -> io::Result<Report> {
    let mut control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    control.write_all(&HELLO)?;
    let payload = read_payload(&mut control)?;
    let report = match stand_apart() {
        Ok(()) => attend(&folder, &argv, payload, control.try_clone()?),
        Err(error) => Report::NoGuard(error.raw_os_error()),
    };
    control.write_all(&report.to_bytes())?;
    Ok(report)
}

fn read_payload(control: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; LENGTH_BYTES];
    control.read_exact(&mut length)?;
    let length = u64::from_be_bytes(length);
    let mut payload = Vec::new();
    let read = control.take(length).read_to_end(&mut payload)?;
    // One that ends early is not begun with: whoever wanted the program is gone.
    if u64::try_from(read) != Ok(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(payload)
}

/// Leaves the session of whoever has started it, and takes on what the program orphans.
fn stand_apart() -> Result<(), Errno> {
    // It leads a session already only where somebody has started it by hand.
    let _ = setsid();
    descendants::adopt()
}

/// What happens to a guardian.
enum Event {
    /// The program has ended.
    Ended(Report),
    /// There are no descendants left.
    Alone,
    /// Whoever wanted the program is gone, or does not want it any more.
    Dismissed,
}

fn attend(folder: &OsString, argv: &[OsString], payload: Vec<u8>, control: UnixStream) -> Report {
    if !folder.is_empty()
        && let Err(error) = env::set_current_dir(folder)
    {
        return Report::NoFolder(number_of(&error));
    }
    let (program, args) = match argv {
        [program, args @ ..] => (program, args),
        [] => return Report::NotStarted(Errno::NOENT.raw_os_error()),
    };
    let mut command = Command::new(program);
    // In a process group of its own, so that it does not signal its guardian by signalling that.
    let mut child = match command.args(args).stdin(Stdio::piped()).process_group(0).spawn() {
        Ok(child) => child,
        Err(error) => return Report::NotStarted(number_of(&error)),
    };
    let program = Pid::from_child(&child);
    let (tell, told) = mpsc::channel();
    let mut stdin = child.stdin.take().expect("it was asked for");
    // A program need not read what it is given: then that ends with it.
    thread::spawn(move || stdin.write_all(&payload));
    let tell_of_dismissal = tell.clone();
    thread::spawn(move || await_dismissal(control, &tell_of_dismissal));
    thread::spawn(move || reap(program, &tell));

    let mut report = Report::Signal(rustix::process::Signal::KILL.as_raw());
    // An error is no event: somebody is left to tell, until it is alone.
    if let Ok(Event::Ended(ended)) = told.recv() {
        report = ended;
    }
    let give_up_at = Instant::now() + END_WAIT;
    let mut gap = LOOK_GAPS.0;
    loop {
        descendants::kill(program);
        match told.recv_timeout(gap) {
            Ok(Event::Alone) | Err(RecvTimeoutError::Disconnected) => return report,
            Ok(Event::Ended(_) | Event::Dismissed) => {}
            Err(RecvTimeoutError::Timeout) if Instant::now() >= give_up_at => return report,
            Err(RecvTimeoutError::Timeout) => gap = (gap * 2).min(LOOK_GAPS.1),
        }
    }
}

/// Waits for the end of the connection. Nothing more is said on it.
fn await_dismissal(mut control: UnixStream, tell: &Sender<Event>) {
    let mut byte = [0];
    while let Err(error) = control.read(&mut byte) {
        if error.kind() != io::ErrorKind::Interrupted {
            break;
        }
    }
    // The guardian may be about to exit.
    let _ = tell.send(Event::Dismissed);
}

/// Collects every child that ends, orphans of the program too, until there are none.
fn reap(program: Pid, tell: &Sender<Event>) {
    loop {
        // The guardian may be about to exit, and nobody be told.
        let _ = match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == program => tell.send(Event::Ended(report_of(status))),
            Ok(_) | Err(Errno::INTR) => continue,
            Err(_) => {
                let _ = tell.send(Event::Alone);
                return;
            }
        };
    }
}

fn report_of(status: WaitStatus) -> Report {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Report::Exit(code),
        (None, Some(signal)) => Report::Signal(signal),
        (None, None) => Report::Signal(0),
    }
}
