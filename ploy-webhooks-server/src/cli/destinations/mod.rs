//! `destinations`: set, tried, confirmed and retried from the shell.

mod create;
mod retry;

use std::time::Duration;

use clap::{Args, Subcommand};
use ploy_webhooks::Secret;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use self::create::CreateArgs;
use self::retry::RetryArgs;
use super::Failure;
use super::client::{Call, Client, parse};
use super::output::{print, sheet};
use super::page::{PageArgs, print_list};
use super::record::Record;

#[derive(Debug, Subcommand)]
pub(super) enum DestinationsCommand {
    #[command(flatten)]
    One(OneCall),
    /// Try failed deliveries again, the newest first.
    Retry(RetryArgs),
}

/// What is one call of the API.
#[derive(Debug, Subcommand)]
pub(super) enum OneCall {
    /// Say where events may be delivered to. What signs them is shown this once.
    Create(Box<CreateArgs>),
    /// List destinations, the oldest first.
    List(PageArgs),
    /// Show one destination, and how deliveries go.
    Show { id: String },
    /// Have events wait until it is resumed.
    Pause { id: String },
    /// Deliver again, also where it was disabled.
    Resume { id: String },
    /// Make a new secret, shown this once. The old one signs no more, or until the overlap is over.
    Rotate {
        id: String,
        /// For how long the old one signs beside it.
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        overlap_seconds: u64,
        /// The new secret, where the receiver has chosen it. Better set in the environment.
        #[arg(long, env = "PLOY_NEW_SECRET", hide_env_values = true)]
        secret: Option<Secret>,
    },
    /// Send an example there, and show what comes of it. Exits with 1 where it is not taken.
    Test(TestArgs),
    /// Ask whoever receives there whether they want to. Exits with 1 where they do not take it.
    Verify { id: String },
    /// Delete a destination to which no subscription delivers.
    Delete { id: String },
}

#[derive(Debug, Args)]
pub(super) struct TestArgs {
    id: String,
    /// The type of the example.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// What is said to have happened, in JSON: the text itself, or @FILE.
    #[arg(long, value_name = "JSON")]
    payload: Option<String>,
}

/// Longer than the server waits for who receives.
const PATIENCE: Duration = Duration::from_secs(90);

const HEADER: [&str; 5] = ["ID", "STATUS", "URL", "FAILING SINCE", "DESCRIPTION"];

/// What is shown of a destination.
#[derive(Debug, Deserialize)]
struct Row {
    id: String,
    url: String,
    status: String,
    description: String,
    method: String,
    signing: SigningRow,
    rate: Option<RateRow>,
    at_once: u16,
    max_submissions: Option<u64>,
    retry: Value,
    state: StateRow,
    secrets: Vec<SecretRow>,
    signing_secret: Option<String>,
}

#[derive(Debug, Deserialize)]
struct SigningRow {
    scheme: String,
}

#[derive(Debug, Deserialize)]
struct RateRow {
    per_second: u32,
    burst: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct StateRow {
    submissions: u64,
    failing_since: Option<String>,
    disabled: Option<DisabledRow>,
    verified_at: Option<String>,
}

#[derive(Debug, Deserialize)]
struct DisabledRow {
    at: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct SecretRow {
    id: String,
    expires_at: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Verification {
    verified: bool,
    record: Record,
}

pub(super) async fn run(
    client: &Client,
    json: bool,
    command: DestinationsCommand,
) -> Result<(), Failure> {
    match command {
        DestinationsCommand::One(command) => call(client, json, command).await,
        DestinationsCommand::Retry(args) => retry::run(client, json, &args).await,
    }
}

async fn call(client: &Client, json: bool, command: OneCall) -> Result<(), Failure> {
    let answer = client.call(command.to_call()?).await?;
    if json && !matches!(command, OneCall::Delete { .. }) {
        print(&String::from_utf8_lossy(&answer))?;
    }
    match command {
        OneCall::Delete { .. } => Ok(()),
        OneCall::Test(_) => {
            let record: Record = parse(&answer)?;
            taken(json, &record, Vec::new())
        }
        OneCall::Verify { .. } => {
            let Verification { verified, record } = parse(&answer)?;
            let verified = if verified { "yes" } else { "not yet: the link that was sent does it" };
            taken(json, &record, vec![["confirmed".to_owned(), verified.to_owned()]])
        }
        _ if json => Ok(()),
        OneCall::List(_) => print_list(&answer, HEADER, Row::cells),
        _ => parse::<Row>(&answer)?.print(),
    }
}

/// Shows what came of a request, and fails where it was not taken.
fn taken(json: bool, record: &Record, said: Vec<[String; 2]>) -> Result<(), Failure> {
    if !json {
        print(&sheet(said.into_iter().chain(record.lines())))?;
    }
    if record.error.is_some() { Err(Failure::Reported) } else { Ok(()) }
}

impl OneCall {
    fn to_call(&self) -> Result<Call<'_>, Failure> {
        let patch = |id, body| Call::new(Method::PATCH, ["destinations", id]).body(body);
        let post = |id, verb| Call::new(Method::POST, ["destinations", id, verb]);
        Ok(match self {
            Self::Create(args) => Call::new(Method::POST, ["destinations"]).text(args.to_json()?),
            Self::List(page) => Call::new(Method::GET, ["destinations"]).query(page.query()),
            Self::Show { id } => Call::new(Method::GET, ["destinations", id]),
            Self::Pause { id } => patch(id, json!({"status": "paused"})),
            Self::Resume { id } => patch(id, json!({"status": "active"})),
            Self::Rotate { id, overlap_seconds, secret } => {
                let mut rotation = json!({"overlap_seconds": overlap_seconds});
                if let Some(secret) = secret {
                    rotation["secret"] = secret.expose().into();
                }
                post(id, "rotate").body(rotation)
            }
            Self::Test(args) => post(&args.id, "test").text(args.to_json()?).within(PATIENCE),
            Self::Verify { id } => post(id, "verify").within(PATIENCE),
            Self::Delete { id } => Call::new(Method::DELETE, ["destinations", id]),
        })
    }
}

impl TestArgs {
    fn to_json(&self) -> Result<String, Failure> {
        let payload = self.payload.as_deref().map(create::json_of).transpose()?;
        let form = create::Sample { event_type: self.event_type.as_deref(), payload };
        Ok(serde_json::to_string(&form).expect("texts and JSON have a JSON form"))
    }
}

impl Row {
    fn cells(self) -> [String; 5] {
        let failing_since = self.state.failing_since.unwrap_or_default();
        [self.id, self.status, self.url, failing_since, self.description]
    }

    fn print(self) -> Result<(), Failure> {
        let rate = self.rate.map(|RateRow { per_second, burst }| {
            format!("{per_second}/s, {} at once", burst.unwrap_or(per_second))
        });
        let submissions =
            self.max_submissions.map(|max| format!("{} of {max}", self.state.submissions));
        let retry = match self.retry {
            Value::String(name) => name,
            policy => policy.to_string(),
        };
        let disabled = self.state.disabled.map(|one| format!("{}: {}", one.at, one.reason));
        let lines = [
            ("id", Some(self.id)),
            ("url", Some(format!("{} {}", self.method, self.url))),
            ("status", Some(self.status)),
            ("description", Some(self.description)),
            ("scheme", Some(self.signing.scheme)),
            ("secret (shown this once)", self.signing_secret),
            ("rate", rate),
            ("at once", Some(self.at_once.to_string())),
            ("submissions", submissions),
            ("retry", Some(retry)),
            ("confirmed", self.state.verified_at),
            ("failing since", self.state.failing_since),
            ("disabled", disabled),
        ];
        let lines = lines.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?]));
        let secrets = self.secrets.into_iter().filter_map(|secret| {
            let until = secret.expires_at?;
            Some(["secret".to_owned(), format!("{}, until {until}", secret.id)])
        });
        print(&sheet(lines.chain(secrets)))
    }
}
