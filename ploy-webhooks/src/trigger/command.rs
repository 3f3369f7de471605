//! Programs as runners: started without a shell, bounded in what they say, and ended with all
//! that they have started.
//!
//! ```no_run
//! use ploy_webhooks::trigger::command::guard::{Guardian, guard_if_asked};
//! use ploy_webhooks::trigger::command::{CommandRunner, CommandSettings};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // Before anything else: this program is also the guardian of what it runs.
//!     if let Some(code) = guard_if_asked() {
//!         std::process::exit(code);
//!     }
//!     let settings = CommandSettings::new(Guardian::this_program()?);
//!     let runner = CommandRunner::new(["make-page", "--fast"], settings);
//!     // … and on to `Dispatcher::start` with it …
//! #   let _ = runner;
//! #   Ok(())
//! }
//! ```
//!
//! # What a program is given
//!
//! - The payload of the event on its standard input, byte for byte. It need not read it.
//! - The arguments that it is configured with, and nothing else: nothing that a sender sends
//!   becomes an argument.
//! - An environment with `PATH`, `HOME` and `LANG` of this process, those variables that
//!   [`CommandSettings::env`] names, and these:
//!
//! | variable | what |
//! | --- | --- |
//! | `PLOY_RUN_ID` | the run: the same for all its attempts, to be idempotent with |
//! | `PLOY_ATTEMPT` | which attempt of it, beginning with 1 |
//! | `PLOY_EVENT_ID` | the event that owes the run |
//! | `PLOY_EVENT_TYPE` | its type; unset where it has none |
//! | `PLOY_ENDPOINT_ID` | the endpoint that took it; unset where the app published it |
//! | `PLOY_WORKSPACE_ID` | the tenant |
//! | `PLOY_PLOYBOOK` | the name of the Ploybook; unset where the trigger names none |
//! | `PLOY_FIELDS` | the [fields](Job::fields) of the event as a JSON object; unset where that has more than 64 KiB, which the payload has as well |
//!
//! # What comes of it
//!
//! | the program | the attempt |
//! | --- | --- |
//! | ends with status 0 | has succeeded, with what was written to standard output |
//! | ends with 69 `EX_UNAVAILABLE`, 71 `EX_OSERR`, 74 `EX_IOERR` or 75 `EX_TEMPFAIL` | has failed and is tried again: something else was not there, or not for now |
//! | ends with any other status from 64 to 78 (`sysexits.h`: usage, data, configuration) | has failed for good |
//! | ends with 126 or 127, by which `env` and shells say "not executable" and "not found" | has failed for good |
//! | ends with any other status | has failed and is tried again |
//! | is ended by a signal | has failed and is tried again |
//! | is not found or not executable, or its folder is not there | has failed for good |
//! | cannot be started now: no memory, too many processes or files | has failed and is tried again |
//!
//! With a failure goes the end of what was written to standard error, up to 4 KiB: it goes on
//! record, so it must hold no secret.
//!
//! # When it ends
//!
//! An attempt has ended when the program has, and everything that it has started: what it leaves
//! running in the background is killed then. When the future of the attempt is dropped, the
//! program and all that it has started are killed (`SIGKILL`), and likewise when this process is
//! gone, however it ended. [`guard`] says how, and what cannot be promised.

pub mod guard;

mod attended;
mod environment;
mod said;
mod verdict;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::timeout;

use self::guard::Guardian;
use super::runner::{Job, Output, RunError, TriggerRunner};
use crate::ploybook::Means;

/// How programs are run, whichever they are.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CommandSettings {
    /// What starts each program, and ends it with all that it has started.
    pub guardian: Guardian,
    /// Variables that programs have from the environment of this process, beside `PATH`, `HOME`
    /// and `LANG`. A guardian that finds its libraries by `LD_LIBRARY_PATH` needs that too.
    pub env: Vec<String>,
    /// How many bytes of an output are kept. The rest is read and counted, and that is said. No
    /// more than the [dispatcher](super::DispatcherSettings::output_bytes_max) keeps is of use.
    pub output_bytes_max: usize,
}

impl CommandSettings {
    /// No further variables, and as much output as a dispatcher keeps.
    #[must_use]
    pub const fn new(guardian: Guardian) -> Self {
        Self { guardian, env: Vec::new(), output_bytes_max: 64 << 10 }
    }
}

/// A program with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "whoever runs a program builds it from its parts")]
pub struct Command {
    /// The program, and what it is given. A name without a slash is looked for in `PATH`; a
    /// relative path begins in the folder.
    pub argv: Vec<String>,
    /// The folder that it is run in; `None` is that of this process.
    pub folder: Option<String>,
}

impl Command {
    /// The program that a Ploybook is run by; `None` where it is run by something else.
    #[must_use]
    pub fn of(means: &Means) -> Option<Self> {
        match means {
            Means::Command { argv, folder } => {
                Some(Self { argv: argv.clone(), folder: folder.clone() })
            }
            Means::Function(_) | Means::Http { .. } => None,
        }
    }

    /// Runs it for that job, to its end or that of the job's time.
    ///
    /// # Errors
    ///
    /// As [the table](self) says.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O and a timer.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the program is killed with all that it has started. That is
    /// done by the guardian, which takes a moment and is not waited for.
    pub async fn carry_out(
        &self,
        job: &Job,
        settings: &CommandSettings,
    ) -> Result<Output, RunError> {
        let environment = environment::of(job, &settings.env);
        let attended = attended::run(self, environment, &job.event.payload, settings);
        match timeout(job.time_limit, attended).await {
            Ok(result) => result,
            Err(_) => Err(RunError::retry(format!(
                "stopped: the program took longer than its time limit of {:?}",
                job.time_limit
            ))),
        }
    }
}

/// Carries runs out with programs.
#[derive(Clone, Debug)]
pub struct CommandRunner {
    /// `None` is what the Ploybook of each job says.
    command: Option<Arc<Command>>,
    settings: Arc<CommandSettings>,
}

impl CommandRunner {
    /// Carries out every run with the same program.
    #[must_use]
    pub fn new<A: Into<String>>(
        argv: impl IntoIterator<Item = A>,
        settings: CommandSettings,
    ) -> Self {
        let argv = argv.into_iter().map(Into::into).collect();
        let command = Some(Arc::new(Command { argv, folder: None }));
        Self { command, settings: Arc::new(settings) }
    }

    /// Carries out each run with the program that [its Ploybook](Job::ploybook) is run by. A run
    /// without one fails for good.
    #[must_use]
    pub fn of_ploybooks(settings: CommandSettings) -> Self {
        Self { command: None, settings: Arc::new(settings) }
    }
}

#[async_trait]
impl TriggerRunner for CommandRunner {
    async fn run(&self, job: Job) -> Result<Output, RunError> {
        if let Some(command) = &self.command {
            return command.carry_out(&job, &self.settings).await;
        }
        match job.ploybook.as_deref().and_then(|ploybook| Command::of(&ploybook.run)) {
            Some(command) => command.carry_out(&job, &self.settings).await,
            None => Err(RunError::permanent("the run has no Ploybook that is run by a program")),
        }
    }
}
