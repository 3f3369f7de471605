//! `tokens`: what opens the management API, from the shell.

use std::num::NonZeroU64;

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Failure;
use super::client::{Call, Client, parse};
use super::output::{print, sheet};
use super::page::{PageArgs, print_list};

#[derive(Debug, Subcommand)]
pub(super) enum TokensCommand {
    /// Make a token for the workspace that `--workspace` names. It is shown this once.
    Create(CreateArgs),
    /// List the tokens of the workspace that `--workspace` names, or of all.
    List(PageArgs),
    /// Show one token, but not the token itself.
    Show { id: String },
    /// Revoke a token: it opens nothing from now on.
    Revoke { id: String },
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// What it opens: everything in the workspace, or reading alone.
    #[arg(long)]
    scope: Scope,
    /// For people.
    #[arg(long)]
    description: Option<String>,
    /// When it ends, as in 2027-01-31T00:00:00Z.
    #[arg(long, value_name = "TIME", conflicts_with = "expires_in_seconds")]
    expires_at: Option<String>,
    /// After how long it ends.
    #[arg(long, value_name = "SECONDS")]
    expires_in_seconds: Option<NonZeroU64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Scope {
    Read,
    Write,
}

const HEADER: [&str; 6] = ["ID", "WORKSPACE", "SCOPE", "CREATED", "EXPIRES", "DESCRIPTION"];

/// What is shown of a token.
#[derive(Debug, Deserialize)]
struct Row {
    id: String,
    workspace: String,
    scope: String,
    description: String,
    created_at: String,
    expires_at: Option<String>,
    token: Option<String>,
}

pub(super) async fn run(
    client: &Client,
    json: bool,
    workspace: Option<&str>,
    command: TokensCommand,
) -> Result<(), Failure> {
    let answer = client.call(command.to_call(workspace)).await?;
    match command {
        TokensCommand::Revoke { .. } => Ok(()),
        _ if json => print(&String::from_utf8_lossy(&answer)),
        TokensCommand::List(_) => print_list(&answer, HEADER, Row::cells),
        _ => parse::<Row>(&answer)?.print(),
    }
}

impl TokensCommand {
    fn to_call(&self, workspace: Option<&str>) -> Call<'_> {
        match self {
            Self::Create(args) => Call::new(Method::POST, ["tokens"]).body(args.to_json(workspace)),
            Self::List(page) => Call::new(Method::GET, ["tokens"])
                .query([("workspace", workspace.map(str::to_owned))])
                .query(page.query()),
            Self::Show { id } => Call::new(Method::GET, ["tokens", id]),
            Self::Revoke { id } => Call::new(Method::DELETE, ["tokens", id]),
        }
    }
}

impl CreateArgs {
    fn to_json(&self, workspace: Option<&str>) -> Value {
        let scope = match self.scope {
            Scope::Read => "read",
            Scope::Write => "write",
        };
        let members = [
            ("workspace", workspace.map(Value::from)),
            ("scope", Some(scope.into())),
            ("description", self.description.as_deref().map(Value::from)),
            ("expires_at", self.expires_at.as_deref().map(Value::from)),
            ("expires_in_seconds", self.expires_in_seconds.map(|seconds| seconds.get().into())),
        ];
        let given = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(given.collect::<Map<_, _>>())
    }
}

impl Row {
    fn cells(self) -> [String; 6] {
        let expires = self.expires_at.unwrap_or_else(|| "never".to_owned());
        [self.id, self.workspace, self.scope, self.created_at, expires, self.description]
    }

    fn print(self) -> Result<(), Failure> {
        let lines = [
            ("id", Some(self.id)),
            ("workspace", Some(self.workspace)),
            ("scope", Some(self.scope)),
            ("description", Some(self.description)),
            ("created", Some(self.created_at)),
            ("expires", Some(self.expires_at.unwrap_or_else(|| "never".to_owned()))),
            ("token (shown this once)", self.token),
        ];
        let lines = lines.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?]));
        print(&sheet(lines))
    }
}
