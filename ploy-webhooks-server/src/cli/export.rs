//! `events export`: all events that conditions find, one a line, also over connections that break.

mod file;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use reqwest::Method;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use self::file::Output;
use super::Failure;
use super::client::{Call, Client, Refusal, parse};
use super::events::{Filter, Order};
use super::output::harmless;
use crate::log::chain;

#[derive(Debug, Args)]
#[command(after_help = "\
A connection that breaks is made again, and the export goes on where it was. Where that fails again
and again, it ends with 1 and says how to go on.
A payload stands on its line as it was sent, but that a line break between its parts is a space.
What is being accepted meanwhile may be missing: an export is complete that has a --to which is some
seconds past. `events tail` prints what comes after that.")]
pub(super) struct ExportArgs {
    #[command(flatten)]
    filter: Filter,
    /// Only events in whose payload this text stands, in any case.
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
    /// Which end comes first [default: asc].
    #[arg(long)]
    order: Option<Order>,
    /// A new file to write to, in place of standard output.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Go on behind what the file has already.
    #[arg(long, requires = "output", conflicts_with = "after")]
    resume: bool,
    /// Go on after this event, under the same conditions.
    #[arg(long, value_name = "ID")]
    after: Option<String>,
}

/// How often it is tried to go on where nothing comes of it.
const ATTEMPTS_MAX: u32 = 5;
/// After how long it is shown how far it is.
const UNSHOWN: Duration = Duration::from_secs(1);

pub(super) async fn run(client: &Client, args: &ExportArgs) -> Result<(), Failure> {
    let (output, last) = match (&args.output, args.resume) {
        (None, _) => (Output::standard(), None),
        (Some(path), false) => (Output::new(path)?, None),
        (Some(path), true) => Output::resumed(path)?,
    };
    let last = last.or_else(|| args.after.clone());
    let mut export = Export { client, args, output, last, events: 0, shown: Shown::new() };
    let exported = export.reach_its_end().await;
    export.shown.bar.finish_and_clear();
    let flushed = export.output.flush().map_err(|error| cannot_write(&error));
    match exported.and(flushed) {
        Ok(()) => {
            eprintln!("exported {}", export.events);
            Ok(())
        }
        Err(Stopped::Unread) => Ok(()),
        Err(Stopped::Failed(failure)) => Err(failure),
    }
}

/// An export on its way.
struct Export<'a> {
    client: &'a Client,
    args: &'a ExportArgs,
    output: Output,
    /// The id of the last event that is written.
    last: Option<String>,
    events: u64,
    shown: Shown,
}

/// Why a connection brought no more.
enum Broken {
    /// Another may.
    Off(String),
    /// No other would.
    For(Stopped),
}

/// Why it ends before its end.
enum Stopped {
    /// A reader that has gone away has read enough.
    Unread,
    Failed(Failure),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What tells the two kinds of lines apart.
#[derive(Deserialize)]
struct Line {
    id: Option<String>,
    #[serde(default)]
    end: bool,
}

impl Export<'_> {
    async fn reach_its_end(&mut self) -> Result<(), Stopped> {
        let mut attempt = 0;
        loop {
            let before = self.events;
            let why = match self.one_connection().await {
                Ok(()) => return Ok(()),
                Err(Broken::For(stopped)) => return Err(stopped),
                Err(Broken::Off(why)) => why,
            };
            attempt = if self.events > before { 1 } else { attempt + 1 };
            if attempt == ATTEMPTS_MAX {
                return Err(Failure::Failed(self.given_up(&why)).into());
            }
            let pause = Duration::from_millis(100 << (2 * attempt));
            sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
        }
    }

    fn given_up(&self, why: &str) -> String {
        let how = match (&self.args.output, &self.last) {
            (Some(_), _) => "the same command with --resume goes on".to_owned(),
            (None, Some(last)) => format!("the same command with --after {last} goes on"),
            (None, None) => "try again later".to_owned(),
        };
        format!("the export broke off after {} events: {why}; {how}", self.events)
    }

    /// Writes what comes over one connection, to the end of the export.
    async fn one_connection(&mut self) -> Result<(), Broken> {
        let mut response = self.client.stream(self.call()).await.map_err(refused)?;
        let mut partial = Vec::new();
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Err(Broken::Off("its end is missing".to_owned())),
                Err(error) => return Err(Broken::Off(chain(&error))),
            };
            for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
                partial.extend_from_slice(piece);
                if partial.ends_with(b"\n") {
                    if self.take(&partial).map_err(Broken::For)? {
                        return Ok(());
                    }
                    partial.clear();
                }
            }
            self.output.flush().map_err(|error| Broken::For(cannot_write(&error)))?;
            self.shown.count(self.events);
        }
    }

    fn call(&self) -> Call<'_> {
        Call::new(Method::GET, ["events", "export"]).query(self.args.filter.query()).query([
            ("contains", self.args.contains.clone()),
            ("order", self.args.order.map(Order::to_query)),
            ("after", self.last.clone()),
        ])
    }

    /// Writes a line, and says whether it is the last.
    fn take(&mut self, line: &[u8]) -> Result<bool, Stopped> {
        if line == b"\n" {
            return Ok(false);
        }
        let Line { id, end } = parse(line)?;
        if end {
            return Ok(true);
        }
        let id = id.ok_or_else(|| Failure::Failed("a line without an id came".to_owned()))?;
        self.output.write_all(line).map_err(|error| cannot_write(&error))?;
        self.last = Some(harmless(&id));
        self.events += 1;
        Ok(false)
    }
}

/// What the server refuses it refuses again, but where it is busy, or did not answer.
fn refused(refusal: Refusal) -> Broken {
    match refusal.is_passing() {
        true => Broken::Off(refusal.why),
        false => Broken::For(Stopped::Failed(refusal.into())),
    }
}

/// How far it is, for who has waited for a while.
struct Shown {
    bar: ProgressBar,
    began: Instant,
}

impl Shown {
    fn new() -> Self {
        Self { bar: ProgressBar::hidden(), began: Instant::now() }
    }

    fn count(&mut self, events: u64) {
        if self.bar.is_hidden() && self.began.elapsed() > UNSHOWN {
            self.bar = ProgressBar::new_spinner();
        }
        if !self.bar.is_hidden() {
            let seconds = self.began.elapsed().as_secs().max(1);
            self.bar.set_message(format!("{events} events, {} a second", events / seconds));
            self.bar.tick();
        }
    }
}

fn cannot_write(error: &io::Error) -> Stopped {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Stopped::Unread,
        _ => Stopped::Failed(Failure::Failed(format!("cannot write: {error}"))),
    }
}
