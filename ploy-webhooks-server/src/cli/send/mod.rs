//! `send`: one event a line to any ingest URL, paced, capped and retried.

mod delivery;
mod lines;
mod progress;
mod proof;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use clap::Args;
use ploy_webhooks::Secret;
use tokio::io::{AsyncRead, BufReader};
use tokio::task::JoinSet;

use self::delivery::Sender;
use self::lines::{Line, Lines};
use self::progress::Progress;
use self::proof::Proof;
use super::Failure;
use super::output::print;
use super::pace::{Pace, Rate};

#[derive(Debug, Args)]
#[command(after_help = "\
Every line is sent as it stands. 429, 5xx and lost connections are tried again, so an event whose
answer was lost may arrive twice: give the endpoint a deduplication rule where that matters.
Exits with 1 if any event was not accepted.")]
pub(super) struct SendArgs {
    /// The ingest URL.
    #[arg(long)]
    url: String,
    /// The key of the endpoint. Better set in the environment, where others do not see it.
    #[arg(long, env = "PLOY_KEY", hide_env_values = true)]
    key: Option<Secret>,
    /// The secret to sign with. Better set in the environment too.
    #[arg(long, env = "PLOY_SECRET", hide_env_values = true)]
    secret: Option<Secret>,
    /// The scheme to sign by: a preset such as `stripe`.
    #[arg(long, value_name = "NAME")]
    scheme: Option<String>,
    /// At most so many events a second, as in 50 or 50/s.
    #[arg(long, value_name = "N/s")]
    rate: Option<Rate>,
    /// At most so many events in all.
    #[arg(long, value_name = "N")]
    max: Option<u64>,
    /// So many requests at once.
    #[arg(long, value_name = "N", default_value = "8")]
    concurrency: NonZeroUsize,
    /// So many more attempts for an event that was not answered or answered 429 or 5xx.
    #[arg(long, value_name = "N", default_value_t = 5)]
    retries: u32,
    /// The events, one a line; `-` is standard input.
    #[arg(value_name = "FILE.jsonl", default_value = "-")]
    file: PathBuf,
}

/// What became of one line.
struct Outcome {
    line: u64,
    result: Result<(), String>,
}

#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    failed: u64,
}

pub(super) async fn send(args: SendArgs) -> Result<(), Failure> {
    let sender = Sender::new(&args.url, args.proof()?, args.retries)?;
    if args.file == Path::new("-") {
        return send_all(&args, sender, tokio::io::stdin(), Progress::new(None)).await;
    }
    let cannot_read =
        |error| Failure::Failed(format!("cannot read {}: {error}", args.file.display()));
    let file = tokio::fs::File::open(&args.file).await.map_err(cannot_read)?;
    let size = file.metadata().await.map_err(cannot_read)?.len();
    send_all(&args, sender, file, Progress::new(Some(size))).await
}

impl SendArgs {
    fn proof(&self) -> Result<Proof, Failure> {
        let usage = |message: &str| Err(Failure::Usage(message.to_owned()));
        match (&self.scheme, &self.secret, &self.key) {
            (Some(scheme), Some(secret), _) => Proof::signature(scheme, secret.clone()),
            (Some(_), None, _) => usage("--scheme needs --secret, or PLOY_SECRET"),
            // Not the key in its place: it may be that of somebody else.
            (None, Some(_), _) => usage("--secret, or PLOY_SECRET, needs --scheme"),
            (None, None, Some(key)) => Proof::key(key.expose()),
            (None, None, None) => usage("give --key, or --secret with --scheme"),
        }
    }
}

async fn send_all(
    args: &SendArgs,
    sender: Sender,
    input: impl AsyncRead + Unpin,
    progress: Progress,
) -> Result<(), Failure> {
    let sender = Arc::new(sender);
    let mut lines = Lines::new(BufReader::with_capacity(64 << 10, input));
    let mut pace = args.rate.map(Pace::of);
    let mut under_way = JoinSet::new();
    let mut tally = Tally::default();
    let mut begun = 0;
    let mut unreadable = None;
    while args.max.is_none_or(|max| begun < max) {
        let (number, text) = match lines.next().await {
            Ok(Some(Line::Event { number, text })) => (number, text),
            Ok(Some(Line::TooLong { number })) => {
                begun += 1;
                let result = Err(format!("longer than {} bytes", lines::LINE_BYTES_MAX));
                tally.count(Outcome { line: number, result }, &progress);
                continue;
            }
            Ok(None) => break,
            Err(error) => {
                unreadable = Some(error);
                break;
            }
        };
        begun += 1;
        if under_way.len() == args.concurrency.get()
            && let Some(ended) = under_way.join_next().await
        {
            tally.count_joined(ended, &progress);
        }
        if let Some(pace) = &mut pace {
            pace.wait().await;
        }
        under_way.spawn(deliver(sender.clone(), number, text));
        progress.read(lines.bytes_read());
    }
    while let Some(ended) = under_way.join_next().await {
        tally.count_joined(ended, &progress);
    }
    progress.finish();
    print(&format!("sent {}, failed {}", tally.sent, tally.failed))?;
    match unreadable {
        Some(error) => Err(Failure::Failed(format!("cannot read further: {error}"))),
        None if tally.failed > 0 => Err(Failure::Reported),
        None => Ok(()),
    }
}

async fn deliver(sender: Arc<Sender>, line: u64, text: Bytes) -> Outcome {
    Outcome { line, result: sender.deliver(text).await }
}

impl Tally {
    fn count(&mut self, outcome: Outcome, progress: &Progress) {
        match outcome.result {
            Ok(()) => self.sent += 1,
            Err(why) => {
                self.failed += 1;
                progress.report(&format!("line {}: {why}", outcome.line));
            }
        }
        progress.counted(self.sent, self.failed);
    }

    fn count_joined(
        &mut self,
        ended: Result<Outcome, tokio::task::JoinError>,
        progress: &Progress,
    ) {
        match ended {
            Ok(outcome) => self.count(outcome, progress),
            Err(error) => {
                self.failed += 1;
                progress.report(&format!("an event was lost: {error}"));
            }
        }
    }
}
